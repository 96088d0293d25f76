"""A store in a database as one end of a move."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from posthouse.core.errors import NotFound, StoreIncompatible
from posthouse.store.postgres.backup import has_memory, tally
from posthouse.store.postgres.binding import storable
from posthouse.store.postgres.bulk import (
    STRICT,
    be_the_only_one,
    bulk_wire,
    judged,
    prove_no_node,
    transaction,
    version_of,
)
from posthouse.store.postgres.dial import PostgresWire
from posthouse.store.postgres.dsn import Dsn, parse_dsn
from posthouse.store.postgres.migrating import known_migrations, migrate
from posthouse.store.postgres.server import ServerRules
from posthouse.store.shared.copying import Bound, Place, Range, written
from posthouse.store.shared.custody import Custody, custody_of
from posthouse.store.shared.moving import Row
from posthouse.store.shared.tables import POSTGRESQL, Kind, Table
from posthouse.store.shared.tally import Tally

_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


async def _prove_known(wire: PostgresWire, place: Dsn) -> None:
    version, known = await version_of(wire), len(known_migrations())
    if not version:
        raise NotFound(f"There is no store in {place.database}.", hint="Name the database to move from.")
    if version != known:
        raise StoreIncompatible(
            f"The store in {place.database} has schema version {version}; this version of Posthouse has {known}.",
            hint="Start a node of this version on it once, and then move it.",
        )


class PostgresCarrier:
    """A store in a database; as a :class:`~posthouse.store.shared.moving.Carrier`."""

    def __init__(self, place: Dsn, wire: PostgresWire, ends: AsyncExitStack) -> None:
        hosts = ",".join(f"{host}:{port}" for host, port in place.hosts)
        self.name = f"postgresql://{hosts}/{place.database} (schema {place.schema})"
        self._wire = wire
        self._ends = ends

    @classmethod
    async def source(cls, dsn: str, *, rules: ServerRules = STRICT) -> "PostgresCarrier":
        """Of the store that is there.

        Raises:
            ConfigurationError: The DSN is not one.
            NotFound: There is none.
            StoreIncompatible: It is none of this version.
            StoreInUse: Another process fills or moves it.
            StoreUnavailable: The database cannot be reached.
        """
        return await cls._open(dsn, rules, _prove_known)

    @classmethod
    async def target(cls, dsn: str, *, now: int, rules: ServerRules = STRICT) -> "PostgresCarrier":
        """Of a store that is made if there is none.

        Raises:
            ConfigurationError: The DSN is not one.
            StoreInUse: Another process fills it.
            StoreIncompatible: There is a store of another version, or the server is none for this one.
            UnsafeLibrary: The server loses what it acknowledges.
            StoreUnavailable: The database cannot be reached, or does not write.
        """

        async def make(wire: PostgresWire, place: Dsn) -> None:
            await migrate(wire, place.schema, known_migrations(), now=now)

        return await cls._open(dsn, rules, make)

    @classmethod
    async def _open(
        cls, dsn: str, rules: ServerRules, prepare: Callable[[PostgresWire, Dsn], Awaitable[None]]
    ) -> "PostgresCarrier":
        place = parse_dsn(dsn)
        async with AsyncExitStack() as ends:
            wire = await ends.enter_async_context(bulk_wire(place, "migrate", rules=rules))
            await be_the_only_one(wire)
            await prepare(wire, place)
            return cls(place, wire, ends.pop_all())

    async def close(self) -> None:
        """Hang up. Idempotent."""
        await self._ends.aclose()

    async def stop_nodes(self) -> None:
        """See that no node is connected; one that starts now finds out what `custody` says. Raises StoreInUse."""
        await prove_no_node(self._wire)

    async def custody(self) -> Custody:
        """Whose its contents are."""
        with judged(self._wire):
            (row,) = (await self._wire.ask("custody", ())).rows
        return custody_of(tuple(row))

    async def put_custody(self, custody: Custody) -> None:
        """Whose they are from now on."""
        with judged(self._wire):
            async with transaction(self._wire):
                row = (custody.state, custody.place, custody.since, custody.key_floor)
                await self._wire.ask("put_custody", row)

    async def key_floor(self) -> int:
        """The greatest key in it."""
        with judged(self._wire):
            (row,) = (await self._wire.ask("key_floor", ())).rows
        floor: int = row["key"]
        return floor

    async def tally(self) -> Tally:
        """Its books, recounted in one snapshot."""
        with judged(self._wire):
            async with transaction(self._wire, _SNAPSHOT):
                return await tally(self._wire)

    async def count(self, table: Table) -> int:
        """How many rows a table has."""
        return (await self.marks(table, None, None))[0]

    async def end(self, table: Table, after: Place | None, count: int) -> Place | None:
        """The place of the ``count``-th row behind another place."""
        found = await self._asked(table, Range(table, POSTGRESQL, after, None).end(count))
        return tuple(found[0]) if found else None

    async def marks(self, table: Table, after: Place | None, upto: Place | None) -> tuple[int, ...]:
        """The number of rows of a range, and sums over them."""
        found = await self._asked(table, Range(table, POSTGRESQL, after, upto).marks())
        return tuple(found[0]) if found else (0,) * (1 + len(table.marks))

    async def rows(self, table: Table, after: Place | None, upto: Place | None) -> AsyncIterator[Row]:
        """The rows of a range, a few at a time."""
        if await self._is_lost(table):
            return
        with judged(self._wire):
            async with transaction(self._wire, _SNAPSHOT):
                async for row in self._wire.walk(*Range(table, POSTGRESQL, after, upto).rows()):
                    yield tuple(row)

    async def replace(self, table: Table, after: Place | None, upto: Place | None, rows: AsyncIterator[Row]) -> None:
        """Put these rows in the place of all that a range holds."""
        columns, constant = written(table, POSTGRESQL)
        texts = [column.kind is Kind.TEXT for column in table.columns]

        async def given() -> AsyncIterator[list[Any]]:
            async for row in rows:
                values = [
                    storable(value) if is_text and value is not None else value
                    for is_text, value in zip(texts, row, strict=True)
                ]
                yield [*values, *constant]

        with judged(self._wire):
            async with transaction(self._wire):
                await self._wire.fetch(*Range(table, POSTGRESQL, after, upto).deletion())
                await self._wire.insert(table.name, columns, given())

    async def clear(self, table: Table) -> None:
        """Leave no row in a table."""
        with judged(self._wire):
            async with transaction(self._wire):
                await self._wire.command(f"DELETE FROM {table.name}")  # noqa: S608 - by tables.py

    async def _asked(self, table: Table, bound: Bound) -> list[Any]:
        with judged(self._wire):
            return [] if await self._is_lost(table) else await self._wire.fetch(*bound)

    async def _is_lost(self, table: Table) -> bool:
        return table.may_be_lost and not await has_memory(self._wire)
