"""The open connections: which of them are idle, for how long, and how many may be."""

import asyncio
from typing import Final

from posthouse.core.limits import CONNECTION_SECONDS_MAX, IDLE_CONNECTION_SECONDS_MAX, IDLE_CONNECTIONS_MAX
from posthouse.core.ports import Clock
from posthouse.transport.link import Link, Origin

_SWEEP_SECONDS: Final = 5.0
_CLOSE_SECONDS_MAX: Final = 2.0


class Pool:
    """Keeps idle connections for the next request to the same origin.

    The one that was used last is taken first, so that the surplus of a burst grows old and is closed.
    A connection stays at the address that it was dialled to, for ``CONNECTION_SECONDS_MAX`` at most. Not
    thread-safe.

    Args:
        clock: measures ages.
        idle_max: idle connections in all; the one that has been idle the longest gives way.
    """

    def __init__(self, clock: Clock, *, idle_max: int = IDLE_CONNECTIONS_MAX) -> None:
        self._monotonic = clock.monotonic
        self._idle_max = idle_max
        self._open: dict[Link, None] = {}  # the oldest first
        self._idle: dict[Origin, list[Link]] = {}  # each list: the latest last
        self._idle_since: dict[Link, float] = {}  # the earliest first
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._all_gone: asyncio.Event | None = None

    @property
    def closed(self) -> bool:
        """Whether it keeps nothing any more."""
        return self._closed

    @property
    def open_count(self) -> int:
        """Connections in use or idle."""
        return len(self._open)

    @property
    def idle_count(self) -> int:
        """Connections waiting for a request."""
        return len(self._idle_since)

    def take(self, origin: Origin) -> Link | None:
        """An idle connection to ``origin``, or None. The caller gives it back, or aborts it."""
        links = self._idle.get(origin)
        while links:
            link = links.pop()
            since = self._idle_since.pop(link)
            if not links:
                del self._idle[origin]
            if link.is_connected() and self._monotonic() - since <= IDLE_CONNECTION_SECONDS_MAX:
                return link
            link.abort()
        return None

    def adopt(self, link: Link) -> None:
        """Count a connection that was just opened; it is in the caller's hands."""
        if self._closed:
            link.abort()
            return
        self._open[link] = None
        link.on_lost = self._forget

    def give_back(self, link: Link) -> None:
        """Keep ``link`` for the next request, or close it if it cannot or must not be used again."""
        now = self._monotonic()
        if self._closed or not link.is_reusable() or now - link.opened_at > CONNECTION_SECONDS_MAX:
            link.abort()
            return
        link.rest()
        links = self._idle.get(link.origin)
        if links is None:
            self._idle[link.origin] = [link]
        else:
            links.append(link)
        self._idle_since[link] = now
        if len(self._idle_since) > self._idle_max:
            self._drop(next(iter(self._idle_since)))
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    async def close(self) -> None:
        """Abort every connection, also those in use, and wait until they are gone. Idempotent."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._idle.clear()
        self._idle_since.clear()
        if not self._open:
            return
        self._all_gone = self._all_gone or asyncio.Event()
        for link in self._open:
            link.abort()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS_MAX):
                await self._all_gone.wait()
        except TimeoutError:
            self._open.clear()

    def _forget(self, link: Link) -> None:
        self._open.pop(link, None)
        if link in self._idle_since:
            self._remove(link)
        if self._all_gone is not None and not self._open:
            self._all_gone.set()

    def _drop(self, link: Link) -> None:
        self._remove(link)
        link.abort()

    def _remove(self, link: Link) -> None:
        del self._idle_since[link]
        links = self._idle[link.origin]
        links.remove(link)
        if not links:
            del self._idle[link.origin]

    def _sweep(self) -> None:
        self._sweeper = None
        too_old = self._monotonic() - IDLE_CONNECTION_SECONDS_MAX
        while self._idle_since:
            link, since = next(iter(self._idle_since.items()))
            if since >= too_old:
                self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
                return
            self._drop(link)
