"""What takes the store's blocking calls: runs them in place, after as long as a disk would take."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from posthouse.testing.simulation.loop import SimLoop

T = TypeVar("T")

_RETURN_SECONDS_MAX: Final = 0.000_05  #: from the end of a call until whoever waits for it goes on


@dataclass(slots=True, kw_only=True)
class DiskPace:
    """How long calls take; may be changed at any time. Seconds, and chances within [0, 1].

    Attributes:
        usual: the least and the most.
        stall_chance: how likely a call takes much longer.
        stall: the least and the most then.
    """

    usual: tuple[float, float] = (0.000_05, 0.001)
    stall_chance: float = 0.0
    stall: tuple[float, float] = (0.5, 5.0)


class SimOffload:
    """Implements :class:`posthouse.store.sqlite.offload.Offload`.

    A call runs after a while, and whoever awaits it goes on a moment later: a crash can come before the
    call, and between the call and what follows. The calls of the writer, which are methods, run one after
    the other as on its one thread, and so do those of readers, which are functions: closing them waits for
    what they were asked before, and what runs in place cannot wait. The two overtake each other.

    Args:
        loop: the loop.
        chance: its own; nobody else draws from it.

    Attributes:
        pace: how long calls take.
        calls: how many ran.
        stalls: how many of them took much longer.
    """

    def __init__(self, loop: SimLoop, chance: random.Random) -> None:
        self.pace = DiskPace()
        self.calls = 0
        self.stalls = 0
        self._loop = loop
        self._random = chance.random
        self._free_at = {"writer": 0.0, "readers": 0.0}

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """The result of ``call()``; also when nobody awaits it any more, the call runs."""
        future: asyncio.Future[T] = self._loop.create_future()
        who = "readers" if getattr(call, "__self__", None) is None else "writer"
        self._free_at[who] = at = max(self._loop.now + self._duration(), self._free_at[who])
        self._loop.call_at(at, self._run, call, future)
        return future

    def _duration(self) -> float:
        pace = self.pace
        least, most = pace.usual
        if pace.stall_chance and self._random() < pace.stall_chance:
            self.stalls += 1
            least, most = pace.stall
        return least + (most - least) * self._random()

    def _run(self, call: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.calls += 1
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - it belongs to the one who awaits it
            self._loop.call_later(_RETURN_SECONDS_MAX * self._random(), _fail, future, error)
        else:
            self._loop.call_later(_RETURN_SECONDS_MAX * self._random(), _succeed, future, result)


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
