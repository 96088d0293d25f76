"""The one door through which the store leaves the event loop's thread."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_Call = tuple[Callable[[], Any], asyncio.AbstractEventLoop, asyncio.Future[Any]]


class Offload(Protocol):
    """Runs a blocking call somewhere and awaits its end.

    A deterministic simulation passes one that runs it in place.
    """

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """The result of ``call()``."""
        ...


class Threads:
    """An :class:`Offload` on a few threads of its own.

    A commit goes through here several hundred times a second; this costs half of what
    ``loop.run_in_executor`` does.
    """

    def __init__(self, name: str, count: int) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._count = count
        for i in range(count):
            # Daemons: a process that ends without closing its store must not hang.
            threading.Thread(target=self._serve, name=f"{name}-{i}", daemon=True).start()

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """The result of ``call()``, run on one of the threads."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((call, loop, future))
        return future

    def close(self) -> None:
        """End the threads when they have done what was asked of them. Nothing may be asked any more."""
        for _ in range(self._count):
            self._calls.put(None)

    def _serve(self) -> None:
        while (item := self._calls.get()) is not None:
            call, loop, future = item
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - it belongs to the one who awaits it
                _answer(loop, _fail, future, error)
            else:
                _answer(loop, _succeed, future, result)
            del item, call, future  # waiting for the next call must not keep the last one alive


def _answer(loop: asyncio.AbstractEventLoop, settle: Callable[[asyncio.Future[Any], Any], None], *values: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle, *values)


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
