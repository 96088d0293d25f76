"""``/v1/deliveries``."""

from typing import Annotated

from fastapi import APIRouter, Query

from posthouse.api.cursors import decode_keys, encode_keys
from posthouse.api.delivery_views import DeliveryDetailView, DeliveryView
from posthouse.api.requests import DeliveriesQuery, time_of
from posthouse.api.routes.caller import Caller, IdempotencyKey
from posthouse.api.views import Page, page
from posthouse.core.delivery import State
from posthouse.gateway.deliveries import Deliveries, DeliveryFilter

_CURSOR = "d"


def delivery_routes(deliveries: Deliveries) -> APIRouter:
    """The routes of deliveries."""
    routes = APIRouter(prefix="/v1/deliveries", tags=["deliveries"])

    @routes.get("", summary="List deliveries, newest event first")
    async def list_deliveries(caller: Caller, query: Annotated[DeliveriesQuery, Query()]) -> Page[DeliveryView]:
        after = decode_keys(_CURSOR, 2, query.cursor)
        found = await deliveries.page(
            caller.environment,
            DeliveryFilter(
                state=None if query.status is None else State(query.status),
                endpoint_id=query.endpoint,
                event_id=query.event,
                tenant=query.tenant,
                since=time_of("since", query.since),
                until=time_of("until", query.until),
            ),
            after=None if after is None else (after[0], after[1]),
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        more = len(found) > query.limit
        cursor = encode_keys(_CURSOR, shown[-1].event_key, shown[-1].endpoint_key) if more else None
        return page([DeliveryView.of(record, deliveries.waits_for(record)) for record in shown], cursor)

    @routes.get("/{delivery_id}", summary="Show a delivery, its attempts and what it waits for")
    async def get_delivery(caller: Caller, delivery_id: str) -> DeliveryDetailView:
        return DeliveryDetailView.of_detail(await deliveries.get(caller.environment, delivery_id))

    @routes.post("/{delivery_id}/retry", summary="Attempt a delivery now, from every state")
    async def retry_delivery(
        caller: Caller, delivery_id: str, idempotency_key: IdempotencyKey = None
    ) -> DeliveryDetailView:
        return DeliveryDetailView.of_detail(
            await deliveries.retry(caller.environment, delivery_id, idempotency_key=idempotency_key)
        )

    @routes.post("/{delivery_id}/cancel", summary="Discard an open delivery")
    async def cancel_delivery(
        caller: Caller, delivery_id: str, idempotency_key: IdempotencyKey = None
    ) -> DeliveryDetailView:
        del idempotency_key  # cancelling twice is cancelling once
        return DeliveryDetailView.of_detail(await deliveries.cancel(caller.environment, delivery_id))

    return routes
