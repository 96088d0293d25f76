"""``/v1/quarantine``, and looking again at what was refused."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Query

from posthouse.api.cursors import decode_keys, encode_keys
from posthouse.api.inbound_requests import QuarantineListQuery, ResolveBody, ReverifyBody
from posthouse.api.inbound_views import QuarantinedView, StepView
from posthouse.api.routes.caller import Caller, IdempotencyKey
from posthouse.api.views import Page, page
from posthouse.core.errors import InvalidInput
from posthouse.core.inbound import Objection
from posthouse.gateway.principal import Principal
from posthouse.gateway.quarantine import Place, Quarantine, QuarantineFilter, Step

_NEWEST_FIRST = "q"
_OLDEST_FIRST = "v"


def quarantine_routes(quarantine: Quarantine) -> APIRouter:
    """The routes of the quarantine."""
    routes = APIRouter(prefix="/v1", tags=["quarantine"])

    @routes.get("/quarantine", summary="List what is kept and not passed on, newest first")
    async def list_quarantine(caller: Caller, query: Annotated[QuarantineListQuery, Query()]) -> Page[QuarantinedView]:
        found = await quarantine.page(
            caller.environment,
            QuarantineFilter(
                source_id=query.source,
                tenant=query.tenant,
                objections=() if query.objection is None else (Objection(query.objection),),
            ),
            resolved=query.resolved,
            after=_place(_NEWEST_FIRST, query.cursor),
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        last = (shown[-1].request_key, shown[-1].position) if len(found) > query.limit else None
        return page([QuarantinedView.of(entry) for entry in shown], _cursor(_NEWEST_FIRST, last))

    @routes.get("/quarantine/{entry_id}", summary="Show an entry of the quarantine, also one that left it")
    async def get_quarantined(caller: Caller, entry_id: str) -> QuarantinedView:
        return QuarantinedView.of(await quarantine.get(caller.environment, entry_id))

    _action_routes(routes, quarantine)
    return routes


def _action_routes(routes: APIRouter, quarantine: Quarantine) -> None:
    @routes.post("/quarantine/release", summary="Pass on what is in quarantine, whatever is said against it")
    async def release_quarantined(
        caller: Caller, body: ResolveBody, idempotency_key: IdempotencyKey = None
    ) -> StepView:
        del idempotency_key  # what has left quarantine does not leave it again
        return await _resolve(caller, body, quarantine.release, quarantine.release_matching)

    @routes.post("/quarantine/discard", summary="Give up what is in quarantine")
    async def discard_quarantined(
        caller: Caller, body: ResolveBody, idempotency_key: IdempotencyKey = None
    ) -> StepView:
        del idempotency_key  # as above
        return await _resolve(caller, body, quarantine.discard, quarantine.discard_matching)

    @routes.post("/sources/{source_id}/reverify", summary="Check refused requests with the secrets that count now")
    async def reverify_source(
        caller: Caller, source_id: str, body: ReverifyBody | None = None, idempotency_key: IdempotencyKey = None
    ) -> StepView:
        del idempotency_key  # as above
        wanted = body or ReverifyBody()
        step = await quarantine.reverify(
            caller, source_id, after=_place(_OLDEST_FIRST, wanted.cursor), limit=wanted.limit, dry_run=wanted.dry_run
        )
        return _step(step)


async def _resolve(
    caller: Principal,
    body: ResolveBody,
    each: Callable[..., Awaitable[Step]],
    matching: Callable[..., Awaitable[Step]],
) -> StepView:
    """What ``body`` means: these very entries, or what has something in common."""
    others = body.model_fields_set - {"ids", "dry_run"}
    if body.ids is not None and others:
        raise InvalidInput.at(
            min(others), "inconsistent", "It says nothing beside ids.", hint="Leave it out, or leave ids out."
        )
    if body.ids is not None:
        return _step(await each(caller, body.ids, dry_run=body.dry_run))
    if body.source is None and not body.objections:
        raise InvalidInput.at(
            "source", "missing", "Nothing says which entries are meant.", hint="Name ids, a source or objections."
        )
    wanted = QuarantineFilter(
        source_id=body.source, objections=tuple(Objection(name) for name in dict.fromkeys(body.objections))
    )
    after = _place(_OLDEST_FIRST, body.cursor)
    return _step(await matching(caller, wanted, after=after, limit=body.limit, dry_run=body.dry_run))


def _step(step: Step) -> StepView:
    return StepView(examined=step.examined, changed=step.changed, next_cursor=_cursor(_OLDEST_FIRST, step.after))


def _cursor(kind: str, place: Place | None) -> str | None:
    """A cursor holds no negative number, and the position of a whole request is one."""
    return None if place is None else encode_keys(kind, place[0], place[1] + 1)


def _place(kind: str, cursor: str | None) -> Place | None:
    keys = decode_keys(kind, 2, cursor)
    return None if keys is None else (keys[0], keys[1] - 1)
