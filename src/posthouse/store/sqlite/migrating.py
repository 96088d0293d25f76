"""Bringing the file to the schema that this version knows: forward only, each step in one transaction."""

from typing import Any, Final

import apsw

from posthouse.core.errors import StoreIncompatible, StoreInUse
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.shared.migrations import Migration, read_migrations, readable_from
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL

APPLICATION_ID: Final = 0x50485345  #: "PHSE", in the header of the file

_ALL_MIGRATIONS: Final = SQL["all_migrations"]
_COUNT_TABLES: Final = SQL["count_tables"]
_INSERT_MIGRATION: Final = SQL["insert_migration"]
_OLDEST_READER: Final = SQL["oldest_reader"]
_SET_READABLE: Final = SQL["set_readable"]


def known_migrations() -> list[Migration]:
    """The steps of this engine, by number."""
    return read_migrations("posthouse.store.sqlite")


def check_ours(connection: apsw.Connection, migrations: list[Migration], *, alone: bool = True) -> None:
    """Refuse a file that this version must not touch. Writes nothing.

    ``alone``: nobody else has it open. Else those who have must be able to go on after the steps that are missing.

    Raises:
        StoreIncompatible: It is no store, or one of a newer version that this one cannot work on, or its steps are not
            those known here.
        StoreInUse: An older version works on it, and could not go on.
    """
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    tables = value_of(connection, _COUNT_TABLES)
    if not tables and application == 0:
        return
    if application != APPLICATION_ID:
        raise StoreIncompatible("The file is a database of something else.")
    applied = rows_of(connection, _ALL_MIGRATIONS)
    known = [(m.number, m.name, m.checksum) for m in migrations]
    if version > len(known) and not _readable(connection, applied, known):
        raise StoreIncompatible(
            f"The store has schema version {version}; this version of Posthouse knows {len(migrations)}.",
            hint="Install the version of Posthouse that last ran on it, or a newer one.",
        )
    if applied[: len(known)] != known[:version]:
        raise StoreIncompatible("The store was made by other migrations than this version of Posthouse knows.")
    if not alone and any(readable_from(m) > version for m in migrations[version:]):
        raise StoreInUse(
            f"Nodes of an older version run on the store, and cannot work with schema version {len(known)}.",
            hint="Stop them first.",
        )


def _readable(connection: apsw.Connection, applied: list[Any], known: list[Any]) -> bool:
    """Whether newer steps left the store so that this version can go on."""
    oldest: int = value_of(connection, _OLDEST_READER, (len(known),))
    return applied[: len(known)] == known and oldest <= len(known)


def migrate(connection: apsw.Connection, migrations: list[Migration], *, now: int, reach: Reach = pass_by) -> int:
    """Apply the steps that are missing; the number of them. A crash leaves whole steps only."""
    applied = 0
    while connection.pragma("user_version") < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            missing = migrations[connection.pragma("user_version") :]  # another process may have been faster
            if missing:
                _apply(connection, missing[0], now, reach)
                applied += 1
            connection.execute("COMMIT")
            reach(Failpoint.MIGRATE_DONE)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return applied


def _apply(connection: apsw.Connection, migration: Migration, now: int, reach: Reach) -> None:
    reach(Failpoint.MIGRATE_BEGUN)
    connection.execute(migration.script)
    reach(Failpoint.MIGRATE_APPLIED)
    connection.execute(_INSERT_MIGRATION, (migration.number, migration.name, migration.checksum, now))
    if readable_from(migration) < migration.number:
        connection.execute(_SET_READABLE, (migration.number, readable_from(migration)))
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", migration.number)
    reach(Failpoint.MIGRATE_RECORDED)
