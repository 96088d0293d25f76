"""How a sender deals with an answer: what it takes for delivered, what it sends again and when, when it gives up."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Any, Final

import msgspec

from posthouse.drills.http_client import Answer
from posthouse.drills.senders.books import Attempt, Books, Event, Fate
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Failure, Request, Wire
from posthouse.providers.preset import SenderRules

OPEN_MAX: Final = 10_000  #: parcels that are not settled
_MS: Final = 1_000


class Parcel(msgspec.Struct, frozen=True):
    """The events of one request; none: a heartbeat."""

    events: tuple[Event, ...]
    make: Callable[[int], Request]  #: the request of this attempt, counted from 1
    name: str = ""  #: by which the sender calls it


class Outcome(StrEnum):
    """What the sender makes of an attempt."""

    TAKEN = "taken"
    AGAIN = "again"
    NEVER = "never"  #: it failed, and is no reason to send it again


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender makes of answers: the rules of its preset, and what it does besides."""

    rules: SenderRules
    delays_s: tuple[float, ...] | None = None  #: before each retry; None: those of the rules
    taken: frozenset[int] | None = None  #: the only statuses that mean delivered; None: every 2xx
    jitter: Callable[[random.Random, int], float] | None = None  #: seconds more before this retry, counted from 0

    def outcome(self, result: int | Failure) -> Outcome:
        """What this status or failure means."""
        if isinstance(result, Failure):  # to a sender all of them are the same
            return Outcome.AGAIN if self.rules.retries_timeouts else Outcome.NEVER
        if self.taken is not None:
            return Outcome.TAKEN if result in self.taken else Outcome.AGAIN
        if 200 <= result < 300:  # noqa: PLR2004 - the HTTP class of success
            return Outcome.TAKEN
        return Outcome.AGAIN if self.rules.retries(result) else Outcome.NEVER

    def delay_s(self, retry: int, chance: random.Random) -> float | None:
        """The wait before this retry, counted from 0; None: there is no such retry."""
        delays = self.rules.delays_s if self.delays_s is None else self.delays_s
        if retry >= len(delays):
            return None
        return delays[retry] + (0.0 if self.jitter is None else self.jitter(chance, retry))


class Dispatch:
    """Sends parcels in one manner to one receiver, and keeps the books.

    Once the sender has given the receiver up, by its rules, nothing more is sent to it.

    Args:
        manner: of the sender.
        wire: to send through.
        pace: its time.
        books: its memory.
        listen: told of every answer or failure.
    """

    def __init__(
        self,
        manner: Manner,
        *,
        wire: Wire,
        pace: Pace,
        books: Books,
        listen: Callable[[Parcel, Answer | Failure], None] | None = None,
    ) -> None:
        self.manner = manner
        self.pace = pace
        self.books = books
        self.gave_up_at_s: float | None = None  #: seconds of the sender's time
        self._wire = wire
        self._listen = listen
        self._failures = 0  #: in a row
        self._failing_since_s = 0.0  #: when the first of them was
        self._is_halted = False
        self._asleep: set[asyncio.Task[Any]] = set()

    @property
    def gave_up(self) -> bool:
        """Whether the sender has disabled or deleted the receiver."""
        return self.gave_up_at_s is not None

    @property
    def is_halted(self) -> bool:
        """Whether nothing is sent for now."""
        return self._is_halted

    def halt(self) -> None:
        """Send nothing more: requests on their way are let go on, who waits for a retry is cancelled."""
        self._is_halted = True
        for task in self._asleep:
            task.cancel()

    def resume(self) -> None:
        """Send again."""
        self._is_halted = False

    async def ship(self, parcel: Parcel) -> Fate | None:
        """Send a parcel until it is taken, or lost; waits as long as that takes. What came of it.

        None: it was halted before that, and the fate of its events is what it was.
        """
        retry = 0
        while not self._is_halted:
            outcome = await self.attempt(parcel, retry + 1)
            if outcome is Outcome.TAKEN:
                return self._settle(parcel, Fate.DELIVERED)
            wait_s = self.manner.delay_s(retry, self.pace.chance)
            if outcome is Outcome.NEVER or wait_s is None or self.gave_up:
                return self._settle(parcel, Fate.LOST)
            self._settle(parcel, Fate.RETRYING)
            await self.wait(wait_s)
            retry += 1
        return None

    async def attempt(self, parcel: Parcel, number: int) -> Outcome:
        """Send a parcel once; nothing if the sender has given up. The fate of its events is up to the caller."""
        if self.gave_up:
            return Outcome.NEVER
        rules = self.manner.rules
        began_at = self.pace.now_ms()
        connect_s = None if rules.connect_ms is None else self.pace.deadline_s(rules.connect_ms / _MS)
        got = await self._wire.send(
            parcel.make(number), deadline_s=self.pace.deadline_s(rules.deadline_ms / _MS), connect_s=connect_s
        )
        result = got.status if isinstance(got, Answer) else got
        self.books.attempted(parcel.events, Attempt(self.pace.elapsed_s(), result), began_at=began_at)
        if self._listen is not None:
            self._listen(parcel, got)
        outcome = self.manner.outcome(result)
        self._note(is_taken=outcome is Outcome.TAKEN)
        return outcome

    async def wait(self, seconds: float) -> None:
        """Let seconds of the sender's time pass; cancelled by :meth:`halt`."""
        task = asyncio.current_task()
        assert task is not None, "within a task"
        self._asleep.add(task)
        try:
            await self.pace.wait(seconds)
        finally:
            self._asleep.discard(task)

    def _settle(self, parcel: Parcel, fate: Fate) -> Fate:
        self.books.settle([event.key for event in parcel.events], fate)
        return fate

    def _note(self, *, is_taken: bool) -> None:
        """Count failures in a row, and give up when they are too many or last too long."""
        if is_taken:
            self._failures = 0
            return
        now_s, rules = self.pace.elapsed_s(), self.manner.rules
        if not self._failures:
            self._failing_since_s = now_s
        self._failures += 1
        too_many = rules.gives_up_after is not None and self._failures >= rules.gives_up_after
        too_long = rules.gives_up_after_s is not None and now_s - self._failing_since_s >= rules.gives_up_after_s
        if (too_many or too_long) and not self.gave_up:
            self.gave_up_at_s = now_s


async def ship_all(
    parcels: AsyncIterator[Parcel], ship: Callable[[Parcel], Awaitable[object]], *, open_max: int = OPEN_MAX
) -> None:
    """Ship each of these as soon as it comes, whatever becomes of the others; returns when all are settled.

    While ``open_max`` of them are not settled the next one is not asked for.
    """
    room = asyncio.Semaphore(open_max)

    async def ship_one(parcel: Parcel) -> None:
        try:
            await ship(parcel)
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        async for parcel in parcels:
            await room.acquire()
            group.create_task(ship_one(parcel))
