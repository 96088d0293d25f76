"""The store itself."""

from typing import Protocol

import msgspec


class StoreStats(msgspec.Struct, frozen=True):
    """Cheap facts for metrics and doctor; nothing here is counted row by row."""

    bytes_used: int
    bytes_wal: int
    schema_version: int
    library: str


class AdminFacet(Protocol):
    """The store itself."""

    async def probe(self, *, now: int) -> None:
        """One real durable write. Raises StoreUnavailable."""
        ...

    async def key_floor(self) -> int:
        """The greatest key in the store, or that the store it is a copy of may have made. New ones are greater."""
        ...

    async def stats(self) -> StoreStats:
        """Sizes and versions."""
        ...
