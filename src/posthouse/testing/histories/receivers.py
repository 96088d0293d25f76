"""Receivers that do as they are told, and the record of what reached them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from posthouse.testing.manual_clock import ManualClock
from posthouse.transport.protocol import Exchange, Failure, Request, Timings

_SUCCESS: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request ends: with an answer, or (``failure``) without a whole one."""

    status: int | None = 200
    retry_after: str | None = None
    failure: Failure | None = None

    @property
    def outcome(self) -> str:
        """What the API calls it."""
        if self.failure is not None:
            return self.failure.value
        return "success" if self.status in _SUCCESS else "status"

    def exchange(self) -> Exchange:
        """As a transport reports it."""
        outcome = self.outcome
        return Exchange(
            failure=None if outcome == "success" else Failure(outcome),
            timings=Timings(1_000),
            status=self.status,
            error=None if outcome == "success" else "as told",
            retry_after=self.retry_after,
        )


#: In place of a reply: the request hangs until it is let go, or its time is over.
HANG: Final = None
TIMED_OUT: Final = Reply(status=None, failure=Failure.READ_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that reached a receiver."""

    ticket: int
    at: int  #: Unix ms
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """How the request ended."""

    ticket: int
    at: int  #: Unix ms
    reply: Reply


@dataclass(slots=True)
class World:
    """Everything outside the node: outlives it.

    Attributes:
        replies: by URL; the rest get 200.
        log: what reached receivers and what they said, in order.
        holds_all: every request hangs, whatever its reply would be.
    """

    clock: ManualClock
    replies: dict[str, Reply | None] = field(default_factory=dict)
    log: list[Sent | Answered] = field(default_factory=list)
    holds_all: bool = False
    tickets: int = 0


class Receivers:
    """Implements :class:`posthouse.transport.protocol.Transport`: leads one life of a node to the world.

    Once ``is_over()`` nothing goes out or comes in any more.
    """

    def __init__(self, world: World, is_over: Callable[[], bool]) -> None:
        self._world = world
        self._is_over = is_over
        self._hanging: dict[int, tuple[str, asyncio.Future[Reply]]] = {}

    async def send(self, request: Request) -> Exchange:
        """Do as the world says."""
        world = self._world
        if self._is_over():
            await asyncio.get_running_loop().create_future()
        world.tickets += 1
        ticket = world.tickets
        world.log.append(Sent(ticket, world.clock.now_ms(), request.url, dict(request.headers), request.body))
        reply = HANG if world.holds_all else world.replies.get(request.url, Reply())
        if reply is HANG:
            reply = await self._wait(ticket, request)
        if not self._is_over():
            world.log.append(Answered(ticket, world.clock.now_ms(), reply))
        return reply.exchange()

    async def close(self) -> None:
        """Nothing to close."""

    def let_go(self, ticket: int, reply: Reply) -> None:
        """Answer a request that hangs."""
        _, future = self._hanging[ticket]
        future.set_result(reply)

    def resume(self) -> None:
        """Answer what hangs only because everything was held."""
        self._world.holds_all = False
        for url, future in list(self._hanging.values()):
            reply = self._world.replies.get(url, Reply())
            if reply is not HANG:
                future.set_result(reply)

    async def _wait(self, ticket: int, request: Request) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._hanging[ticket] = (request.url, future)
        try:
            async with asyncio.timeout(request.timeout_ms / 1_000):
                return await future
        except TimeoutError:
            return TIMED_OUT
        finally:
            del self._hanging[ticket]
