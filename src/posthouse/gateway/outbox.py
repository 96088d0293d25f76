"""Draining outboxes: what applications committed in transactions of their own becomes events, in order, once.

An outbox is drained by one at a time: whoever holds the row in its head. With many nodes each of them asks for it in
turn, and who does not get it looks again later. Drains follow each other in the order in which transactions become
visible, and within one the rows go by their numbers; so an event comes after all that its transaction had seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from posthouse.core.envelope import check_json
from posthouse.core.errors import (
    IdempotencyConflict,
    InvalidInput,
    Overloaded,
    PosthouseError,
    ShuttingDown,
    StoreUnavailable,
    TooLarge,
)
from posthouse.core.limits import (
    EVENT_BODY_BYTES_MAX,
    FAULTS_MAX,
    OUTBOX_PAUSE_MS_MAX,
    OUTBOX_PAUSE_MS_MIN,
    OUTBOX_ROWS_MAX,
)
from posthouse.core.model import Environment
from posthouse.core.ports import Clock
from posthouse.core.publishing import DEFAULT_TENANT, Said, check_said, decode
from posthouse.core.retry import FAULT
from posthouse.core.time_format import TIME_MS_MAX
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.publish import Prepared, Publisher
from posthouse.store.protocol import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    IdentityReused,
    OutboxDoubt,
    OutboxRow,
    OutboxSource,
    OutboxStatus,
)
from posthouse.telemetry import Log, Metrics, log

#: Errors that say nothing about the rows: they pass.
_PASSING: Final = (StoreUnavailable, Overloaded, ShuttingDown)

_decode_data: Final = msgspec.json.Decoder(msgspec.Raw).decode


class Outbox:
    """The outboxes of a node: one loop each."""

    def __init__(
        self,
        sources: Sequence[OutboxSource],
        publisher: Publisher,
        intake: IntakeBatcher,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._sources = sources
        self._drains = [Drain(source, publisher, intake, clock, metrics) for source in sources]
        self._stopping = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to drain."""
        self._loops = [asyncio.create_task(drain.run(self._stopping)) for drain in self._drains]

    async def stop(self) -> None:
        """Finish the drains that are under way, and hang up. Idempotent."""
        self._stopping.set()
        if self._loops:
            await asyncio.wait(self._loops)
        for source in self._sources:
            await source.close()

    async def status(self) -> list[tuple[OutboxSource, OutboxStatus]]:
        """What stands in each of them. Raises StoreUnavailable if one cannot be asked."""
        return [(source, await source.status()) for source in self._sources]


