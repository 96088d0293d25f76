"""The feed: whoever asks gets all events in the order of their commits, and may wait for the next one."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from posthouse.core.errors import Conflict, InvalidInput, NotFound, Overloaded, PosthouseError
from posthouse.core.limits import (
    FEED_CONSUMER_CHARS_MAX,
    FEED_CONSUMERS_MAX,
    FEED_HEARTBEAT_SECONDS,
    FEED_LOOK_SECONDS,
    FEED_READERS_MAX,
    PATTERNS_MAX,
)
from posthouse.core.model import Environment
from posthouse.core.ports import Clock
from posthouse.core.routing import validate_pattern
from posthouse.store.protocol import (
    FeedBehind,
    FeedConsumer,
    FeedFacet,
    FeedGone,
    FeedLag,
    FeedPage,
    FeedPosition,
    FeedQuery,
    TooManyConsumers,
)
from posthouse.telemetry import Log, log

_NAME: Final = re.compile(rf"[A-Za-z0-9_.:-]{{1,{FEED_CONSUMER_CHARS_MAX}}}")
_PAUSE_SECONDS: Final = 1.0  #: behind a look that failed


class ConsumerState(msgspec.Struct, frozen=True):
    """A consumer, and how far it is behind."""

    consumer: FeedConsumer
    lag: FeedLag | FeedGone


class Feed:
    """Reads the feed, and keeps the positions of those who have a name.

    However many wait, one task looks whether something came.
    """

    def __init__(self, feed: FeedFacet, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._end = FeedPosition()
        self._moved = asyncio.Event()  # another one each time that it was set
        self._readers = 0
        self._looking: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def readers(self) -> int:
        """How many wait or follow."""
        return self._readers

    def let_go(self) -> None:
        """Let nobody wait any longer: streams end. Idempotent."""
        self._closing = True
        self._moved.set()

    async def close(self) -> None:
        """As :meth:`let_go`, and look no longer. Idempotent."""
        self.let_go()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    # -- reading --------------------------------------------------------------------------------

    async def end(self) -> FeedPosition:
        """The position behind everything that can be read now."""
        return await self._feed.end()

    async def page(
        self, query: FeedQuery, position: FeedPosition | None, *, limit: int, wait_s: float = 0.0
    ) -> FeedPage | FeedGone:
        """What follows a position; None: from the first event that is kept.

        If nothing does, it is waited for up to ``wait_s`` seconds; a page may be empty nevertheless, and its position
        further. Raises Overloaded if too many wait.
        """
        found = await self._feed.read(query, position, limit=limit)
        if not wait_s or isinstance(found, FeedGone) or found.events:
            return found
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        with self._counted():
            while not isinstance(found, FeedGone) and not found.events and not self._closing:
                left_s = until - loop.time()
                if left_s <= 0 or (found.is_end and not await self._more(found.position, left_s)):
                    break
                found = await self._feed.read(query, found.position, limit=limit)
        return found

    async def follow(
        self, query: FeedQuery, position: FeedPosition | None, *, limit: int
    ) -> AsyncGenerator[FeedPage | FeedGone]:
        """Page after page, for ever; the first at once, and then an empty one now and then.

        It ends with a position that is gone, or at closing. Raises Overloaded if too many follow.
        """
        is_first = True
        with self._counted():
            while not self._closing:
                found = await self._feed.read(query, position, limit=limit)
                if isinstance(found, FeedGone):
                    yield found
                    return
                if found.events or found.position != position or is_first:
                    yield found
                position, is_first = found.position, False
                if found.is_end and not await self._more(position, FEED_HEARTBEAT_SECONDS):
                    yield FeedPage((), position, is_end=True)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._readers >= FEED_READERS_MAX:
            raise Overloaded(
                f"This node has {FEED_READERS_MAX} readers that wait for the feed.",
                hint="Ask without wait, or ask another node.",
                retry_after_s=5,
            )
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    async def _more(self, position: FeedPosition, wait_s: float) -> bool:
        """Wait until something stands behind a position; False: nothing came."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._end <= position and not self._closing:
                    await self._moved.wait()
        return self._end > position

    async def _look(self) -> None:
        """Look at the end of the feed while somebody waits."""
        while self._readers:
            pause_s = FEED_LOOK_SECONDS
            try:
                end = await self._feed.end()
            except PosthouseError as error:  # a database comes back; who waits finds out what it cannot do
                log(Log.LOOP_FAILED, exc_info=error, loop="feed")
                pause_s = _PAUSE_SECONDS
            else:
                if end != self._end:
                    self._end = end
                    self._moved.set()
                    self._moved = asyncio.Event()
            await asyncio.sleep(pause_s)

    async def start(self) -> FeedPosition:
        """The position ahead of the first event that is kept."""
        return await self._feed.start()

    # -- consumers ------------------------------------------------------------------------------

    async def consumers(self, environment: Environment) -> list[FeedConsumer]:
        """All consumers, by name."""
        return await self._feed.consumers(environment)

    async def position_of(self, environment: Environment, name: str) -> FeedPosition:
        """Where a consumer is. Raises NotFound."""
        return (await self._consumer(environment, name)).position

    async def consumer(self, query: FeedQuery, name: str) -> ConsumerState:
        """A consumer, and how many of the wanted events it has not acknowledged. Raises NotFound."""
        consumer = await self._consumer(query.environment, name)
        return ConsumerState(consumer, await self._feed.lag(query, consumer.position))

    async def acknowledge(
        self, environment: Environment, name: str, position: FeedPosition, *, back: bool
    ) -> FeedConsumer | FeedBehind | FeedGone:
        """Put a consumer to a position, but only ``back`` where it is asked to; the first time it is made.

        Raises:
            InvalidInput: That is no name.
            Conflict: There are too many consumers.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidInput.at(
                "name",
                "consumer_name",
                f"A consumer's name has 1 to {FEED_CONSUMER_CHARS_MAX} characters out of letters, digits and _ . : -",
            )
        told = await self._feed.acknowledge(environment, name, position, now=self._clock.now_ms(), back=back)
        if isinstance(told, TooManyConsumers):
            raise Conflict(
                f"The environment has {FEED_CONSUMERS_MAX} consumers.", hint="Delete those that nobody reads by."
            )
        return told

    async def remove(self, environment: Environment, name: str) -> None:
        """Forget a consumer. Raises NotFound."""
        if not await self._feed.remove(environment, name):
            raise _nobody()

    async def _consumer(self, environment: Environment, name: str) -> FeedConsumer:
        found = await self._feed.consumer(environment, name)
        if found is None:
            raise _nobody()
        return found


def _nobody() -> NotFound:
    return NotFound(
        "There is no consumer of this name.",
        hint="Make one with PUT /v1/feed/consumers/{name} and a cursor, such as start or end.",
    )


def patterns_of(text: str | None) -> tuple[str, ...]:
    """The patterns in a list with commas; ``*`` where there is none. Raises InvalidInput."""
    if text is None:
        return ("*",)
    patterns = tuple(text.split(","))
    if len(patterns) > PATTERNS_MAX:
        raise InvalidInput.at("types", "too_many", f"There are more than {PATTERNS_MAX} patterns.")
    for pattern in patterns:
        try:
            validate_pattern(pattern)
        except InvalidInput as error:
            raise InvalidInput.at("types", "event_pattern", error.message, hint=error.advice) from error
    return patterns
