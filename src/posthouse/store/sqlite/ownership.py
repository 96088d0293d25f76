"""Nodes, and the slots of endpoints that they own, fenced by epochs."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeAlias

import apsw
import msgspec
from msgspec.structs import astuple

from posthouse.core.failpoints import Failpoint, Reach
from posthouse.core.limits import LEASE_MS
from posthouse.store.protocol import Grant, Joining, NodeRecord, Roll
from posthouse.store.shared.numbers import next_number
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps, Writer

_ALL: Final = SQL["all_slots"]
_ALL_NODES: Final = SQL["all_nodes"]
_ALL_NUMBERS: Final = SQL["all_numbers"]
_BEAT: Final = SQL["raise_beat"]
_BURY: Final = SQL["bury_node"]
_CALM: Final = SQL["calm_slot"]
_INSERT_NODE: Final = SQL["insert_node"]
_LATEST: Final = SQL["latest_number"]
_NUMBER: Final = SQL["node_number"]
_ORPHAN: Final = SQL["orphan_slots"]
_RELEASE: Final = SQL["release_slots"]
_SET_LATEST: Final = SQL["set_latest_number"]
_SLOTS_FOR: Final = SQL["slots_for_node"]
_STRIKE: Final = SQL["strike_off"]
_TAKE: Final = SQL["take_slots"]
_UPDATE_NODE: Final = SQL["update_node"]
_VERSION: Final = SQL["catalogue_version"]

_Found: TypeAlias = tuple[int, int, int, int]  #: slot, epoch, unquiet, whether the node owns it
_FOUND: Final = msgspec.json.Decoder(list[_Found])
_NODES: Final = msgspec.json.Decoder(list[NodeRecord])
_NUMBERS: Final = msgspec.json.Decoder(list[int])
_OWNERS: Final = msgspec.json.Decoder(list[tuple[int, str | None, int, int]])


class SqliteOwnership:
    """The ownership facet."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def join(self, me: Joining) -> int:
        """Register a node; see the protocol."""
        return await self._writer.submit(lambda connection: _join(connection, me))

    async def beat(self, name: str, *, now: int) -> Roll:
        """Raise a beat and read them all; see the protocol."""
        return await self._writer.submit(lambda connection: _beat(connection, name, now))

    async def acquire(self, node: str, *, wanted: Collection[int] | None = None) -> Grant:
        """What the node owns, and what it takes; see the protocol."""
        asked = _json(wanted)
        found = await self._readers.read(lambda connection: _slots_for(connection, node, asked))
        if any(not mine for *_, mine in found):
            found = await self._writer.submit(lambda connection: _take(connection, node, asked, self._writer.reach))
        mine = [(slot, epoch, unquiet) for slot, epoch, unquiet, mine in found if mine]
        return Grant({slot: epoch for slot, epoch, _ in mine}, frozenset(slot for slot, _, unquiet in mine if unquiet))

    async def release(self, node: str, slots: Collection[int] | None = None) -> None:
        """Give slots up; see the protocol."""
        await self._writer.submit(lambda connection: _run(connection, _RELEASE, [(node, _json(slots), LEASE_MS)]))

    async def calm(self, node: str, slots: Mapping[int, int]) -> None:
        """Note that nothing of earlier owners is on its way; see the protocol."""
        calmed = [(slot, node, epoch) for slot, epoch in slots.items()]
        await self._writer.submit(lambda connection: _run(connection, _CALM, calmed))

    async def leave(self, name: str) -> None:
        """Give up everything and be registered no more; see the protocol."""
        await self._writer.submit(lambda connection: _leave(connection, name))

    async def bury(self, dead: Mapping[str, int]) -> list[str]:
        """Take dead nodes off the register; see the protocol."""
        return await self._writer.submit(lambda connection: _bury(connection, dead))

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        """Who holds what; see the protocol."""
        document = await self._readers.read(lambda connection: value_of(connection, _ALL))
        return {slot: (owner, epoch, until) for slot, owner, epoch, until in _OWNERS.decode(document)}

    async def nodes(self) -> list[NodeRecord]:
        """Everybody on the register; see the protocol."""
        return await self._readers.read(_nodes)


def _json(slots: Collection[int] | None) -> str | None:
    return None if slots is None else msgspec.json.encode(list(slots)).decode()


def _nodes(connection: apsw.Connection) -> list[NodeRecord]:
    return _NODES.decode(value_of(connection, _ALL_NODES))


def _run(connection: apsw.Connection, statement: str, rows: Iterable[tuple[str | int | None, ...]]) -> Steps[None]:
    connection.executemany(statement, rows)
    yield 1


def _join(connection: apsw.Connection, me: Joining) -> Steps[int]:
    known = rows_of(connection, _NUMBER, (me.name,))
    if known:
        connection.execute(_UPDATE_NODE, astuple(me))
        yield 1
        number: int = known[0][0]
        return number
    taken = _NUMBERS.decode(value_of(connection, _ALL_NUMBERS))
    number = next_number(value_of(connection, _LATEST), taken)
    connection.execute(_SET_LATEST, (number,))
    connection.execute(_INSERT_NODE, (*astuple(me), number))
    yield 2
    return number


def _beat(connection: apsw.Connection, name: str, now: int) -> Steps[Roll]:
    connection.execute(_BEAT, (name, now))
    missing = not connection.changes()
    yield 1
    return Roll(me_missing=missing, nodes=tuple(_nodes(connection)), catalogue_version=value_of(connection, _VERSION))


def _slots_for(connection: apsw.Connection, node: str, asked: str | None) -> list[_Found]:
    return _FOUND.decode(value_of(connection, _SLOTS_FOR, (node, asked)))


def _take(connection: apsw.Connection, node: str, asked: str | None, reach: Reach) -> Steps[list[_Found]]:
    connection.execute(_TAKE, (node, asked, LEASE_MS))
    reach(Failpoint.LEASE_WRITTEN)
    yield 1
    return _slots_for(connection, node, asked)


def _leave(connection: apsw.Connection, name: str) -> Steps[None]:
    connection.execute(_RELEASE, (name, None, LEASE_MS))
    connection.execute(_STRIKE, (name,))
    yield 2


def _bury(connection: apsw.Connection, dead: Mapping[str, int]) -> Steps[list[str]]:
    buried: list[str] = []
    for name, beat in sorted(dead.items()):
        for _, beat_at in rows_of(connection, _BURY, (name, beat)):
            connection.execute(_ORPHAN, (name, beat_at + LEASE_MS))
            buried.append(name)
    yield 2 * len(buried)
    return buried
