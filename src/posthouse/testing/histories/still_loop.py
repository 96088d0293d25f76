"""An event loop in which time stands still: it runs until nothing can happen unless time passes."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar

from posthouse.testing.manual_clock import ManualClock

T = TypeVar("T")

_RESOLUTION_S: Final = 1e-6  #: a timer nearer than this is due: sums of seconds are not exact


class StillLoop(asyncio.SelectorEventLoop):
    """Runs what is ready, and timers that are due by ``clock``; never waits for anything.

    There is no network in it: who listens is kept in :attr:`accept`, for the test to call.
    """

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_Stillness(self.stop))
        self._clock = clock
        self._clock_resolution = _RESOLUTION_S
        #: Makes the protocol of a new connection, once somebody listens.
        self.accept: Callable[[], asyncio.BaseProtocol] | None = None

    def time(self) -> float:
        """Seconds of the clock in hand."""
        return self._clock.monotonic()

    def settle(self) -> None:
        """Run until nothing can happen without time passing."""
        self.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which must not wait for time to pass."""
        task = self.create_task(work)
        self.settle()
        assert task.done(), f"{work} waits for something that cannot happen now"
        return task.result()

    async def create_server(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        """Listen to the test; the address does not matter."""
        self.accept = protocol_factory
        return _Listener()


class _Listener:
    """Stands where a server with one socket would."""

    @property
    def sockets(self) -> list[Self]:
        return [self]

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    def close(self) -> None:
        """Nothing to close."""


class _Stillness(selectors.SelectSelector):
    """Nothing ever comes from outside; where a loop would wait, ``idle`` is called instead."""

    def __init__(self, idle: Callable[[], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Never waits, never finds anything."""
        if timeout is None or timeout >= _RESOLUTION_S / 2:
            self._idle()
        return []