class Drain:
    """Drains one outbox."""

    def __init__(
        self, source: OutboxSource, publisher: Publisher, intake: IntakeBatcher, clock: Clock, metrics: Metrics
    ) -> None:
        self._source = source
        self._publisher = publisher
        self._intake = intake
        self._clock = clock
        self._metrics = metrics
        self._limit = OUTBOX_ROWS_MAX
        self._refused: dict[int, OutboxDoubt] = {}  # rows that the store refuses, each by itself
        self._faults = 0  # in a row, at a row that stands alone
        self._failing: str | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Drain until ``stopping`` is set. Whatever goes wrong is tried again."""
        pause_ms = OUTBOX_PAUSE_MS_MIN
        while not stopping.is_set():
            taken = await self._try()
            if taken:
                pause_ms = OUTBOX_PAUSE_MS_MIN
                continue
            await _wait(stopping, (OUTBOX_PAUSE_MS_MAX if taken is None else pause_ms) / 1_000)
            pause_ms = min(2 * pause_ms, OUTBOX_PAUSE_MS_MAX)

    async def step(self) -> int:
        """Take what stands first; how many rows were taken.

        Raises what the source raises, and what the store says about the events; then nothing was taken. Unless it
        passes by itself, fewer rows are tried the next time, until the one that is to blame stands alone. After
        ``FAULTS_MAX`` more failures that one is put aside.
        """
        hand = _Hand(self._publisher, self._intake, self._clock, self._refused)
        try:
            taken = await self._source.drain(hand.deal, limit=self._limit)
        except _PASSING:
            raise
        except Exception as error:
            self._narrow(hand.rows, error)
            raise
        if not taken:
            return 0
        self._limit = min(2 * self._limit, OUTBOX_ROWS_MAX)
        self._faults = 0
        self._refused.clear()
        if self._source.is_own:
            hand.tell()
        self._metrics.outbox_taken += taken - len(hand.doubts)
        for waited_ms in hand.waited_ms:
            self._metrics.outbox_wait_ms.observe(waited_ms)
        if hand.doubts:
            self._metrics.outbox_doubted += len(hand.doubts)
            log(Log.OUTBOX_DOUBTED, count=len(hand.doubts))
        return taken

    def _narrow(self, rows: Sequence[OutboxRow], error: Exception) -> None:
        if len(rows) == 1:
            self._faults += 1
            if self._faults >= FAULTS_MAX:
                self._refused[rows[0].n] = OutboxDoubt(*_problem(error))
        if rows:
            self._limit = max(1, len(rows) // 2)

    async def _try(self) -> int | None:
        """How many rows were taken; None: it failed."""
        try:
            taken = await self.step()
        except PosthouseError as error:
            if self._failing != error.code:
                advice = "" if error.advice == type(error).hint else error.advice  # the usual one is for publishers
                log(Log.OUTBOX_FAILED, detail=error.message, hint=advice)
            self._failing = error.code
        except Exception as error:  # noqa: BLE001 - a loop that ends would leave events behind
            log(Log.LOOP_FAILED, exc_info=error, loop="outbox")
        else:
            if self._failing is not None:
                log(Log.OUTBOX_DRAINED)
            self._failing = None
            return taken
        return None


class _Hand:
    """What is made of the rows of one drain."""

    def __init__(
        self, publisher: Publisher, intake: IntakeBatcher, clock: Clock, refused: Mapping[int, OutboxDoubt]
    ) -> None:
        self.rows: Sequence[OutboxRow] = ()
        self.prepared: list[Prepared] = []
        self.numbers: list[int] = []  # the rows that ``prepared`` was made of
        self.doubts: dict[int, OutboxDoubt] = {}
        self.waited_ms: list[int] = []  # how long each of the rows stood there
        self._publisher = publisher
        self._intake = intake
        self._clock = clock
        self._refused = refused
        self._accepted: tuple[AcceptRequest, tuple[Accepted, ...]] | None = None

    async def deal(
        self, rows: Sequence[OutboxRow], submit: Callable[[AcceptRequest], Awaitable[AcceptResult]] | None
    ) -> Mapping[int, OutboxDoubt]:
        """Accept what can be an event; why the others cannot."""
        self._read(rows)
        while self.prepared:
            request, result = await self._publisher.accept(self.prepared, submit or self._intake.submit)
            if not isinstance(result, IdentityReused):
                self._accepted = request, result
                if submit is None:
                    self._publisher.learn_tenants(request)
                break
            self._leave_out(set(result.positions))
        return self.doubts

    def tell(self) -> None:
        """What was accepted within the drain's own transaction is durable: let the others know."""
        if self._accepted is not None:
            request, result = self._accepted
            self._publisher.learn_tenants(request)
            self._intake.hear([request], [result])

    def _read(self, rows: Sequence[OutboxRow]) -> None:
        self.rows, self.prepared, self.numbers, self.doubts, self._accepted = rows, [], [], {}, None
        now = self._clock.now_ms()
        self.waited_ms = [max(0, now - row.published_at) for row in rows]
        for row in rows:
            if row.n in self._refused:
                self.doubts[row.n] = self._refused[row.n]
                continue
            try:
                environment, said = read_row(row)
            except PosthouseError as error:
                self.doubts[row.n] = OutboxDoubt(*_problem(error))
                continue
            self.prepared.append(
                self._publisher.prepare(environment, said, None, now, said_at=min(row.published_at, now))
            )
            self.numbers.append(row.n)

    def _leave_out(self, positions: set[int]) -> None:
        """These use an id that stands for another event."""
        for position in positions:
            self.doubts[self.numbers[position]] = OutboxDoubt(IdempotencyConflict.code, IdempotencyConflict().message)
        kept = [i for i in range(len(self.prepared)) if i not in positions]
        self.prepared = [self.prepared[i] for i in kept]
        self.numbers = [self.numbers[i] for i in kept]


def read_row(row: OutboxRow) -> tuple[Environment, Said]:
    """What a row says, if the API would take it too.

    Raises:
        InvalidInput, MalformedJson, TooLarge: As publishing by the API does.
    """
    try:
        environment = Environment(row.environment)
    except ValueError:
        raise InvalidInput.at("environment", "environment", "The environment is neither 'live' nor 'test'.") from None
    if row.data is None:
        raise TooLarge(f"The data of an event takes at most {EVENT_BODY_BYTES_MAX} bytes.")
    if row.occurred_at is not None and not 0 <= row.occurred_at <= TIME_MS_MAX:
        raise InvalidInput.at("occurred_at", "invalid", "A time is in milliseconds, in the years 1970 to 9999.")
    tenant = DEFAULT_TENANT if row.tenant is None else row.tenant
    said = Said(row.type, row.data, tenant, row.id, row.occurred_at, row.ordering_key)
    check_said(said)
    decode(_decode_data, row.data)
    check_json(row.data)
    return environment, said


def _problem(error: Exception) -> tuple[str, str]:
    """The code and the text of the field that is wrong, or of the error."""
    if not isinstance(error, PosthouseError):
        return FAULT, f"{type(error).__name__}: {error}"
    if error.errors:
        first = error.errors[0]
        return str(first["code"]), f"{first['path']}: {first['message']}"
    return error.code, error.message


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    """Until the time is over, or ``stopping`` is set."""
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([waiting], timeout=seconds)
    waiting.cancel()
