"""``/v1/feed``: events in the order of their commits, and those who read them by a name."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from starlette.requests import Request
from starlette.responses import StreamingResponse

from posthouse.api.feed_answers import (
    END,
    START,
    STREAM,
    last_lines_of,
    lines_of,
    page_of,
    position_of,
    refusal,
    refusal_to_move,
)
from posthouse.api.feed_requests import ConsumerBody, ConsumerQuery, FeedParameters
from posthouse.api.feed_views import ConsumerStateView, ConsumerView, FeedPageView
from posthouse.api.routes.caller import Caller
from posthouse.api.views import Page, page
from posthouse.core.errors import InvalidInput
from posthouse.core.model import Environment
from posthouse.gateway.feed import Feed, patterns_of
from posthouse.store.protocol import FeedBehind, FeedGone, FeedPage, FeedPosition, FeedQuery

_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"content": {STREAM: {"schema": {"type": "string"}}}}}


def feed_routes(feed: Feed) -> APIRouter:
    """The routes of the feed."""
    routes = APIRouter(prefix="/v1/feed", tags=["feed"])

    @routes.get(
        "",
        summary="Read all events in the order of their commits",
        description="With `Accept: text/event-stream` the answer does not end: each event is a message whose id is its "
        "cursor, and `Last-Event-ID` goes on behind it.",
        response_model=FeedPageView,
        responses=_ANSWERS,
    )
    async def read_feed(
        request: Request,
        caller: Caller,
        query: Annotated[FeedParameters, Query()],
        last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> Response:
        wanted = FeedQuery(environment=caller.environment, tenant=query.tenant, types=patterns_of(query.types))
        cursor = last_event_id or query.cursor
        position = await _position(feed, caller.environment, cursor, query.consumer)
        if STREAM in request.headers.get("accept", ""):
            pages = feed.follow(wanted, position, limit=query.limit)
            first = await anext(pages)  # what is refused is refused before an answer begins
            if isinstance(first, FeedGone):
                raise refusal(first)
            return StreamingResponse(_stream(first, pages, request.url.path), media_type=STREAM)
        found = await feed.page(wanted, position, limit=query.limit, wait_s=query.wait)
        if isinstance(found, FeedGone):
            raise refusal(found)
        return Response(page_of(found), media_type="application/json")

    return routes


def consumer_routes(feed: Feed) -> APIRouter:
    """The routes of those who read the feed by a name."""
    routes = APIRouter(prefix="/v1/feed/consumers", tags=["feed"])

    @routes.get("", summary="List consumers by name")
    async def list_feed_consumers(caller: Caller) -> Page[ConsumerView]:
        return page([ConsumerView.of(one) for one in await feed.consumers(caller.environment)], None)

    @routes.get("/{consumer}", summary="Show a consumer, and how far it is behind")
    async def get_feed_consumer(
        caller: Caller, consumer: str, query: Annotated[ConsumerQuery, Query()]
    ) -> ConsumerStateView:
        wanted = FeedQuery(environment=caller.environment, tenant=query.tenant, types=patterns_of(query.types))
        return ConsumerStateView.of_state(await feed.consumer(wanted, consumer))

    @routes.put("/{consumer}", summary="Acknowledge everything up to a cursor; the first time, make the consumer")
    async def acknowledge_feed(caller: Caller, consumer: str, body: ConsumerBody) -> ConsumerView:
        position = await _position(feed, caller.environment, body.cursor, None)
        if position is None:
            position = await feed.start()
        told = await feed.acknowledge(caller.environment, consumer, position, back=body.back)
        if isinstance(told, FeedBehind):
            raise refusal_to_move(told)
        if isinstance(told, FeedGone):
            raise refusal(told)
        return ConsumerView.of(told)

    @routes.delete("/{consumer}", status_code=204, summary="Forget a consumer")
    async def delete_feed_consumer(caller: Caller, consumer: str) -> None:
        await feed.remove(caller.environment, consumer)

    return routes


async def _position(
    feed: Feed, environment: Environment, cursor: str | None, consumer: str | None
) -> FeedPosition | None:
    """Where to begin; None: with the first event that is kept."""
    if cursor is not None and consumer is not None:
        raise InvalidInput.at(
            "consumer", "one_of_two", "A consumer says where to go on, and so does a cursor.", hint="Send one of them."
        )
    if consumer is not None:
        return await feed.position_of(environment, consumer)
    if cursor is None or cursor == START:
        return None
    return await feed.end() if cursor == END else position_of(cursor)


async def _stream(first: FeedPage, pages: AsyncGenerator[FeedPage | FeedGone], path: str) -> AsyncIterator[bytes]:
    async with aclosing(pages):
        yield lines_of(first)
        async for found in pages:
            if isinstance(found, FeedGone):
                yield last_lines_of(found, path)
            else:
                yield lines_of(found)
