"""An event loop with virtual time and seeded chance."""

import asyncio
import gc
import heapq
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from itertools import islice
from types import BuiltinMethodType
from typing import Any, Final, TypeVar, TypeVarTuple

from posthouse.testing.simulation.fence import NotSimulated
from posthouse.testing.simulation.lives import Crash, Killed, LifeLoop
from posthouse.testing.simulation.tasks import LIFE, SimHandle, SimTask, callback_name
from posthouse.testing.simulation.trace import Trace

__all__ = ["LIFE", "Crash", "Deadlock", "Killed", "NotSimulated", "SimLoop", "StepsExceeded", "pass_time"]

T = TypeVar("T")
_Ts = TypeVarTuple("_Ts")

_START_SECONDS: Final = 1_000.0  #: like a machine that has been up for a while
_STEPS_MAX: Final = 5_000_000
_LINES_AT_ONCE: Final = 4_096  #: of the trace, between two rounds of hashing
_OVERTAKING_MAX: Final = 4  #: so many others may go before a task that is late
_LOOKED_AT: Final = 32  #: so far behind it they are looked for
_CANCELLED_KEPT: Final = 1_000  #: timers, before those that were cancelled are swept out


class Deadlock(Exception):
    """Nothing is ready, nothing is scheduled, and the main coroutine is not done."""


class StepsExceeded(Exception):
    """More callbacks ran than a simulation may take: something runs in circles."""


