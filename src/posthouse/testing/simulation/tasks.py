"""Futures, tasks and handles that know which life they belong to, and are the same in every run."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, Final, Protocol

#: Whose code runs: 0 is the world outside, n the n-th life of a node. A life is one process: it begins, and is killed.
LIFE: Final[ContextVar[int]] = ContextVar("LIFE", default=0)


class TimerQueue(Protocol):
    """Where a timer waits."""

    def timer_cancelled(self) -> None:
        """One of those that wait was cancelled."""
        ...


class SimFuture(asyncio.Future[Any]):
    """A future whose place in a set depends on when it was made, not on where it lies in memory.

    Attributes:
        serial: made in this order.
        life: made by whom.
    """

    __slots__ = ("life", "serial")

    serial: int
    life: int

    def __hash__(self) -> int:
        return self.serial


class SimTask(asyncio.Task[Any]):
    """The same of a task.

    Attributes:
        label: what the trace says when it takes a step.
    """

    __slots__ = ("label", "life", "serial")

    def __init__(
        self,
        coroutine: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        loop: asyncio.AbstractEventLoop,
        name: object,
        context: Context,
        life: int,
        serial: int,
    ) -> None:
        self.serial = serial  # before asyncio puts the task into a set
        self.life = life
        qualname = getattr(coroutine, "__qualname__", "coroutine")
        self.label: str = f"{life} {qualname}"
        super().__init__(coroutine, loop=loop, name=str(name or qualname), context=context)

    def __hash__(self) -> int:
        return self.serial


class SimHandle(asyncio.TimerHandle):
    """A callback that waits for its turn, or for its time.

    Leaves out what asyncio's own handles keep for debugging: one is made for everything that happens.

    Attributes:
        callback: None once it was cancelled.
        task: the one whose step it is; None for a plain callback.
        late: it let others overtake it, and will not again.
        timers: where it waits for its time; None when that has come, or it has none.
    """

    __slots__ = ("args", "callback", "context", "due", "late", "life", "task", "timers")

    def __init__(  # noqa: PLR0917  # positional, and without the inherited one: names and its call cost as much again
        self,
        callback: Callable[..., object] | None,
        args: tuple[Any, ...],
        context: Context,
        life: int,
        due: float,
        task: SimTask | None = None,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.life = life
        self.due = due
        self.task = task
        self.late = False
        self.timers: TimerQueue | None = None

    def cancel(self) -> None:
        """Never run it."""
        if self.callback is not None:
            self.callback = None
            self.args = ()
            if self.timers is not None:
                self.timers.timer_cancelled()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.callback is None

    def when(self) -> float:
        """The loop's time at which it is due."""
        return self.due

    def get_context(self) -> Context:
        """The context in which it runs."""
        return self.context

    def __repr__(self) -> str:
        return f"<SimHandle {self.name()} life={self.life} due={self.due}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def name(self) -> str:
        """What the trace calls it."""
        return "cancelled" if self.callback is None else self.task.label if self.task else callback_name(self.callback)


def callback_name(callback: Callable[..., object]) -> str:
    """The name of a plain callback: that of its function."""
    name: str | None = getattr(callback, "__qualname__", None)
    if name is not None:
        return name
    inner = getattr(callback, "func", None)  # of a partial
    return type(callback).__qualname__ if inner is None else callback_name(inner)
