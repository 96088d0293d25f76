"""Bringing the database to the schema that this version knows: forward only, each step in one transaction.

Nodes that start at the same time do it one after the other: the second finds it done.
"""

from typing import Final

import asyncpg

from posthouse.core.errors import StoreIncompatible
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.postgres.dial import Wire
from posthouse.store.postgres.outcome import Contended, NotSent, Sent, judge
from posthouse.store.shared.migrations import Migration, read_migrations, readable_from

LOCK: Final = 0x50485345  #: the advisory lock of who migrates: "PHSE"
#: A step waits so long for a table that others use, for whoever comes after it waits as long; then they get a turn.
STEP_LOCK_MS: Final = 2_000
STEP_TRIES: Final = 15


def known_migrations() -> list[Migration]:
    """The steps of this engine, by number."""
    return read_migrations("posthouse.store.postgres")


async def migrate(wire: Wire, schema: str, migrations: list[Migration], *, now: int, reach: Reach = pass_by) -> int:
    """Apply the steps that are missing; the number of them. A crash leaves whole steps only.

    Raises:
        StoreIncompatible: The store is a newer one, or its steps are not those known here.
        StoreUnavailable: The database does not let it be done now.
        Contended: Others use a table without end that a step must have for itself.
        Refused: A step does not go through.
    """
    applied = tried = 0
    while True:
        try:
            if not await _step(wire, schema, migrations, now=now, reach=reach):
                return applied
            applied, tried = applied + 1, 0
        except Contended:
            await wire.command("ROLLBACK")
            tried += 1
            if tried >= STEP_TRIES:
                raise


async def _step(wire: Wire, schema: str, migrations: list[Migration], *, now: int, reach: Reach) -> bool:
    """Apply the next step; False if there is none."""
    sent = Sent.STEP
    try:
        await wire.command("BEGIN")
        if wire.local:
            await wire.command(wire.local)
        await wire.ask("one_migrates", (LOCK,))
        missing = await _missing(wire, schema, migrations)
        if missing is None:
            await wire.command("ROLLBACK")
            return False
        reach(Failpoint.MIGRATE_BEGUN)
        await wire.command(f"SET LOCAL lock_timeout = {STEP_LOCK_MS}")
        await wire.command(missing.script)
        reach(Failpoint.MIGRATE_APPLIED)
        await wire.ask("insert_migration", recorded(missing, now))
        reach(Failpoint.MIGRATE_RECORDED)
        wire.warnings()
        sent = Sent.COMMIT
        tag = await wire.command("COMMIT")
    except (NotSent, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise judge(sent, error=error, lost=wire.lost).error or error from error
    outcome = judge(sent, tag=tag, warnings=wire.warnings())
    if outcome.error is not None:
        raise outcome.error
    reach(Failpoint.MIGRATE_DONE)
    return True


async def _missing(wire: Wire, schema: str, migrations: list[Migration]) -> Migration | None:
    """The next step, in the schema, which is made if it is not there; None if all were applied."""
    (row,) = (await wire.ask("has_schema", (schema,))).rows
    if not row["present"]:
        await wire.command(f"CREATE SCHEMA {schema}")  # a plain name, see dsn.py
    (row,) = (await wire.ask("has_migrations", ())).rows
    applied = (await wire.ask("all_migrations", ())).rows if row["present"] else []
    known = [(m.number, m.name, m.checksum) for m in migrations]
    found = [(row["number"], row["name"], row["checksum"]) for row in applied]
    if len(found) > len(known):
        if found[: len(known)] == known and all(row["readable_from"] <= len(known) for row in applied[len(known) :]):
            return None  # a newer node was here, and left it so that this version can go on
        raise StoreIncompatible(
            f"The store has schema version {len(found)}; this version of Posthouse knows {len(known)}.",
            hint="Install the version of Posthouse that last ran on it, or a newer one.",
        )
    if found != known[: len(found)]:
        raise StoreIncompatible("The store was made by other migrations than this version of Posthouse knows.")
    return migrations[len(found)] if len(found) < len(known) else None


def recorded(migration: Migration, now: int) -> tuple[object, ...]:
    """The row that says that a step was applied."""
    return (migration.number, migration.name, migration.checksum, now, readable_from(migration))
