"""A copy of a store in a database, beside the nodes that write to it.

All of it is read in one snapshot: COPY of each table, in PostgreSQL's own text format, to a file `TABLE.copy`. Nobody
waits for it; as long as it runs, the server keeps what is deleted meanwhile.
"""

from pathlib import Path
from typing import Any, Final

from posthouse import __version__
from posthouse.core.errors import NotFound
from posthouse.core.model import Environment
from posthouse.store.postgres.audit import audit
from posthouse.store.postgres.bulk import bulk_wire, transaction, version_of
from posthouse.store.postgres.dial import PostgresWire
from posthouse.store.postgres.dsn import parse_dsn
from posthouse.store.postgres.readers import STAND_STILL, Reading
from posthouse.store.postgres.source_audit import audit as audit_sources
from posthouse.store.postgres.transact import OpenTransaction
from posthouse.store.shared.archives import Draft, File, Manifest
from posthouse.store.shared.tables import LEFT_OUT, MAY_BE_LOST, POSTGRESQL
from posthouse.store.shared.tally import Tally, tally_of
from posthouse.store.shared.telling import Tell, tell_nobody

ENDING: Final = ".copy"

_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


async def back_up_postgres(dsn: str, target: Path, *, now: int, tell: Tell = tell_nobody) -> Manifest:
    """Write an archive of the store in a database to ``target``, a folder that is made; what it holds.

    Nodes may run meanwhile. Everything that was acknowledged before the call is in the archive.

    Raises:
        ConfigurationError: The DSN is not one.
        NotFound: There is no store.
        PlaceOccupied: There is something at ``target``.
        StoreInUse: Another process is writing to ``target``.
        StoreUnavailable: The database cannot be read, or the disk refuses; nothing is left behind.
    """
    place = parse_dsn(dsn)
    with Draft(target) as draft:
        async with bulk_wire(place, "backup", writes=False) as wire:
            if not await version_of(wire):
                raise NotFound("There is no store in the database.", hint="Name the database that nodes run on.")
            async with transaction(wire, _SNAPSHOT):
                await wire.command(STAND_STILL)
                manifest = await _archive(wire, draft, now, tell)
        draft.finish(manifest)
    return manifest


async def _archive(wire: PostgresWire, draft: Draft, now: int, tell: Tell) -> Manifest:
    columns = await columns_of(wire)
    rows: dict[str, int] = {}
    files: list[File] = []
    for table, names in columns.items():
        file = draft.write(table + ENDING)

        async def take(piece: bytes, table: str = table, file: Any = file) -> None:
            file.write(piece)
            tell(table, file.bytes, 0)

        rows[table] = await wire.copy_out(f"SELECT {_listed(names)} FROM {_quoted(table)}", take)  # noqa: S608 - of the server
        files.append(file.close(table + ENDING))
    (floor,) = (await wire.ask("key_floor", ())).rows
    tell("audit", 0, 0)
    return Manifest(
        engine=POSTGRESQL,
        schema_version=await version_of(wire),
        made_at=now,
        made_by=__version__,
        key_floor=floor["key"],
        rows=rows,
        columns=columns,
        tally=await tally(wire),
        files=tuple(files),
    )


async def columns_of(wire: PostgresWire) -> dict[str, tuple[str, ...]]:
    """The tables that an archive has, each with its columns."""
    found = (await wire.ask("all_columns", ())).rows
    absent = LEFT_OUT if await has_memory(wire) else LEFT_OUT | MAY_BE_LOST
    return {row["table"]: tuple(row["columns"]) for row in found if row["table"] not in absent}


async def has_memory(wire: PostgresWire) -> bool:
    """Whether what may be lost is there as it should be; else it is as good as lost."""
    (row,) = (await wire.ask("seen_is_usable", ())).rows
    usable: bool = row["usable"]
    return usable


async def tally(wire: PostgresWire) -> Tally:
    """The books of all endpoints and sources, recounted; in one snapshot if there is a transaction."""
    t: Any = OpenTransaction(Reading(wire))
    return tally_of(
        [books for environment in Environment for books in await audit(t, environment, None)],
        [books for environment in Environment for books in await audit_sources(t, environment, None)],
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(_quoted, names))
