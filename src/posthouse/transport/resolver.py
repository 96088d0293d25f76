"""Looks names up, so that a slow name server holds up nobody but those who ask for its names."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol

from posthouse.core.limits import (
    RESOLVED_NAMES_MAX,
    RESOLVED_SECONDS_MAX,
    RESOLVES_AT_ONCE,
    RESOLVES_WAITING_MAX,
)
from posthouse.core.ports import Clock


class Resolve(Protocol):
    """Says which addresses a name has."""

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of ``host`` in the order in which to try them.

        Raises:
            OSError: the look-up failed.
            UnicodeError: ``host`` cannot be a name.
        """
        ...


class TooManyLookups(OSError):
    """Too many names are being looked up."""


class ResolverClosed(OSError):
    """The look-up was given up because the node stops."""


def _ask_system(host: str) -> tuple[str, ...]:
    """The addresses that the operating system knows, in the order of RFC 6724. Blocks."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class SystemResolver:
    """The operating system's resolver, in threads of its own.

    Look-ups of one name that come together share one thread; an answer is kept for
    ``RESOLVED_SECONDS_MAX``, a failure is not kept. Whoever stops waiting does not stop the look-up.

    Args:
        clock: measures how old an answer is.
        ask: blocks until it has the addresses; raises OSError.
    """

    def __init__(self, clock: Clock, *, ask: Callable[[str], tuple[str, ...]] = _ask_system) -> None:
        self._monotonic = clock.monotonic
        self._ask: Final = ask
        self._threads = ThreadPoolExecutor(RESOLVES_AT_ONCE, thread_name_prefix="posthouse-dns")
        self._asked: dict[str, asyncio.Future[tuple[str, ...]]] = {}
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of ``host``. Raises OSError or UnicodeError."""
        known = self._known.get(host)
        if known is not None and self._monotonic() - known[0] <= RESOLVED_SECONDS_MAX:
            return known[1]
        asked = self._asked.get(host)
        if asked is None:
            if len(self._asked) >= RESOLVES_WAITING_MAX:
                raise TooManyLookups("too many names are being looked up")
            asked = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, host)
            self._asked[host] = asked
            asked.add_done_callback(partial(self._on_answer, host))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if asked.cancelled() and task is not None and not task.cancelling():
                raise ResolverClosed("the resolver was closed") from None
            raise

    def close(self) -> None:
        """Give up all look-ups. Idempotent."""
        for asked in self._asked.values():
            asked.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _on_answer(self, host: str, answer: asyncio.Future[tuple[str, ...]]) -> None:
        del self._asked[host]
        self._known.pop(host, None)
        if answer.cancelled() or answer.exception() is not None:
            return
        if len(self._known) >= RESOLVED_NAMES_MAX:
            del self._known[next(iter(self._known))]
        self._known[host] = (self._monotonic(), answer.result())
