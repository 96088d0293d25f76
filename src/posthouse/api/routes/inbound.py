"""``/v1/requests`` and ``/v1/incidents``."""

from typing import Annotated

from fastapi import APIRouter, Query

from posthouse.api.cursors import decode_key, encode_keys
from posthouse.api.inbound_requests import IncidentsQuery, RequestsQuery
from posthouse.api.inbound_views import IncidentView, RequestDetailView, RequestView
from posthouse.api.requests import time_of
from posthouse.api.routes.caller import Caller
from posthouse.api.views import Page, page
from posthouse.core.inbound import IncidentKind, Verdict
from posthouse.gateway.incidents import Incidents
from posthouse.gateway.requests import RequestFilter, Requests

_REQUESTS = "r"
_INCIDENTS = "i"


def request_routes(requests: Requests) -> APIRouter:
    """The routes of requests to sources."""
    routes = APIRouter(prefix="/v1/requests", tags=["requests"])

    @routes.get("", summary="List requests to sources, newest first")
    async def list_requests(caller: Caller, query: Annotated[RequestsQuery, Query()]) -> Page[RequestView]:
        found = await requests.page(
            caller.environment,
            RequestFilter(
                source_id=query.source,
                tenant=query.tenant,
                verdict=None if query.verdict is None else Verdict(query.verdict),
                since=time_of("since", query.since),
                until=time_of("until", query.until),
            ),
            after=decode_key(_REQUESTS, query.cursor),
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        cursor = encode_keys(_REQUESTS, shown[-1].request.key) if len(found) > query.limit else None
        return page([RequestView.of(record) for record in shown], cursor)

    @routes.get("/{request_id}", summary="Show a request to a source, byte for byte, and what was found in it")
    async def get_request(caller: Caller, request_id: str) -> RequestDetailView:
        return RequestDetailView.of(await requests.get(caller.environment, request_id))

    return routes


def incident_routes(incidents: Incidents) -> APIRouter:
    """The route of what may be wrong with what comes in."""
    routes = APIRouter(prefix="/v1/incidents", tags=["incidents"])

    @routes.get("", summary="List what may be wrong with what comes in, newest first")
    async def list_incidents(caller: Caller, query: Annotated[IncidentsQuery, Query()]) -> Page[IncidentView]:
        found = await incidents.page(
            caller.environment,
            source_id=query.source,
            tenant=query.tenant,
            kind=None if query.kind is None else IncidentKind(query.kind),
            is_open=query.open,
            after=decode_key(_INCIDENTS, query.cursor),
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        cursor = encode_keys(_INCIDENTS, shown[-1].key) if len(found) > query.limit else None
        return page([IncidentView.of(incident) for incident in shown], cursor)

    return routes
