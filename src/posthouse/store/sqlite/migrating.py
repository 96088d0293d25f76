"""Bringing the file to the schema that this version knows: forward only, each step in one transaction."""

from typing import Final

import apsw

from posthouse.core.errors import StoreIncompatible
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.shared.migrations import Migration, read_migrations
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL

APPLICATION_ID: Final = 0x50485345  #: "PHSE", in the header of the file

_ALL_MIGRATIONS: Final = SQL["all_migrations"]
_COUNT_TABLES: Final = SQL["count_tables"]
_INSERT_MIGRATION: Final = SQL["insert_migration"]


def known_migrations() -> list[Migration]:
    """The steps of this engine, by number."""
    return read_migrations("posthouse.store.sqlite")


def check_ours(connection: apsw.Connection, migrations: list[Migration]) -> None:
    """Refuse a file that this version must not touch. Writes nothing.

    Raises:
        StoreIncompatible: It is no store, or a newer one, or its steps are not those known here.
    """
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    tables = value_of(connection, _COUNT_TABLES)
    if not tables and application == 0:
        return
    if application != APPLICATION_ID:
        raise StoreIncompatible("The file is a database of something else.")
    if version > len(migrations):
        raise StoreIncompatible(
            f"The store has schema version {version}; this version of Posthouse knows {len(migrations)}.",
            hint="Install the version of Posthouse that last ran on it, or a newer one.",
        )
    applied = rows_of(connection, _ALL_MIGRATIONS)
    if applied != [(m.number, m.name, m.checksum) for m in migrations[:version]]:
        raise StoreIncompatible("The store was made by other migrations than this version of Posthouse knows.")


def migrate(connection: apsw.Connection, migrations: list[Migration], *, now: int, reach: Reach = pass_by) -> int:
    """Apply the steps that are missing; the number of them. A crash leaves whole steps only."""
    version = connection.pragma("user_version")
    missing = migrations[version:]
    for migration in missing:
        connection.execute("BEGIN IMMEDIATE")
        try:
            reach(Failpoint.MIGRATE_BEGUN)
            connection.execute(migration.script)
            reach(Failpoint.MIGRATE_APPLIED)
            connection.execute(_INSERT_MIGRATION, (migration.number, migration.name, migration.checksum, now))
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", migration.number)
            reach(Failpoint.MIGRATE_RECORDED)
            connection.execute("COMMIT")
            reach(Failpoint.MIGRATE_DONE)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return len(missing)
