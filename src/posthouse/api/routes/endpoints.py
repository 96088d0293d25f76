"""``/v1/endpoints``."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query

from posthouse.api.cursors import decode_key, encode_keys
from posthouse.api.endpoint_requests import EndpointBody, EndpointChangeBody
from posthouse.api.endpoint_views import DeletedEndpointView, EndpointView, EndpointWithSecretView
from posthouse.api.requests import EndpointsQuery, RotateSecretBody
from posthouse.api.routes.caller import Caller, IdempotencyKey
from posthouse.api.views import Page, PublishedTestView, page
from posthouse.core.ids import delivery_id
from posthouse.core.model import Endpoint, Scope
from posthouse.gateway.endpoints import Endpoints
from posthouse.gateway.principal import Principal

_CURSOR = "p"


def endpoint_routes(endpoints: Endpoints) -> APIRouter:
    """The routes of endpoints."""
    routes = APIRouter(prefix="/v1/endpoints", tags=["endpoints"])
    view = _view_of(endpoints)

    @routes.post("", status_code=201, summary="Create an endpoint")
    async def create_endpoint(
        caller: Caller, body: EndpointBody, idempotency_key: IdempotencyKey = None
    ) -> EndpointWithSecretView:
        issued = await endpoints.create(caller.environment, body.spec(), idempotency_key=idempotency_key)
        return EndpointWithSecretView.issued(issued, endpoints.condition(issued.endpoint))

    @routes.get("", summary="List endpoints, oldest first")
    async def list_endpoints(caller: Caller, query: Annotated[EndpointsQuery, Query()]) -> Page[EndpointView]:
        after = decode_key(_CURSOR, query.cursor)
        found = endpoints.page(caller.environment, tenant=query.tenant, after=after, limit=query.limit + 1)
        shown = found[: query.limit]
        cursor = encode_keys(_CURSOR, shown[-1].key) if len(found) > query.limit else None
        return page([view(caller, endpoint) for endpoint in shown], cursor)

    @routes.get("/{endpoint_id}", summary="Show an endpoint")
    async def get_endpoint(caller: Caller, endpoint_id: str) -> EndpointView:
        return view(caller, endpoints.get(caller.environment, endpoint_id))

    @routes.patch("/{endpoint_id}", summary="Change an endpoint")
    async def update_endpoint(caller: Caller, endpoint_id: str, body: EndpointChangeBody) -> EndpointView:
        return view(caller, await endpoints.update(caller.environment, endpoint_id, body.change()))

    @routes.delete("/{endpoint_id}", summary="Delete an endpoint and discard what it is still owed")
    async def delete_endpoint(caller: Caller, endpoint_id: str) -> DeletedEndpointView:
        discarded = await endpoints.delete(caller.environment, endpoint_id)
        return DeletedEndpointView(id=endpoint_id, discarded=discarded)

    _action_routes(routes, endpoints)
    return routes


def _action_routes(routes: APIRouter, endpoints: Endpoints) -> None:
    view = _view_of(endpoints)

    @routes.post("/{endpoint_id}/pause", summary="Hold deliveries back; nothing that is owed is lost")
    async def pause_endpoint(caller: Caller, endpoint_id: str, idempotency_key: IdempotencyKey = None) -> EndpointView:
        del idempotency_key  # pausing twice is pausing once
        return view(caller, await endpoints.pause(caller.environment, endpoint_id))

    @routes.post("/{endpoint_id}/resume", summary="Deliver again, whatever held deliveries back")
    async def resume_endpoint(caller: Caller, endpoint_id: str, idempotency_key: IdempotencyKey = None) -> EndpointView:
        del idempotency_key  # resuming twice is resuming once
        return view(caller, await endpoints.resume(caller.environment, endpoint_id))

    @routes.post("/{endpoint_id}/rotate-secret", summary="Make a new secret; the old ones overlap with it")
    async def rotate_secret(
        caller: Caller, endpoint_id: str, body: RotateSecretBody | None = None, idempotency_key: IdempotencyKey = None
    ) -> EndpointWithSecretView:
        wanted = body or RotateSecretBody()
        issued = await endpoints.rotate_secret(
            caller.environment,
            endpoint_id,
            secret=wanted.secret,
            overlap_ms=wanted.overlap_ms,
            idempotency_key=idempotency_key,
        )
        return EndpointWithSecretView.issued(issued, endpoints.condition(issued.endpoint))

    @routes.post("/{endpoint_id}/test", status_code=202, summary="Send a test event to this endpoint only")
    async def test_endpoint(
        caller: Caller, endpoint_id: str, idempotency_key: IdempotencyKey = None
    ) -> PublishedTestView:
        accepted, key = await endpoints.send_test(caller.environment, endpoint_id, idempotency_key=idempotency_key)
        return PublishedTestView(
            id=accepted.id,
            deliveries=accepted.owed,
            duplicate=accepted.duplicate,
            delivery=delivery_id(accepted.key, key),
        )


def _view_of(endpoints: Endpoints) -> Callable[[Principal, Endpoint], EndpointView]:
    """How a caller sees an endpoint."""

    def view(caller: Principal, endpoint: Endpoint) -> EndpointView:
        reveal = caller.scope is Scope.ADMIN
        return EndpointView.of(endpoint, endpoints.condition(endpoint), reveal_headers=reveal)

    return view
