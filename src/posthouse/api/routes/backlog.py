"""``/v1/backlog``."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import Field

from posthouse.api.cursors import decode_key, encode_keys
from posthouse.api.requests import EndpointsQuery
from posthouse.api.routes.caller import Caller
from posthouse.api.views import Page, View, page
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.gateway.backlog import Backlog, EndpointBacklog

_CURSOR = "b"


class BacklogQuery(EndpointsQuery):
    """For which endpoints."""

    endpoint: str | None = Field(default=None, description="Id of an endpoint.")


class BacklogView(View):
    """How many open deliveries an endpoint has, by the lane that they wait in."""

    endpoint: str
    tenant: str
    state: str
    live: int
    retry: int
    backlog: int
    parked: int
    behind: int = Field(description="In no queue yet: each stands behind another one of its ordering key.")

    @classmethod
    def of(cls, found: EndpointBacklog) -> Self:
        """The view of ``found``."""
        endpoint, waiting = found.endpoint, found.waiting
        return cls(
            endpoint=make_id(ENDPOINT, endpoint.key),
            tenant=endpoint.tenant,
            state=endpoint.state,
            live=waiting.live,
            retry=waiting.retry,
            backlog=waiting.backlog,
            parked=waiting.parked,
            behind=waiting.behind,
        )


def backlog_routes(backlog: Backlog) -> APIRouter:
    """The route of what waits."""
    routes = APIRouter(prefix="/v1/backlog", tags=["backlog"])

    @routes.get("", summary="Count what waits, by endpoint and lane")
    async def get_backlog(caller: Caller, query: Annotated[BacklogQuery, Query()]) -> Page[BacklogView]:
        found = await backlog.page(
            caller.environment,
            tenant=query.tenant,
            endpoint_id=query.endpoint,
            after=decode_key(_CURSOR, query.cursor),
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        cursor = encode_keys(_CURSOR, shown[-1].endpoint.key) if len(found) > query.limit else None
        return page([BacklogView.of(one) for one in shown], cursor)

    return routes
