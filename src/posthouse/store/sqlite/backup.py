"""A copy of the embedded store beside a node that writes to it.

Pages are copied in small steps out of one read transaction, so the copy is the store at one instant, however long it
takes. Without that transaction SQLite begins anew whenever somebody else commits, and under load never ends.
Meanwhile the log cannot be cut back: it grows by what is written.
"""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from posthouse import __version__
from posthouse.core.errors import NotFound, StoreIncompatible, StoreUnavailable
from posthouse.core.model import Environment
from posthouse.store.shared.archives import Draft, Manifest, sum_of
from posthouse.store.shared.tables import SQLITE
from posthouse.store.shared.tally import Tally, tally_of
from posthouse.store.shared.telling import Tell, tell_nobody
from posthouse.store.sqlite.audit import audit
from posthouse.store.sqlite.connection import PAGE_BYTES, check_library, connect_reader
from posthouse.store.sqlite.migrating import check_ours, known_migrations
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.source_audit import audit as audit_sources
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.store import DATABASE

STEP_PAGES: Final = 256  #: 1 MiB
PAUSE_S: Final = 0.002  #: between two steps, so that the node's commits have the disk

_ALL_COLUMNS: Final = SQL["all_columns"]
_KEY_FLOOR: Final = SQL["key_floor"]


def back_up_sqlite(
    directory: Path,
    target: Path,
    *,
    now: int,
    tell: Tell = tell_nobody,
    pause: Callable[[float], None] = time.sleep,
) -> Manifest:
    """Write an archive of the store in ``directory`` to ``target``, a folder that is made; what it holds.

    A node may run meanwhile. Blocks. Everything that was acknowledged before the call is in the archive.

    Raises:
        UnsafeLibrary: This SQLite can lose data.
        NotFound: There is no store.
        PlaceOccupied: There is something at ``target``.
        StoreInUse: Another process is writing to ``target``.
        StoreIncompatible: The store is a newer one, or none, or the copy is damaged as the store then is.
        StoreUnavailable: The disk refuses; nothing is left behind.
    """
    check_library(apsw.sqlite_lib_version())
    source = directory / DATABASE
    if not source.is_file():
        raise NotFound(f"There is no store in {directory}.", hint="Name its data directory with --data.")
    with Draft(target) as draft:
        copy = draft.folder / DATABASE
        try:
            _copy(source, copy, tell, pause)
            with closing(apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
                manifest = _describe(connection, copy, now, tell)
        except apsw.Error as error:
            raise StoreUnavailable(
                f"{source} cannot be copied: {error}", hint="Make room, or look at the disk."
            ) from error
        draft.finish(manifest)
    return manifest


def _copy(source: Path, copy: Path, tell: Tell, pause: Callable[[float], None]) -> None:
    with closing(connect_reader(source, patient=True)) as reader, closing(apsw.Connection(str(copy))) as writer:
        writer.pragma("page_size", PAGE_BYTES)
        writer.pragma("synchronous", "OFF")  # it is synced as a whole, before it gets its name
        reader.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # what is in the log stays there
        reader.execute("BEGIN")
        check_ours(reader, known_migrations())  # the first look begins the transaction that all pages come from
        with writer.backup("main", reader, "main") as backup:
            while not backup.done:
                backup.step(STEP_PAGES)
                tell("copy", (backup.page_count - backup.remaining) * PAGE_BYTES, backup.page_count * PAGE_BYTES)
                pause(PAUSE_S)
        reader.execute("ROLLBACK")
        writer.pragma("synchronous", "FULL")
        writer.pragma("journal_mode", "DELETE")  # one file that needs no other beside it


def _describe(connection: apsw.Connection, copy: Path, now: int, tell: Tell) -> Manifest:
    check_whole(connection, tell)
    return Manifest(
        engine=SQLITE,
        schema_version=connection.pragma("user_version"),
        made_at=now,
        made_by=__version__,
        key_floor=value_of(connection, _KEY_FLOOR),
        rows=count_rows(connection),
        tally=tally(connection),
        files=(sum_of(copy, DATABASE),),
    )


def check_whole(connection: apsw.Connection, tell: Tell) -> None:
    """Look at every page and every index. Raises StoreIncompatible if one of them is damaged."""
    tell("check", 0, 0)
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    if found != ["ok"]:
        raise StoreIncompatible(
            f"The database is damaged: {found[0]}", hint="Keep it as it is, and restore an older archive elsewhere."
        )


def count_rows(connection: apsw.Connection) -> dict[str, int]:
    """How many rows each table has."""
    names = dict.fromkeys(str(table) for table, _ in rows_of(connection, _ALL_COLUMNS))
    return {name: value_of(connection, f'SELECT count(*) FROM "{name}"') for name in names}  # noqa: S608 - of the file


def tally(connection: apsw.Connection) -> Tally:
    """The books of all endpoints and sources, recounted."""
    return tally_of(
        [books for environment in Environment for books in audit(connection, environment, None)],
        [books for environment in Environment for books in audit_sources(connection, environment, None)],
    )
