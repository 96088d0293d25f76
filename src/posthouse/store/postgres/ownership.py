"""Nodes, and the slots of endpoints that they own, fenced by epochs.

Whoever gives slots to somebody, or takes them away, locks all of them first, and only then looks at the beats: so a
beat that was durable before its node prolonged what it owns is always seen by who comes after that.
"""

from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import astuple

from posthouse.core.failpoints import Failpoint
from posthouse.core.nodes import Role
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import Grant, Joining, NodeRecord, Roll
from posthouse.store.shared.numbers import next_number


class PostgresOwnership:
    """The ownership facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._lanes = lanes
        self._readers = readers

    async def join(self, me: Joining) -> int:
        """Register a node; see the protocol."""

        async def run(transaction: Transaction) -> int:
            ((latest,),) = await transaction.rows("latest_number")
            known = await transaction.rows("node_number", me.name)
            if known:
                await transaction.count("update_node", *astuple(me))
                return int(known[0]["number"])
            taken = [row["number"] for row in await transaction.rows("all_numbers")]
            number = next_number(latest, taken)
            await transaction.count("set_latest_number", number)
            await transaction.count("insert_node", *astuple(me), number)
            return number

        return await self._lanes.pulse.transact(run)

    async def beat(self, name: str, *, now: int) -> Roll:
        """Raise a beat and read them all; see the protocol."""

        async def run(transaction: Transaction) -> Roll:
            raised = await transaction.count("raise_beat", name, now)
            nodes = await transaction.rows("all_nodes")
            ((version,),) = await transaction.rows("catalogue_version")
            return Roll(me_missing=not raised, nodes=tuple(map(_node, nodes)), catalogue_version=version)

        return await self._lanes.pulse.transact(run)

    async def acquire(
        self,
        node: str,
        *,
        now: int,
        lease_ms: int,
        wanted: Collection[int] | None = None,
        dead: Mapping[str, int] | None = None,
    ) -> Grant:
        """Prolong what the node owns and take what may be taken; see the protocol."""
        slots = None if wanted is None else list(wanted)
        names, beats = list(dead or ()), list((dead or {}).values())

        async def run(transaction: Transaction) -> Grant:
            await transaction.rows("lock_slots")  # whose they are is judged after whoever changes them is done
            rows = await transaction.rows("acquire_slots", node, now + lease_ms, slots, names, beats)
            self._lanes.pulse.reach(Failpoint.LEASE_WRITTEN)
            epochs = {row["slot"]: row["epoch"] for row in rows}
            return Grant(epochs, frozenset(row["slot"] for row in rows if row["unquiet"]))

        return await self._lanes.pulse.transact(run)

    async def release(self, node: str, slots: Collection[int] | None = None) -> None:
        """Give slots up; see the protocol."""

        async def run(transaction: Transaction) -> None:
            await transaction.rows("lock_slots")
            await transaction.count("release_slots", node, None if slots is None else list(slots))

        await self._lanes.pulse.transact(run)

    async def calm(self, node: str, slots: Mapping[int, int]) -> None:
        """Note that nothing of earlier owners is on its way; see the protocol."""

        async def run(transaction: Transaction) -> None:
            await transaction.rows("lock_slots")
            await transaction.count("calm_slots", node, list(slots), list(slots.values()))

        await self._lanes.pulse.transact(run)

    async def leave(self, name: str) -> None:
        """Give up everything and be registered no more; see the protocol."""

        async def run(transaction: Transaction) -> None:
            await transaction.rows("lock_slots")
            await transaction.count("release_slots", name, None)
            await transaction.count("strike_off", name)

        await self._lanes.pulse.transact(run)

    async def bury(self, dead: Mapping[str, int]) -> list[str]:
        """Take dead nodes off the register; see the protocol."""

        async def run(transaction: Transaction) -> list[str]:
            await transaction.rows("lock_slots")
            rows = await transaction.rows("bury_nodes", list(dead), list(dead.values()))
            buried = sorted(row["name"] for row in rows)
            await transaction.count("orphan_slots", buried)
            return buried

        return await self._lanes.pulse.transact(run)

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        """Who holds what; see the protocol."""
        rows = await self._readers.quick("all_slots")
        return {row["slot"]: (row["owner"], row["epoch"], row["lease_until"]) for row in rows}

    async def nodes(self) -> list[NodeRecord]:
        """Everybody on the register; see the protocol."""
        return [_node(row) for row in await self._readers.quick("all_nodes")]


def _node(row: Any) -> NodeRecord:
    return NodeRecord(**{**dict(row), "role": Role(row["role"])})
