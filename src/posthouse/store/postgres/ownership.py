"""Nodes, and the slots of endpoints that they own, fenced by epochs.

A slot is taken away from a node only together with its row in the register, and that is gone only while its beat is
still the one that was seen: so a node whose beat is durable owns what it then reads, and renewing locks no slot.
Whoever changes slots locks the row of the register first, then the slots in order, and then looks at whose they are.
"""

from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import astuple

from posthouse.core.failpoints import Failpoint
from posthouse.core.limits import LEASE_MS
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

    async def acquire(self, node: str, *, wanted: Collection[int] | None = None) -> Grant:
        """What the node owns, and what it takes; see the protocol."""
        asked = None if wanted is None else list(wanted)

        async def run(transaction: Transaction) -> Grant:
            if not await transaction.rows("hold_registration", node):
                return Grant({})
            found = await transaction.rows("slots_for_node", node, asked)
            mine = [row for row in found if row["mine"]]
            free = [row["slot"] for row in found if not row["mine"]]
            if free:
                await transaction.rows("lock_slots", free)  # whose they are is judged after whoever takes them is done
                mine += await transaction.rows("take_slots", node, free, LEASE_MS)
                self._lanes.pulse.reach(Failpoint.LEASE_WRITTEN)
            epochs = {row["slot"]: row["epoch"] for row in mine}
            return Grant(epochs, frozenset(row["slot"] for row in mine if row["unquiet"]))

        return await self._lanes.pulse.transact(run)

    async def release(self, node: str, slots: Collection[int] | None = None) -> None:
        """Give slots up; see the protocol."""
        await self._lanes.pulse.transact(lambda transaction: _release(transaction, node, slots))

    async def calm(self, node: str, slots: Mapping[int, int]) -> None:
        """Note that nothing of earlier owners is on its way; see the protocol."""

        async def run(transaction: Transaction) -> None:
            await transaction.rows("lock_slots", list(slots))
            await transaction.count("calm_slots", node, list(slots), list(slots.values()))

        await self._lanes.pulse.transact(run)

    async def leave(self, name: str) -> None:
        """Give up everything and be registered no more; see the protocol."""

        async def run(transaction: Transaction) -> None:
            await transaction.rows("lock_registration", name)
            await _release(transaction, name, None)
            await transaction.count("strike_off", [name])

        await self._lanes.pulse.transact(run)

    async def bury(self, dead: Mapping[str, int]) -> list[str]:
        """Take dead nodes off the register; see the protocol."""

        async def run(transaction: Transaction) -> list[str]:
            found = await transaction.rows("lock_dead", list(dead), list(dead.values()))
            buried = [row["name"] for row in found]
            if buried:
                await transaction.rows("lock_slots_of", buried)
                await transaction.count("orphan_slots", buried, [row["beat_at"] + LEASE_MS for row in found])
                await transaction.count("strike_off", buried)
            return buried

        return await self._lanes.pulse.transact(run)

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        """Who holds what; see the protocol."""
        rows = await self._readers.quick("all_slots")
        return {row["slot"]: (row["owner"], row["epoch"], row["lease_until"]) for row in rows}

    async def nodes(self) -> list[NodeRecord]:
        """Everybody on the register; see the protocol."""
        return [_node(row) for row in await self._readers.quick("all_nodes")]


async def _release(transaction: Transaction, node: str, slots: Collection[int] | None) -> None:
    await transaction.rows("lock_slots_of", [node])
    await transaction.count("release_slots", node, None if slots is None else list(slots), LEASE_MS)


def _node(row: Any) -> NodeRecord:
    return NodeRecord(**{**dict(row), "role": Role(row["role"])})
