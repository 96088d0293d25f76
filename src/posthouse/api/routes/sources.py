"""``/v1/sources`` and ``/v1/providers``."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from posthouse.api.cursors import decode_key, decode_name, encode_keys, encode_name
from posthouse.api.requests import EndpointsQuery, PageQuery
from posthouse.api.routes.caller import Caller, IdempotencyKey
from posthouse.api.source_requests import PauseSourceBody, RotateSourceSecretBody, SourceBody, SourceChangeBody
from posthouse.api.source_views import DeletedSourceView, ProviderView, SourceView
from posthouse.api.views import Page, page
from posthouse.core.inbound import Source, WhilePaused
from posthouse.gateway.sources import Sources
from posthouse.providers.index import PRESETS

_SOURCES = "s"
_PROVIDERS = "n"
_PATH = "/in/"  # in front of a source's token


class SourcesQuery(EndpointsQuery):
    """Which sources."""


def source_routes(sources: Sources, public_url: str | None) -> APIRouter:
    """The routes of sources. ``public_url``: by which senders reach this node; None: as each request names it."""
    routes = APIRouter(prefix="/v1/sources", tags=["sources"])
    view = _view_of(sources, public_url)

    @routes.post("", status_code=201, summary="Create a source")
    async def create_source(
        request: Request, caller: Caller, body: SourceBody, idempotency_key: IdempotencyKey = None
    ) -> SourceView:
        return view(request, await sources.create(caller.environment, body.spec(), idempotency_key=idempotency_key))

    @routes.get("", summary="List sources, oldest first")
    async def list_sources(
        request: Request, caller: Caller, query: Annotated[SourcesQuery, Query()]
    ) -> Page[SourceView]:
        after = decode_key(_SOURCES, query.cursor)
        found = sources.page(caller.environment, tenant=query.tenant, after=after, limit=query.limit + 1)
        shown = found[: query.limit]
        cursor = encode_keys(_SOURCES, shown[-1].key) if len(found) > query.limit else None
        return page([view(request, source) for source in shown], cursor)

    @routes.get("/{source_id}", summary="Show a source")
    async def get_source(request: Request, caller: Caller, source_id: str) -> SourceView:
        return view(request, sources.get(caller.environment, source_id))

    @routes.patch("/{source_id}", summary="Change a source")
    async def update_source(request: Request, caller: Caller, source_id: str, body: SourceChangeBody) -> SourceView:
        return view(request, await sources.update(caller.environment, source_id, body.change()))

    @routes.delete("/{source_id}", summary="Delete a source; what it took is passed on all the same")
    async def delete_source(caller: Caller, source_id: str) -> DeletedSourceView:
        await sources.delete(caller.environment, source_id)
        return DeletedSourceView(id=source_id)

    _action_routes(routes, sources, view)
    return routes


def _action_routes(routes: APIRouter, sources: Sources, view: Callable[[Request, Source], SourceView]) -> None:
    @routes.post("/{source_id}/pause", summary="Pass nothing on; requests are kept or refused meanwhile")
    async def pause_source(
        request: Request,
        caller: Caller,
        source_id: str,
        body: PauseSourceBody | None = None,
        idempotency_key: IdempotencyKey = None,
    ) -> SourceView:
        del idempotency_key  # pausing twice is pausing once
        wanted = None if body is None or body.while_paused is None else WhilePaused(body.while_paused)
        return view(request, await sources.pause(caller.environment, source_id, while_paused=wanted))

    @routes.post("/{source_id}/resume", summary="Pass on what comes, and what was kept meanwhile")
    async def resume_source(
        request: Request, caller: Caller, source_id: str, idempotency_key: IdempotencyKey = None
    ) -> SourceView:
        del idempotency_key  # resuming twice is resuming once
        return view(request, await sources.resume(caller.environment, source_id))

    @routes.post(
        "/{source_id}/rotate-secret", summary="Set another secret, or the first one; the others overlap with it"
    )
    async def rotate_source_secret(
        request: Request,
        caller: Caller,
        source_id: str,
        body: RotateSourceSecretBody,
        idempotency_key: IdempotencyKey = None,
    ) -> SourceView:
        source = await sources.rotate_secret(
            caller.environment,
            source_id,
            secret=body.secret,
            overlap_ms=body.overlap_ms,
            idempotency_key=idempotency_key,
        )
        return view(request, source)


def provider_routes() -> APIRouter:
    """The route of what is known of senders."""
    routes = APIRouter(prefix="/v1/providers", tags=["sources"])

    @routes.get("", summary="List the senders that Posthouse knows, by name")
    async def list_providers(caller: Caller, query: Annotated[PageQuery, Query()]) -> Page[ProviderView]:
        del caller  # the same for everybody
        after = decode_name(_PROVIDERS, query.cursor)
        names = sorted(name for name in PRESETS if after is None or name > after)
        shown = names[: query.limit]
        cursor = encode_name(_PROVIDERS, shown[-1]) if len(names) > query.limit else None
        return page([ProviderView.of(PRESETS[name]) for name in shown], cursor)

    return routes


def _view_of(sources: Sources, public_url: str | None) -> Callable[[Request, Source], SourceView]:
    """How a source is shown to who asks by a request."""

    def view(request: Request, source: Source) -> SourceView:
        base = public_url or str(request.base_url).rstrip("/")
        return SourceView.of(source, sources.valid_secrets(source), f"{base}{_PATH}{source.token}")

    return view
