"""Slots of endpoints: leased to nodes, fenced by epochs."""

from collections.abc import Collection

from posthouse.core.failpoints import Failpoint
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Transaction


class PostgresOwnership:
    """The ownership facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._lanes = lanes
        self._readers = readers

    async def acquire(self, node: str, *, now: int, lease_ms: int, dead: Collection[str] = ()) -> dict[int, int]:
        """Take every slot that may be taken; see the protocol."""

        async def run(transaction: Transaction) -> dict[int, int]:
            await transaction.rows("lock_slots")  # whose they are is judged after whoever changes them is done
            rows = await transaction.rows("acquire_slots", node, now, now + lease_ms, list(dead))
            self._lanes.pulse.reach(Failpoint.LEASE_WRITTEN)
            return {row["slot"]: row["epoch"] for row in rows}

        return await self._lanes.pulse.transact(run)

    async def release(self, node: str) -> None:
        """Give up everything; see the protocol."""

        async def run(transaction: Transaction) -> None:
            await transaction.rows("lock_slots")
            await transaction.count("release_slots", node)

        await self._lanes.pulse.transact(run)

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        """Who holds what; see the protocol."""
        rows = await self._readers.quick("all_slots")
        return {row["slot"]: (row["owner"], row["epoch"], row["lease_until"]) for row in rows}
