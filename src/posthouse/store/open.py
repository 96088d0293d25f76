"""From a place to a store: which engine keeps it is decided here and nowhere else."""

from pathlib import Path

from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.limits import COMMIT_INTERVAL_MS
from posthouse.core.ports import Clock
from posthouse.store.postgres.dsn import is_dsn, parse_dsn
from posthouse.store.protocol import OutboxSource, Store
from posthouse.store.sqlite.offload import Offload
from posthouse.store.sqlite.store import open_sqlite
from posthouse.telemetry import Metrics


async def open_store(
    directory: Path | str,
    *,
    clock: Clock,
    commit_interval_ms: int = COMMIT_INTERVAL_MS,
    shared: bool = False,
    offload: Offload | None = None,
    vfs: str | None = None,
    metrics: Metrics | None = None,
    reach: Reach = pass_by,
) -> Store:
    """Open the store in ``directory``, which is made (mode 0700) if it is not there, or in a PostgreSQL database.

    The caller owns the store and must close it. One process at a time can hold a directory, unless all that do say
    that they share it; a lock of a process that died is gone with it.

    Args:
        directory: A local directory; network file systems cannot carry the write-ahead log. Or the address of a
            database: ``postgresql://user:password@host:port,host:port/database``.
        clock: Says when a migration took place. All other times come with the calls.
        commit_interval_ms: Under load transactions start at least so far apart.
        shared: Other processes of this machine that say so too may have the directory open at the same time. A
            database is always shared.
        offload: How blocking calls of the embedded store leave the event loop. Default: threads of the store's own.
        vfs: For the embedded store, the name of a registered SQLite VFS; a simulation puts a faulty disk there.
        metrics: Counts the commits.
        reach: Hears which boundary a transaction has come to.

    Raises:
        UnsafeLibrary: The SQLite library can lose data, or the server may.
        StoreInUse: Another node runs on the directory, and one of the two does not share it.
        StoreIncompatible: The file there is no store, or one of a newer version.
        StoreMoved: Its contents belong to another store now, or are not all there yet.
        StoreUnavailable: The disk refuses, or the database cannot be reached.
        ConfigurationError: The address of the database is not one.
    """
    if is_dsn(directory):
        # The driver costs those who need it 70 ms and 4 MB, and nobody else.
        from posthouse.store.postgres.store import open_postgres  # noqa: PLC0415

        return await open_postgres(
            str(directory), clock=clock, commit_interval_ms=commit_interval_ms, metrics=metrics, reach=reach
        )
    return open_sqlite(
        Path(directory),
        clock=clock,
        commit_interval_ms=commit_interval_ms,
        shared=shared,
        offload=offload,
        vfs=vfs,
        metrics=metrics,
        reach=reach,
    )


def open_outbox(dsn: str, store: Store) -> OutboxSource:
    """The outbox in another database than the store's. Nothing is connected yet. The caller must close it.

    Raises:
        ConfigurationError: The address of the database is not one.
    """
    from posthouse.store.postgres.other_outbox import OtherOutbox  # noqa: PLC0415 - as above

    return OtherOutbox(parse_dsn(dsn), store.outbox)
