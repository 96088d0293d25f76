"""One writing connection and those who wait for it: the only place that awaits a writing statement.

A statement that was sent is never cancelled and has no timeout of the driver's: either would ask the server to cancel
it, and in the wait for a standby that makes it durable on one machine only, visible to all. So deadlines are kept
here, by not waiting any longer. What is under way then holds the lane until it is answered or surely gone, and whoever
comes meanwhile is refused at once: no queue grows behind a standby that is not there.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg
import msgspec

from posthouse.core.errors import StoreUnavailable
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.postgres.dial import Answer, Wire
from posthouse.store.postgres.outcome import Sent, Verdict, judge, unanswered
from posthouse.store.postgres.presence import Presence
from posthouse.store.postgres.transact import Guards, Transaction, transact
from posthouse.telemetry import Metrics

T = TypeVar("T")

PAUSE_S: Final = 0.05  #: before another try to connect; doubles each time
PAUSE_MAX_S: Final = 1.0
AGAIN_S: Final = 0.002  #: before the same is tried again; doubles each time
LOOK_S: Final = 1.0  #: between looks whether what is not answered is still under way
FINISH_S: Final = 10.0  #: closing waits so long for what is under way


class LaneRules(msgspec.Struct, frozen=True):
    """How a lane behaves."""

    name: str
    number: int  #: of its row in the catalogue
    deadline_s: float = 10.0  #: nobody waits longer for one statement
    interval_s: float = 0.0  #: under load operations start at least so far apart, so that each gathers what came


class _Job(NamedTuple):
    """An operation and who waits for it."""

    operation: "Callable[[Turn], Awaitable[Any]]"
    future: asyncio.Future[Any]


class _AgainError(Exception):
    """Nothing was written, and the same may go through now."""

    def __init__(self, error: Exception, tries: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.tries = tries


class Turn:
    """A lane in the hands of one operation: its statements follow each other with none of others between."""

    def __init__(self, link: "_Link") -> None:
        self._link = link
        self.number = link.number  #: of the lane's row in the catalogue: what a statement locks to stand still with

    async def single(self, name: str, *args: object) -> list[asyncpg.Record]:
        """What a named statement gives that is a transaction of its own, once that is durable.

        What the answer acknowledges must be locked or written by the statement: an answer that only reads does not
        wait for standbys. It is sent again after a failure that may pass.

        Raises:
            Refused: The database refuses it, and nothing was written.
            Contended: As above: others were in the way each time.
            OutcomeUnknown: It may be durable or not.
            StoreUnavailable: Nothing was written; all of the store's are of this class but ``Refused``.
        """

        async def run() -> list[asyncpg.Record]:
            return (await self._link.ask(Sent.SINGLE, name, args)).rows

        return await _patiently(run)

    async def transact(self, run: Callable[[Transaction], Awaitable[T]], guards: Guards = Guards()) -> T:  # noqa: B008
        """The result of ``run`` in one transaction, once that is durable; first of all it locks ``guards``.

        ``run`` is called again after a failure that may pass. What it raises is raised, and nothing was written.
        Raises also what :meth:`single` raises.
        """
        return await _patiently(lambda: transact(self._link, run, guards))


class Lane:
    """Runs operations in their order, one at a time."""

    def __init__(
        self,
        rules: LaneRules,
        dial: Callable[[], Awaitable[Wire]],
        *,
        is_gone: Callable[[Wire], Awaitable[bool]],
        metrics: Metrics,
        presence: Presence,
        reach: Reach = pass_by,
    ) -> None:
        self.rules = rules
        self._presence = presence
        self.metrics = metrics
        self.reach = reach  #: for the operations too: their steps are its transactions'
        self._dial = dial
        self._is_gone = is_gone
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._jobs: deque[_Job] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._mending: asyncio.Task[None] | None = None  # waits for what is not answered, or connects
        self._refusal: str | None = None  # why nothing can be written now
        self._tried = asyncio.Event()  # to connect, since somebody waits for it
        self._next_start = self._loop.time()
        self._closing = False

    @property
    def number(self) -> int:
        """Of the lane's row in the catalogue."""
        return self.rules.number

    @property
    def alive(self) -> bool:
        """Whether a write may succeed now."""
        return self._wire is not None and not self._wire.lost and self._refusal is None and not self._closing

    async def open(self) -> None:
        """Connect. Raises :class:`StoreUnavailable`."""
        self._take(await self._dial())

    def submit(self, operation: Callable[[Turn], Awaitable[T]]) -> asyncio.Future[T]:
        """Run an operation when its turn comes; the future has its result.

        Cancelling the future before that withdraws it; after that the outcome is whatever it is.

        Raises:
            StoreUnavailable: The lane cannot write now. Also from the future.
        """
        if self._closing:
            raise StoreUnavailable("The store is closed.")
        if self._refusal is not None:
            raise StoreUnavailable(self._refusal, retry_after_s=1)
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.append(_Job(operation, future))
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain())
        return future

    async def single(self, name: str, *args: object) -> list[asyncpg.Record]:
        """What one autocommitted statement gives; see :meth:`Turn.single`."""
        return await self.submit(lambda turn: turn.single(name, *args))

    async def transact(self, run: Callable[[Transaction], Awaitable[T]], guards: Guards = Guards()) -> T:  # noqa: B008
        """The result of one explicit transaction; see :meth:`Turn.transact`."""
        return await self.submit(lambda turn: turn.transact(run, guards))

    async def close(self) -> None:
        """Finish what was submitted, as far as that is answered in time; then hang up. Idempotent."""
        self._closing = True
        draining = self._draining
        if draining is not None:
            await asyncio.wait([draining], timeout=FINISH_S)
        self._refuse("The store is closed.")
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait([self._mending])
        wire, self._wire = self._wire, None
        if wire is not None and (draining is None or draining.done()):
            await wire.close()
        elif wire is not None:
            wire.terminate()

    # -- one operation after the other ----------------------------------------------------------

    async def _drain(self) -> None:
        try:
            while self._jobs:
                await self._pause()
                if (self._wire is None or self._wire.lost) and not await self._connected():
                    continue  # whoever waited was refused
                job = self._jobs.popleft()
                if not job.future.done():
                    await self._run(job)
        finally:
            self._draining = None

    async def _pause(self) -> None:
        wait_s = self._next_start - self._loop.time()
        if wait_s > 0 and not self._closing:
            await asyncio.sleep(wait_s)
        self._next_start = self._loop.time() + self.rules.interval_s

    async def _run(self, job: _Job) -> None:
        assert self._wire is not None
        try:
            self.reach(Failpoint.COMMIT_BEGUN)
            result = await job.operation(Turn(_Link(self, self._wire)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the one who submitted it
            if not job.future.done():
                job.future.set_exception(error)
        else:
            if not job.future.done():
                job.future.set_result(result)

    def _refuse(self, why: str) -> None:
        jobs, self._jobs = self._jobs, deque()
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(StoreUnavailable(why, retry_after_s=1))

    # -- what is not answered, and what is lost ---------------------------------------------------

    def stall(self, wire: Wire, sent: Sent, call: asyncio.Task[Any]) -> None:
        """A statement has no answer in time: refuse everybody until it has one, or can have none any more."""
        self._refusal = f"The database does not answer on '{self.rules.name}'."
        self._refuse(self._refusal)
        self._mending = self._loop.create_task(self._await_answer(wire, sent, call))

    async def _await_answer(self, wire: Wire, sent: Sent, call: asyncio.Task[Any]) -> None:
        try:
            while not call.done():
                await asyncio.wait({call}, timeout=LOOK_S)
                if not call.done() and await self._is_gone(wire):
                    wire.terminate()
            call.exception()  # it was told as what it was when its time was over
            if sent is Sent.STEP:
                await self.roll_back(wire)
        finally:
            if not call.done():  # the store is closed
                wire.terminate()
                await asyncio.wait({call})
                call.exception()
        if wire.lost:
            await self._connect()
        else:
            self._refusal = None

    async def roll_back(self, wire: Wire) -> None:
        """End an open transaction without a trace; if it cannot be ended, the connection."""
        if wire.lost:
            return
        ending = self._loop.create_task(wire.command("ROLLBACK"))
        await asyncio.wait({ending}, timeout=self.rules.deadline_s)
        if not ending.done():
            wire.terminate()
            await asyncio.wait({ending})
        if ending.exception() is not None:
            wire.terminate()

    def _take(self, wire: Wire) -> None:
        self._wire = wire
        wire.when_lost(lambda: self._lose(wire))

    def _lose(self, wire: Wire) -> None:
        """Connect anew at once, so that who comes next finds a connection."""
        if wire is not self._wire or self._closing:
            return
        self._presence.lost(self.rules.name)
        if self._mending is None or self._mending.done():
            self._mending = self._loop.create_task(self._connect())

    async def _connected(self) -> bool:
        """Whether there is a connection, after one try; if there is none, everybody is refused meanwhile."""
        self._presence.lost(self.rules.name)
        if self._mending is None or self._mending.done():
            self._mending = self._loop.create_task(self._connect())
        self._tried.clear()
        await self._tried.wait()
        return self._wire is not None and not self._wire.lost

    async def _connect(self) -> None:
        """Connect, however often it takes."""
        pause_s = PAUSE_S
        try:
            while not self._closing:
                try:
                    wire = await self._dial()
                except Exception as error:  # noqa: BLE001 - whatever it is: a lane that gives up never comes back
                    self._refusal = f"'{self.rules.name}' has no connection: {error}"
                    self._refuse(self._refusal)
                else:
                    self._refusal = None
                    self._take(wire)
                    self._presence.back(self.rules.name)
                    return
                self._tried.set()
                # No secret: nodes must not march in step.
                await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
            self._refuse("The store is closed.")
        finally:
            self._tried.set()


class _Link:
    """The connection of one turn: a :class:`transact.Link`."""

    def __init__(self, lane: Lane, wire: Wire) -> None:
        self.number = lane.number
        self._lane = lane
        self._wire = wire
        self._stalled = False

    async def ask(self, sent: Sent, name: str, args: Sequence[object]) -> Answer:
        """The answer to a named statement."""
        return await self._judged(sent, lambda: self._wire.ask(name, args), lambda answer: answer.tag)

    async def command(self, sent: Sent, text: str) -> None:
        """BEGIN or COMMIT."""
        await self._judged(sent, lambda: self._wire.command(text), lambda tag: tag)

    async def roll_back(self) -> None:
        """End the transaction without a trace."""
        if not self._stalled:  # else whoever waits for the answer does it
            await self._lane.roll_back(self._wire)

    async def _judged(self, sent: Sent, call: Callable[[], Coroutine[Any, Any, T]], tag_of: Callable[[T], str]) -> T:
        lane, wire = self._lane, self._wire
        if self._stalled or wire.lost:
            raise StoreUnavailable("The connection to the database was lost; nothing was written.", retry_after_s=1)
        if sent is not Sent.STEP:
            lane.reach(Failpoint.COMMIT_DUE)
        wire.warnings()
        loop = asyncio.get_running_loop()
        started = loop.time()
        task = loop.create_task(call())
        if sent is not Sent.STEP:
            await self._send(sent, task)
        done, _ = await asyncio.wait({task}, timeout=lane.rules.deadline_s)
        error = task.exception() if done else None
        if not done:
            self._stalled = True
            lane.stall(wire, sent, task)
            outcome = unanswered(sent)
        elif error is not None:
            outcome = judge(sent, error=error, lost=wire.lost)
        else:
            outcome = judge(sent, tag=tag_of(task.result()), warnings=wire.warnings())
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            wire.forget_statements()
        if outcome.error is not None:
            raise _AgainError(outcome.error, outcome.tries) if outcome.verdict is Verdict.AGAIN else outcome.error
        if sent is not Sent.STEP:
            lane.reach(Failpoint.COMMIT_KNOWN)
            lane.metrics.commit_ms.observe((loop.time() - started) * 1_000)
            lane.metrics.commits += 1
        return task.result()

    async def _send(self, sent: Sent, task: asyncio.Task[Any]) -> None:
        """Let what is to become durable leave."""
        await asyncio.sleep(0)
        try:
            self._lane.reach(Failpoint.COMMIT_SENT)
        except BaseException:
            self._stalled = True  # whatever ends the step here, the statement goes on
            self._lane.stall(self._wire, sent, task)
            raise


async def _patiently(run: Callable[[], Awaitable[T]]) -> T:
    """The result of what may be run again after a failure that passes."""
    tried, pause_s = 0, AGAIN_S
    while True:
        try:
            return await run()
        except _AgainError as again:
            tried += 1
            if tried >= again.tries:
                raise again.error from again.error.__cause__
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret: rivals must not march in step
        pause_s *= 2


class Lanes(NamedTuple):
    """The writing connections of a node."""

    intake: Lane
    settle: Lane
    inbound: Lane
    misc: Lane
    pulse: Lane  #: leases: never behind anything else
