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

    async def key_floor(self) -> int:
        """The greatest key in the store, or that the store it is a copy of may have made. New ones are greater."""
        ...

    async def stats(self) -> StoreStats:
        """Sizes and versions."""
        ...
