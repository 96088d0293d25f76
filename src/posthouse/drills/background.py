"""An event loop on a thread of its own: a drill's receivers and publisher run there, undisturbed by what it asks."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

import uvloop

T = TypeVar("T")

CLOSE_SECONDS_MAX: Final = 10.0


class Background:
    """The thread lives while this is entered; leaving it cancels whatever still runs there."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="drill", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(_cancel_all(), seconds_max=CLOSE_SECONDS_MAX)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS_MAX)
        self._loop.close()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin to run ``coroutine`` over there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T], *, seconds_max: float | None = None) -> T:
        """Run ``coroutine`` over there and wait for what it returns or raises."""
        return self.start(coroutine).result(seconds_max)

    def call(self, function: Callable[[], T]) -> T:
        """What ``function`` returns, called over there, where nothing changes meanwhile."""

        async def called() -> T:
            return function()

        return self.run(called())


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_SECONDS_MAX / 2)
