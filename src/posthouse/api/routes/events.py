"""``/v1/events``: reading. Publishing is on the hot routes."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from posthouse.api.cursors import decode_key, encode_keys
from posthouse.api.requests import EventsQuery, TenantQuery, time_of
from posthouse.api.routes.caller import Caller
from posthouse.api.views import EventDetailView, EventView, Page, page
from posthouse.gateway.events import EventFilter, Events

_CURSOR = "e"


def event_routes(events: Events) -> APIRouter:
    """The routes of events."""
    routes = APIRouter(prefix="/v1/events", tags=["events"])

    @routes.get("", summary="List events, newest first")
    async def list_events(caller: Caller, query: Annotated[EventsQuery, Query()]) -> Page[EventView]:
        found = await events.page(
            caller.environment,
            EventFilter(
                source_id=query.source,
                tenant=query.tenant,
                type=query.type,
                since=time_of("since", query.since),
                until=time_of("until", query.until),
            ),
            after=decode_key(_CURSOR, query.cursor),
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        cursor = encode_keys(_CURSOR, shown[-1].event.key) if len(found) > query.limit else None
        return page([EventView.of(record) for record in shown], cursor)

    @routes.get(
        "/{event_id:path}",
        summary="Show an event, its data and what became of its deliveries",
        response_model=EventDetailView,
    )
    async def get_event(caller: Caller, event_id: str, query: Annotated[TenantQuery, Query()]) -> Response:
        detail = await events.get(caller.environment, event_id, query.tenant)
        return Response(EventDetailView.encode(detail), media_type="application/json")

    return routes
