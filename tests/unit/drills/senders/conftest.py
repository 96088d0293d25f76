"""A sender's world without sockets: answers by script, and a clock that leaps to whatever somebody waits for."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from posthouse.core.limits import SOURCE_BODY_BYTES_DEFAULT
from posthouse.drills.events import digest_of
from posthouse.drills.http_client import Answer
from posthouse.drills.senders.books import Books, Entry
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Failure, Request
from posthouse.providers.index import PRESETS
from posthouse.providers.preset import Reading
from posthouse.providers.received import Received, content
from posthouse.testing.manual_clock import ManualClock

URL = "https://example.com/in/token"
TURNS = 100  #: of the loop, after which everybody waits for the clock

Result = Answer | Failure | int


class ScriptedWire:
    """Takes every request, and answers by script: one result each, then ``usual``."""

    def __init__(self, clock: ManualClock) -> None:
        self.requests: list[Request] = []
        self.at_s: list[float] = []  #: when each of them came
        self.deadlines: list[tuple[float, float | None]] = []
        self.usual: Result | Callable[[Request], Result] = 200
        self._clock = clock
        self._script: list[Result] = []

    def play(self, *results: Result) -> None:
        """What the next requests get."""
        self._script.extend(results)

    async def send(self, request: Request, *, deadline_s: float, connect_s: float | None = None) -> Answer | Failure:
        self.requests.append(request)
        self.at_s.append(self._clock.monotonic())
        self.deadlines.append((deadline_s, connect_s))
        result = self._script.pop(0) if self._script else self.usual
        if callable(result):
            result = result(request)
        return Answer(result) if isinstance(result, int) else result

    @property
    def gaps_s(self) -> list[float]:
        """The pauses between the requests."""
        return [round(later - at, 3) for at, later in itertools.pairwise(self.at_s)]


class World:
    """A wire, a pace, and the time that passes when nobody has anything else to do."""

    def __init__(self, *, speed: float = 1.0, deadline_speed: float = 1.0, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.wire = ScriptedWire(self.clock)
        self.pace = Pace(self.clock, speed=speed, deadline_speed=deadline_speed, seed=seed, sleep=self._sleep)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.clock.monotonic() + seconds, next(self._order), woken))
        await woken

    async def until(self, coroutine: Coroutine[Any, Any, None], *, most_s: float = float("inf")) -> bool:
        """Run this to its end, or until so much time has passed; whether it ended."""
        task = asyncio.create_task(coroutine)
        ended = await self.turn(task, most_s=most_s)
        if not ended:
            task.cancel()
        await asyncio.gather(task, return_exceptions=not ended)
        return ended

    async def turn(self, task: "asyncio.Task[None]", *, most_s: float = float("inf")) -> bool:
        """Let time pass until this is done, or the clock shows so much."""
        while True:
            for _ in range(TURNS):
                if task.done():
                    return True
                await asyncio.sleep(0)
            self._sleepers = [each for each in self._sleepers if not each[2].done()]
            heapq.heapify(self._sleepers)
            assert self._sleepers, "everybody waits, and nobody for the clock"
            due_at, _, woken = self._sleepers[0]
            if due_at > most_s:
                return False
            heapq.heappop(self._sleepers)
            self.clock.advance(max(round((due_at - self.clock.monotonic()) * 1_000 + 0.499), 0))
            woken.set_result(None)


@pytest.fixture
def world() -> World:
    return World()


def received(request: Request) -> Received:
    return Received.of(request.method, request.url, request.headers, request.body, 0)


def read(provider: str, request: Request, secret: str, fetched: bytes | None = None) -> Reading:
    """What the preset makes of a request that it has verified."""
    came = received(request)
    assert len(came.body) <= SOURCE_BODY_BYTES_DEFAULT
    preset = PRESETS[provider]
    preset.scheme.verify(came, [secret], now_s=0, fetched=fetched)
    return preset.read(came, content(came))


def said(readings: Sequence[Reading]) -> list[tuple[str, str | None, bytes]]:
    """The events of these readings, as their type, their id and what tells their content from any other's."""
    return sorted(
        (item.type, item.identity, digest_of(item.type.encode(), item.data))
        for reading in readings
        for item in reading.items
    )


def written(books: Books, *, has_identity: bool) -> list[tuple[str, str | None, bytes]]:
    """The same of what the books say was sent."""
    return sorted(
        (entry.type, key if has_identity else None, entry.digest)
        for key, entry in books.entries.items()
        if entry.attempts
    )


def only(books: Books) -> Entry:
    """The one event there is."""
    (entry,) = books.entries.values()
    return entry
