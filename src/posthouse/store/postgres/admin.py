"""The store itself: does it write, how large is it, which version."""

from typing import Final

import asyncpg

from posthouse.core.ids import time_of
from posthouse.store.postgres.days import AHEAD, day_of, make_days
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.retention import PostgresRetention
from posthouse.store.postgres.server import warnings_of
from posthouse.store.protocol import StoreStats

_HELD_MS: Final = 30_000  #: a feed that is held back for longer is worth a word
_NO_LOG: Final = 0  #: the server's write-ahead log belongs to all of its databases, and its size is not ours to see


class PostgresAdmin:
    """The admin facet."""

    def __init__(self, lanes: Lanes, readers: Readers, *, days_ahead: int = AHEAD) -> None:
        self._lanes = lanes
        self._readers = readers
        self._retention = PostgresRetention(lanes, readers)
        self._days_ahead = days_ahead
        self._made_on: int | None = None  # the day on which it was last looked at

    async def probe(self, *, now: int) -> None:
        """One real durable write; see the protocol."""
        await self._lanes.pulse.single("probe", self._lanes.pulse.number, now)

    async def make_room(self, *, now: int) -> None:
        """The days ahead; see the protocol."""
        today = day_of(now)
        if self._made_on != today:
            await make_days(self._lanes.misc, now=now, ahead=self._days_ahead)
            self._made_on = today

    async def retain(self, *, now: int, keep_ms: int, limit: int) -> bool:
        """Drop some of what is old; see the protocol."""
        return await self._retention.step(now=now, keep_ms=keep_ms, limit=limit)

    async def retained_from(self) -> int:
        """What was accepted before may be gone; see the protocol."""
        return await self._retention.retained_from()

    async def key_floor(self) -> int:
        """The greatest key in the store; see the protocol."""
        (row,) = await self._readers.quick("key_floor")
        floor: int = row["key"]
        return floor

    async def stats(self) -> StoreStats:
        """Sizes and versions; see the protocol."""
        (row,) = await self._readers.quick("describe_store")
        (server,) = await self._readers.quick("describe_server")
        return StoreStats(
            bytes_used=row["bytes"],
            bytes_wal=_NO_LOG,
            schema_version=row["schema_version"],
            library=f"PostgreSQL {row['version']}, asyncpg {asyncpg.__version__}",
            findings=(*warnings_of(server), *await self._held_back()),
        )

    async def _held_back(self) -> tuple[str, ...]:
        """What to say of a transaction that holds the feed back for long; how long stands nowhere, it would change."""
        held = await self._readers.quick("feed_held")
        if not held or held[0]["now"] - time_of(held[0]["first_key"]) < _HELD_MS:
            return ()
        return (f"The feed waits for a transaction that does not end: {held[0]['holder']}.",)
