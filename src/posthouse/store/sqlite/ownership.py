"""Slots of endpoints: leased to nodes, fenced by epochs."""

from collections.abc import Collection
from typing import Final

import apsw
import msgspec

from posthouse.core.failpoints import Failpoint, Reach
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.rows import value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps, Writer

_ACQUIRE: Final = SQL["acquire_slots"]
_ALL: Final = SQL["all_slots"]
_OF_NODE: Final = SQL["slots_of_node"]
_RELEASE: Final = SQL["release_slots"]

_EPOCHS: Final = msgspec.json.Decoder(list[tuple[int, int]])
_OWNERS: Final = msgspec.json.Decoder(list[tuple[int, str | None, int, int]])


class SqliteOwnership:
    """The ownership facet."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def acquire(self, node: str, *, now: int, lease_ms: int, dead: Collection[str] = ()) -> dict[int, int]:
        """Take every slot that may be taken; see the protocol."""
        gone = msgspec.json.encode(list(dead)).decode()
        return await self._writer.submit(
            lambda connection: _update(
                connection, node, _ACQUIRE, (node, now, now + lease_ms, gone), self._writer.reach
            )
        )

    async def release(self, node: str) -> None:
        """Give up everything; see the protocol."""
        await self._writer.submit(lambda connection: _update(connection, node, _RELEASE, (node,), self._writer.reach))

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        """Who holds what; see the protocol."""
        document = await self._readers.read(lambda connection: value_of(connection, _ALL))
        return {slot: (owner, epoch, until) for slot, owner, epoch, until in _OWNERS.decode(document)}


def _update(
    connection: apsw.Connection, node: str, statement: str, values: tuple[str | int, ...], reach: Reach
) -> Steps[dict[int, int]]:
    connection.execute(statement, values)
    reach(Failpoint.LEASE_WRITTEN)
    yield 1
    return dict(_EPOCHS.decode(value_of(connection, _OF_NODE, (node,))))
