"""Processes inside one loop: each callback belongs to a life, and a life can be killed, buried, frozen and thawed."""

import asyncio
import heapq
import logging
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, TypeVar

from posthouse.testing.simulation.fence import FencedLoop
from posthouse.testing.simulation.tasks import LIFE, SimFuture, SimHandle, SimTask

T = TypeVar("T")

_CLOSES_MAX: Final = 20  #: a coroutine may await in its finally blocks; each close gets past one of them
_SUBJECTS: Final = ("task", "future", "handle", "transport")  #: of a complaint; the first that it has


class Crash(BaseException):
    """Unwinds the callback in which a life is killed. The loop swallows it and goes on with the others."""


class Killed(Exception):
    """The life in which something was to be done was killed before it was done."""


class Frozen:
    """What waits until a frozen life goes on."""

    def __init__(self) -> None:
        self.ready: list[SimHandle] = []
        self.timers: list[tuple[float, int, SimHandle]] = []


class LifeLoop(FencedLoop):
    """Knows who may run. Whoever inherits from it says when, and in which order.

    A callback belongs to the life of its context (:data:`LIFE`). One that belongs to a life that was
    killed never runs, and asking for one gives a handle that is cancelled.

    Attributes:
        now: seconds of virtual time.
        complaints: what asyncio would have logged: exceptions that nobody took, tasks that were forgotten.
            A life that was killed has none.
    """

    def __init__(self, now: float) -> None:
        super().__init__()
        self.now = now
        self.complaints: list[str] = []
        self._queue: deque[SimHandle] = deque()
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._serial = 0
        self._stopped: dict[int, Frozen | None] = {}  # None: killed
        self._remains: dict[int, list[SimTask]] = {}  # tasks of killed lives, until they are buried
        self._visits: dict[int, list[asyncio.Future[Any]]] = {}
        self._generators: dict[int, int] = {}  # the life of each asynchronous generator, by its address

    def is_dead(self, life: int) -> bool:
        """Whether the life was killed."""
        return life in self._stopped and self._stopped[life] is None

    def start_life(self, life: int, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``coroutine`` as part of a life, in a context of its own."""
        assert not self.is_dead(life), "a life that was killed does not go on"
        return self.create_task(coroutine, context=_context_of(life))

    async def in_life(self, life: int, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` as part of a life, and return what it returns. Raises Killed if the life is killed."""
        task = self.start_life(life, coroutine)
        outcome: asyncio.Future[T] = self.create_future()
        visits = self._visits.setdefault(life, [])
        visits.append(outcome)
        task.add_done_callback(partial(_pass_on, outcome))
        try:
            return await outcome
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            visits.remove(outcome)

    def kill(self, life: int) -> None:
        """End a life. Nothing of it runs again, whatever it had scheduled or schedules while it unwinds.

        Called from within that life, raise :class:`Crash` next. Its coroutines stay suspended where they
        are until they are buried.
        """
        assert life, "the world outside cannot be killed"
        assert not self.is_dead(life), "it was killed before"
        self._stopped[life] = None
        tasks = [task for task in asyncio.all_tasks(self) if isinstance(task, SimTask) and task.life == life]
        self._remains[life] = sorted(tasks, key=hash)
        for visit in self._visits.get(life, ()):
            if not visit.done():
                visit.set_exception(Killed(f"life {life} was killed"))

    def bury(self, life: int) -> None:
        """Close the coroutines of a killed life, whatever they say to that.

        Their ``finally`` blocks run now, and can reach nothing that the loop or the network has; what else
        they hold (files) must have been taken from them. Not to be called from within that life.
        """
        assert self.is_dead(life), "only the dead are buried"
        remains = self._remains[life]
        context = _context_of(life)
        level = logging.root.manager.disable
        logging.disable()  # nobody reads what the dead say
        try:
            while remains:  # closing one may start others
                context.run(_close, remains.pop())
        finally:
            logging.disable(level)

    def freeze(self, life: int) -> None:
        """Stop a life, as SIGSTOP does: what it has scheduled waits. Bytes still reach its machine."""
        assert life not in self._stopped, "it was stopped before"
        self._stopped[life] = Frozen()

    def thaw(self, life: int) -> None:
        """Let a frozen life go on: what was ready is ready again, timers that are overdue go off at once."""
        frozen = self._stopped[life]
        assert frozen is not None, "the dead do not thaw"
        del self._stopped[life]
        self._queue.extend(frozen.ready)
        for entry in frozen.timers:
            if entry[2].callback is not None:
                entry[2].timers = self
                heapq.heappush(self._timers, entry)

    def timer_cancelled(self) -> None:
        """A timer that waits was cancelled."""
        raise NotImplementedError

    # -- what belongs to a life -----------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """A future of the life that asks for it."""
        future = SimFuture(loop=self)
        self._serial += 1
        future.serial = self._serial
        future.life = LIFE.get()
        return future

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """A task of the life of ``context``; without one, of the life that asks for it."""
        if context is None:
            context = copy_context()
        life = context.get(LIFE, 0)
        self._serial += 1
        task = SimTask(coro, loop=self, name=name, context=context, life=life, serial=self._serial)
        if life in self._remains:
            self._remains[life].append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody took as a complaint, unless it is of a life that was killed."""
        subject = next((context[key] for key in _SUBJECTS if key in context), None)
        for child in getattr(subject, "_children", ())[:1]:  # what gathers tasks belongs to whom they belong
            subject = child
        if self.is_dead(getattr(subject, "life", LIFE.get())):
            return
        error = context.get("exception")
        lines = [f"{context.get('message')} ({subject!r} at {self.now} s)\n"]
        if error is not None:
            lines += traceback.format_exception(error)
        self.complaints.append("".join(lines))

    def _asyncgen_firstiter_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators[id(generator)] = LIFE.get()

    def _asyncgen_finalizer_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        life = self._generators.pop(id(generator), 0)
        if not self.is_closed() and not self.is_dead(life):
            self.create_task(generator.aclose(), context=_context_of(life))


def _context_of(life: int) -> Context:
    context = Context()
    context.run(LIFE.set, life)
    return context


def _pass_on(outcome: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    """Give what came of ``task`` to ``outcome``, if that still waits."""
    error = None if task.cancelled() else task.exception()
    if outcome.done():
        return
    if task.cancelled():
        outcome.cancel()
    elif error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


def _close(task: SimTask) -> None:
    """Close a coroutine that will never run again; it may take several tries to get past what it awaits."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way to say so
    coroutine = task.get_coro()
    for _ in range(_CLOSES_MAX):
        try:
            coroutine.close()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:  # noqa: BLE001, S112 - nobody listens to the dead
            continue
        return
