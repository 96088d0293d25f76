"""The store itself."""

from typing import Protocol

import msgspec


class StoreStats(msgspec.Struct, frozen=True):
    """Cheap facts for metrics and doctor; nothing here is counted row by row."""

    bytes_used: int
    bytes_wal: int
    schema_version: int
    library: str
    findings: tuple[
        str, ...
    ] = ()  #: what an operator should know of how the engine is set up; each says what may happen


class AdminFacet(Protocol):
    """The store itself."""

    async def probe(self, *, now: int) -> None:
        """One real durable write. Raises StoreUnavailable."""
        ...

    async def make_room(self, *, now: int) -> None:
        """Make what the next days need to be written. Call it now and then; mostly there is nothing to do.

        Raises StoreUnavailable if it cannot be done now; nothing fails for want of it, for days yet.
        """
        ...

    async def retain(self, *, now: int, keep_ms: int, limit: int) -> bool:
        """Drop some of what is older than ``keep_ms``, by whole days of UTC; True: call again, there may be more.

        One call is a bounded step, of about ``limit`` events or requests.

        An event goes with everything that belongs to it, unless one of its deliveries is open; a request goes once its
        events are gone, unless something of it waits to be read or is in quarantine. What lies ahead of an unfinished
        job that may open it again stays. The books keep what goes: they balance as before, and show the same sums.
        Several nodes may call it at once; one of them works, the others hear that there is no more.

        ``keep_ms`` must be positive. Raises StoreUnavailable if it cannot be done now: somebody reads what is to go.
        """
        ...

    async def retained_from(self) -> int:
        """What was accepted or received before this time, Unix ms, may be gone; 0: nothing is. It never goes back.

        It is raised before the first row goes. One read of one row.
        """
        ...

    async def key_floor(self) -> int:
        """The greatest key in the store, or that the store it is a copy of may have made. New ones are greater."""
        ...

    async def stats(self) -> StoreStats:
        """Sizes and versions."""
        ...
