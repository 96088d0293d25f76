"""From an archive to a database in which there was no store: in one transaction, so it is there whole or not at all."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from posthouse.core.errors import ArchiveInvalid, PlaceOccupied
from posthouse.core.ids import first_key_at
from posthouse.store.postgres import migrating
from posthouse.store.postgres.backup import ENDING, columns_of, tally
from posthouse.store.postgres.bulk import STRICT, be_the_only_one, bulk_wire, transaction, version_of
from posthouse.store.postgres.dial import PostgresWire
from posthouse.store.postgres.dsn import Dsn, parse_dsn
from posthouse.store.postgres.server import ServerRules
from posthouse.store.shared.archives import Manifest, check_files, prove_known
from posthouse.store.shared.custody import Holding
from posthouse.store.shared.tables import MAY_BE_LOST
from posthouse.store.shared.telling import Tell, tell_nobody

_CHUNK_BYTES: Final = 256 * 1024


async def restore_postgres(
    archive: Path,
    manifest: Manifest,
    dsn: str,
    *,
    now: int,
    tell: Tell = tell_nobody,
    rules: ServerRules = STRICT,
) -> None:
    """Make the store of an archive in a database, brought to this version's schema.

    Checksums are checked first, rows of each table and the books before the COMMIT. Nobody holds a slot in it, and its
    next key is greater than any that was made before ``now``.

    Raises:
        ConfigurationError: The DSN is not one.
        ArchiveInvalid: The archive is not as it was written.
        PlaceOccupied: There is a store in the database.
        StoreInUse: Another process restores there.
        StoreIncompatible: The archive is of a newer version, or the server is none for this one.
        UnsafeLibrary: The server loses what it acknowledges.
        StoreUnavailable: The database cannot be reached or does not write. If its COMMIT was not answered, it may be
            there or not; it is whole if it is.
    """
    place = parse_dsn(dsn)
    known = migrating.known_migrations()
    prove_known(manifest, len(known))
    check_files(archive, manifest, tell)
    async with bulk_wire(place, "restore", rules=rules) as wire:
        await be_the_only_one(wire)
        async with transaction(wire):
            await _make_tables(wire, place, manifest, now)
            await _fill(wire, archive, manifest, tell)
            await wire.ask("void_leases", ())
            await wire.ask("put_custody", (Holding.HERE, "", now, first_key_at(now + 1) - 1))
            tell("audit", 0, 0)
            if await tally(wire) != manifest.tally:
                raise ArchiveInvalid("The archive does not hold what its manifest says.")
        await migrating.migrate(wire, place.schema, known, now=now)


async def _make_tables(wire: PostgresWire, place: Dsn, manifest: Manifest, now: int) -> None:
    """Tables as the archive's store had them. Nodes that start meanwhile wait."""
    await wire.ask("one_migrates", (migrating.LOCK,))
    if await version_of(wire):
        raise PlaceOccupied("There is a store in the database.", hint="Name a database, or a schema, without one.")
    (row,) = (await wire.ask("has_schema", (place.schema,))).rows
    if not row["present"]:
        await wire.command(f"CREATE SCHEMA {place.schema}")  # a plain name, see dsn.py
    for migration in migrating.known_migrations()[: manifest.schema_version]:
        await wire.command(migration.script)
        await wire.ask("insert_migration", migrating.recorded(migration, now))


async def _fill(wire: PostgresWire, archive: Path, manifest: Manifest, tell: Tell) -> None:
    there = {table: set(names) for table, names in (await columns_of(wire)).items()}
    archived = {table: set(names) for table, names in manifest.columns.items()}
    if archived != {table: names for table, names in there.items() if table in archived or table not in MAY_BE_LOST}:
        raise ArchiveInvalid("The tables of the archive are not those of its schema version.")
    for table in there:
        await wire.command(f'DELETE FROM "{table}"')  # noqa: S608 - what a new store begins with
        if table not in archived:
            continue
        pieces = _pieces(archive / (table + ENDING), table, tell)
        if await wire.copy_in(table, manifest.columns[table], pieces) != manifest.rows[table]:
            raise ArchiveInvalid(f"The archive has not as many rows of {table} as its manifest says.")


async def _pieces(path: Path, table: str, tell: Tell) -> AsyncIterator[bytes]:
    done = 0
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        while piece := file.read(_CHUNK_BYTES):
            yield piece
            done += len(piece)
            tell(table, done, total)
