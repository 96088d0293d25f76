"""The intake batcher: what many callers send in one turn of the loop goes to the store together.

The store groups further (one commit for everything that is pending). An answer leaves only after
that commit. The batcher also paces: while the engine has more runnable work than it can send,
requests are held for a moment, in their order, so that a publisher that waits for its answers meets
the rate at which deliveries leave. Nothing is refused for it, and no request is held longer than
``PACE_MS_MAX`` and ``PACE_EVENT_MS`` for each of its events, or of those of a larger request that is
held in front of it: a flood is taken in all the same.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from posthouse.core.errors import Overloaded, PosthouseError, ShuttingDown, StoreUnavailable
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.limits import INTAKE_WAITING_MAX
from posthouse.gateway.hints import Hints
from posthouse.gateway.routes import owed_by
from posthouse.store.protocol import Accepted, AcceptRequest, AcceptResult, Intake, Work
from posthouse.telemetry import Log, Metrics, log

PACE_MS_MAX: Final = 50  #: a request is held at most this long for the engine to catch up
PACE_EVENT_MS: Final = 2  #: and for this long more for each of its events
PACE_STEP_MS: Final = 2  #: how often a held request is looked at again


class _Waiting:
    """A request, who waits for its answer, and until when it may be held."""

    __slots__ = ("future", "hold_until", "request")

    def __init__(self, request: AcceptRequest, future: "asyncio.Future[AcceptResult]", hold_until: float) -> None:
        self.request = request
        self.future = future
        self.hold_until = hold_until


class IntakeBatcher:
    """Collects accept requests, hands them to the store, tells the engine, answers the callers."""

    def __init__(
        self, store: Intake, hints: Hints, metrics: Metrics, *, room: Callable[[], int], reach: Reach = pass_by
    ) -> None:
        """``room`` tells how many live deliveries more the engine can take before work piles up in it."""
        self._store = store
        self._hints = hints
        self._metrics = metrics
        self._room = room
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._pending: deque[_Waiting] = deque()
        self._next_flush: asyncio.Handle | None = None
        self._flushes: set[asyncio.Task[None]] = set()
        self._closed = False
        #: Events handed in whose commit is not known yet.
        self.waiting = 0

    async def submit(self, request: AcceptRequest) -> AcceptResult:
        """Make ``request`` durable. Raises Overloaded, ShuttingDown or StoreUnavailable."""
        if self._closed:
            raise ShuttingDown
        if self.waiting >= INTAKE_WAITING_MAX:
            raise Overloaded("Too many events wait for their commit.", retry_after_s=1)
        loop = self._loop
        future: asyncio.Future[AcceptResult] = loop.create_future()
        events = len(request.events)
        self._pending.append(_Waiting(request, future, loop.time() + (PACE_MS_MAX + PACE_EVENT_MS * events) / 1000))
        self.waiting += events
        if self._next_flush is None:
            self._next_flush = loop.call_soon(self._flush)
        return await future

    async def close(self) -> None:
        """Take nothing more; return when all that was taken is answered."""
        self._closed = True
        if self._next_flush is not None:
            self._next_flush.cancel()
            self._flush()
        if self._flushes:
            await asyncio.wait(self._flushes)

    def _flush(self) -> None:
        """Send on what there is room for, what was held long enough, and at the end everything."""
        loop = self._loop
        now = loop.time()
        room = self._room()
        batch: list[_Waiting] = []
        while self._pending:
            first = self._pending[0]
            if room <= 0 and first.hold_until > now and not self._closed:
                break
            room -= len(first.request.events)
            batch.append(self._pending.popleft())
        self._next_flush = loop.call_later(PACE_STEP_MS / 1000, self._flush) if self._pending else None
        if batch:
            task = loop.create_task(self._accept(batch))
            self._flushes.add(task)
            task.add_done_callback(self._flushed)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._flushes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log(Log.LOOP_FAILED, exc_info=error, loop="intake")

    async def _accept(self, batch: list[_Waiting]) -> None:
        requests = [waiting.request for waiting in batch]
        self._reach(Failpoint.ACCEPT_HANDED_IN)
        try:
            results = await self._store.accept(requests)
        except PosthouseError as error:
            self._answer_all(batch, error)
            return
        except Exception as error:
            unknown = StoreUnavailable("The store failed in an unforeseen way.")
            unknown.__cause__ = error
            self._answer_all(batch, unknown)
            raise
        finally:
            self.waiting -= sum(len(request.events) for request in requests)
        self._reach(Failpoint.ACCEPT_DURABLE)
        # The answers come first: they are owed from the commit on, whatever becomes of the hint.
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(result)
        self._count(results)
        self._reach(Failpoint.ACCEPT_ANSWERED)
        self._hints.accepted(born_claimed(requests, results))

    def hear(self, requests: Sequence[AcceptRequest], results: Sequence[AcceptResult]) -> None:
        """Count and pass on to the engine what was accepted by another way, and is durable."""
        self._count(results)
        self._hints.accepted(born_claimed(requests, results))

    def _count(self, results: Sequence[AcceptResult]) -> None:
        metrics = self._metrics
        for result in results:
            if isinstance(result, tuple):
                for accepted in result:
                    if accepted.duplicate:
                        metrics.events_duplicate += 1
                    else:
                        metrics.events_accepted += 1
                        metrics.deliveries_owed += accepted.owed

    @staticmethod
    def _answer_all(batch: list[_Waiting], error: PosthouseError) -> None:
        for waiting in batch:
            if not waiting.future.done():
                waiting.future.set_exception(error)


def born_claimed(requests: Sequence[AcceptRequest], results: Sequence[AcceptResult]) -> list[Work]:
    """The obligations that these requests created, in order, as the engine's windows hold them."""
    work: list[Work] = []
    for request, result in zip(requests, results, strict=True):
        if not isinstance(result, tuple):
            continue
        for new, accepted in zip(request.events, result, strict=True):
            assert isinstance(accepted, Accepted)
            if not accepted.duplicate:
                work += owed_by(new)
    return work