class SimLoop(LifeLoop):
    """Runs everything in one thread, in an order that only the seed decides.

    Time stands still while anything is ready, and then jumps to the next timer. Timers that are due at the
    same time run in the order in which they were made. Plain callbacks run in the order in which they
    became ready, as asyncio promises; a task whose next step is ready may by chance be late and let some
    other tasks' steps, and what stands between them, go first. It is never early.

    Args:
        seed: of its chance.
        shuffle: how likely it is that a task is late; 0: never.
        trace: gets a line for each callback and for each step of time.
        steps_max: callbacks in all; beyond that :class:`StepsExceeded` is raised.

    Attributes:
        steps: callbacks that had their turn so far.
    """

    def __init__(self, seed: int, *, shuffle: float, trace: Trace, steps_max: int = _STEPS_MAX) -> None:
        super().__init__(_START_SECONDS)
        self.trace = trace
        self.steps = 0
        self._shuffle = shuffle
        self._chance = random.Random(f"loop {seed}").random  # noqa: S311  # chance that can be repeated
        self._steps_max = steps_max
        self._timers_cancelled = 0
        self._ended = False

    def simulate(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until ``main`` is done, and return what it returns. Closes nothing.

        The garbage collector rests meanwhile, so that nothing is finalized at a time that depends on
        anything but the history. At the end it runs once, and what it finds is in ``complaints``.

        Raises:
            Deadlock: ``main`` waits for something that cannot come.
            StepsExceeded: ``main`` takes too long.
        """
        collects = gc.isenabled()
        gc.disable()
        gc.freeze()  # what was there before is none of this history's garbage
        try:
            return self.run_until_complete(main)
        finally:
            gc.collect()
            gc.unfreeze()
            if collects:
                gc.enable()

    def stop(self) -> None:
        """End the run after the callbacks that are ready now."""
        self._ended = True
        super().stop()

    def close(self) -> None:
        """Forget everything that waits. What is still suspended is never resumed."""
        self._queue.clear()
        self._timers.clear()
        super().close()

    def _run_once(self) -> None:  # run_forever calls it again and again; this one returns when the loop is stopped
        queue, stopped, chance, shuffle = self._queue, self._stopped, self._chance, self._shuffle
        lines = self.trace.lines
        popleft, note = queue.popleft, lines.append
        while not self._ended:
            self._collect_due()
            turns = len(queue)
            self.steps += turns
            if self.steps > self._steps_max:
                raise StepsExceeded(f"{self.steps} callbacks until {self.now} s")
            for _ in range(turns):
                handle = popleft()
                callback = handle.callback
                if callback is None or handle.life in stopped:
                    self._put_aside(handle)
                    continue
                task = handle.task
                if task is None:
                    note(callback_name(callback))
                elif shuffle and not handle.late and chance() < shuffle and self._let_overtake(handle):
                    continue
                else:
                    note(task.label)
                try:
                    handle.context.run(callback, *handle.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - a crash is one, and a loop outlives its callbacks
                    self._take_error(handle, error)
            if len(lines) >= _LINES_AT_ONCE:
                self.trace.hash_lines()
        self._ended = False

    def _collect_due(self) -> None:
        """Make the timers ready that are due; if nothing is ready, let time jump to the next ones."""
        timers, queue, stopped = self._timers, self._queue, self._stopped
        while timers:
            due = timers[0][0]
            if due > self.now and queue:
                return
            entry = heapq.heappop(timers)
            handle = entry[2]
            handle.timers = None
            if handle.callback is None:
                self._timers_cancelled -= 1
            elif handle.life in stopped:
                frozen = stopped[handle.life]
                if frozen is not None:
                    frozen.timers.append(entry)
            else:
                if due > self.now:
                    self.now = due
                    self.trace.lines.append(f"@{due:.9f}")
                queue.append(handle)
        if not queue:
            raise Deadlock(f"nothing is left to happen at {self.now} s")

    def _put_aside(self, handle: SimHandle) -> None:
        """Drop what was cancelled or is of a life that was killed; keep what is of a frozen one for later."""
        frozen = self._stopped.get(handle.life)
        if frozen is not None:
            frozen.ready.append(handle)

    def _let_overtake(self, handle: SimHandle) -> bool:
        """Put a task behind some others that are ready; False if there are none."""
        others = 1 + int(self._chance() * _OVERTAKING_MAX)
        place = 0
        for i, other in enumerate(islice(self._queue, _LOOKED_AT), 1):
            if other.task is not None:
                place = i
                others -= 1
                if not others:
                    break
        if place:
            handle.late = True
            self._queue.insert(place, handle)
        return place > 0

    def _take_error(self, handle: SimHandle, error: BaseException) -> None:
        if not isinstance(error, Crash):
            message = f"Exception in callback {handle.name()}"
            self.call_exception_handler({"message": message, "exception": error, "handle": handle})

    # -- what asyncio asks of a loop ------------------------------------------------------------

    def time(self) -> float:
        """Seconds of virtual time."""
        return self.now

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run ``callback`` once, after what is ready now."""
        if context is None:
            context = copy_context()
        life = context.get(LIFE, 0)
        if life in self._stopped and self._stopped[life] is None:
            return SimHandle(None, (), context, life, self.now)
        owner = getattr(callback, "__self__", None)
        task = owner if type(owner) is SimTask and _is_step(callback) else None
        handle = SimHandle(callback, args, context, life, self.now, task)
        self._queue.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` once, in ``delay`` seconds."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` once, at ``when``."""
        if context is None:
            context = copy_context()
        life = context.get(LIFE, 0)
        if life in self._stopped and self._stopped[life] is None:
            return SimHandle(None, (), context, life, when)
        handle = SimHandle(callback, args, context, life, when)
        handle.timers = self
        self._serial += 1
        heapq.heappush(self._timers, (when, self._serial, handle))
        return handle

    def timer_cancelled(self) -> None:
        """A timer that waits was cancelled: sweep such timers out once they are many."""
        self._timers_cancelled += 1
        if self._timers_cancelled > _CANCELLED_KEPT and 2 * self._timers_cancelled > len(self._timers):
            self._timers[:] = [entry for entry in self._timers if entry[2].callback is not None]
            heapq.heapify(self._timers)
            self._timers_cancelled = 0


async def pass_time(seconds: float) -> None:
    """Let virtual time pass; refused on any other loop, so that a test never waits for the real one."""
    assert isinstance(asyncio.get_running_loop(), SimLoop)
    await asyncio.sleep(seconds)


def _is_step(method: Callable[..., object]) -> bool:
    """Whether a method of a task is one that asyncio calls for its next step, and not ``cancel`` or the like."""
    return type(method) is not BuiltinMethodType or method.__name__ == "task_wakeup"
