"""From a place to a store: which engine keeps it is decided here and nowhere else."""

from pathlib import Path

from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.limits import COMMIT_INTERVAL_MS
from posthouse.core.ports import Clock
from posthouse.store.protocol import Store
from posthouse.store.sqlite.offload import Offload
from posthouse.store.sqlite.store import open_sqlite
from posthouse.telemetry import Metrics


async def open_store(
    directory: Path | str,
    *,
    clock: Clock,
    commit_interval_ms: int = COMMIT_INTERVAL_MS,
    offload: Offload | None = None,
    vfs: str | None = None,
    metrics: Metrics | None = None,
    reach: Reach = pass_by,
) -> Store:
    """Open the embedded store in ``directory``, which is made (mode 0700) if it is not there.

    The caller owns the store and must close it. One process at a time can hold a directory; a lock
    of a process that died is gone with it.

    Args:
        directory: A local directory; network file systems cannot carry the write-ahead log.
        clock: Says when a migration took place. All other times come with the calls.
        commit_interval_ms: Under load transactions start at least so far apart.
        offload: How blocking calls leave the event loop. Default: threads of the store's own.
        vfs: The name of a registered SQLite VFS; a simulation puts a faulty disk there.
        metrics: Counts the commits.
        reach: Hears which boundary a transaction has come to.

    Raises:
        UnsafeLibrary: The SQLite library can lose data.
        StoreInUse: Another node runs on the directory.
        StoreIncompatible: The file there is no store, or one of a newer version.
        StoreUnavailable: The disk refuses.
    """
    return open_sqlite(
        Path(directory),
        clock=clock,
        commit_interval_ms=commit_interval_ms,
        offload=offload,
        vfs=vfs,
        metrics=metrics,
        reach=reach,
    )
