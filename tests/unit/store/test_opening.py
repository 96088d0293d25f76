"""Opening a directory: who may look inside, who else may use it, what is refused."""

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest

from posthouse.core.errors import StoreIncompatible, StoreInUse, StoreUnavailable, UnsafeLibrary
from posthouse.store.open import open_store
from posthouse.store.protocol import Store
from posthouse.store.sqlite import store as engine
from posthouse.store.sqlite.lock import OpeningLock
from posthouse.testing.manual_clock import ManualClock

T = TypeVar("T")


async def opened(directory: Path, **options: Any) -> Store:
    return await open_store(directory, clock=ManualClock(), **options)


def inode(path: Path) -> int:
    return path.stat().st_ino


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_the_owner_may_look_inside(tmp_path: Path) -> None:
    """Whatever the umask: secrets are in there."""
    before = os.umask(0)
    try:
        directory = tmp_path / "a" / "b"
        store = await opened(directory)
        await store.admin.probe(now=1)
        assert mode(directory) == 0o700
        modes = {file.name: mode(file) for file in directory.iterdir()}
        assert set(modes) == {"posthouse.db", "posthouse.db-wal", "posthouse.db-shm", "node.lock"}
        assert set(modes.values()) == {0o600}
        await store.close()
    finally:
        os.umask(before)


async def test_the_names_of_what_is_new_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose name is lost in a power cut is lost with all that was synced into it."""
    synced: list[int] = []
    sync = os.fsync

    def note(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        sync(fd)

    monkeypatch.setattr(os, "fsync", note)
    await (await opened(tmp_path / "new")).close()
    assert synced == [inode(tmp_path), inode(tmp_path / "new")]


async def test_the_settings_are_those_that_keep_the_promise(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    assert isinstance(store, engine.SqliteStore)
    connection = store._writer._connection
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("page_size") == 4096
    assert connection.pragma("foreign_keys") == 0
    assert connection.pragma("mmap_size") == 0
    await store.close()


async def test_a_clean_close_leaves_one_file_and_the_lock(tmp_path: Path) -> None:
    """The log is copied into the database, which may then be copied as it is."""
    store = await opened(tmp_path)
    await store.admin.probe(now=1)
    await store.close()
    files = await asyncio.to_thread(lambda: {file.name for file in tmp_path.iterdir()})
    assert files == {"posthouse.db", "node.lock"}


async def test_a_second_store_on_a_directory_is_refused(tmp_path: Path) -> None:
    first = await opened(tmp_path)
    with pytest.raises(StoreInUse, match=str(os.getpid())):
        await opened(tmp_path)
    await first.admin.probe(now=1)
    await first.close()
    await (await opened(tmp_path)).close()


async def test_those_that_share_a_directory_have_it_together(tmp_path: Path) -> None:
    """And nobody else has it, before the last of them has ended."""
    first = await opened(tmp_path, shared=True)
    second = await opened(tmp_path, shared=True)
    assert not first.alone
    assert not second.alone
    await first.admin.probe(now=1)
    await first.close()
    with pytest.raises(StoreInUse):
        await opened(tmp_path)
    third = await opened(tmp_path, shared=True)
    for store in (second, third):
        await store.admin.probe(now=2)
        await store.close()
    alone = await opened(tmp_path)
    assert alone.alone
    with pytest.raises(StoreInUse, match=f"process {os.getpid()}"):
        await opened(tmp_path, shared=True)
    await alone.close()


async def test_a_directory_that_is_being_opened_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OPENING_S", 0.02)
    opening = OpeningLock(tmp_path / engine.OPENING, patience_s=0)
    with pytest.raises(StoreInUse, match="opening"):
        await opened(tmp_path, shared=True)
    opening.release()
    await (await opened(tmp_path, shared=True)).close()


async def test_two_directories_are_two_stores(tmp_path: Path) -> None:
    first, second = await opened(tmp_path / "a"), await opened(tmp_path / "b")
    await asyncio.gather(first.admin.probe(now=1), second.admin.probe(now=1))
    await first.close()
    await second.admin.probe(now=2)
    await second.close()


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 90, b"\0" * 600])
async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "posthouse.db"
    file.write_bytes(content)
    with pytest.raises(StoreIncompatible):
        await opened(tmp_path)
    assert file.read_bytes() == content


async def test_a_database_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "posthouse.db"
    other = apsw.Connection(str(file))
    other.execute("CREATE TABLE theirs (n INTEGER)")
    other.close()
    before = file.read_bytes()
    with pytest.raises(StoreIncompatible):
        await opened(tmp_path)
    assert file.read_bytes() == before
    assert not (tmp_path / "posthouse.db-wal").exists()


async def test_a_refused_directory_is_let_go(tmp_path: Path) -> None:
    """Whoever repairs it can open it without a restart."""
    file = tmp_path / "posthouse.db"
    file.write_bytes(b"nonsense" * 1_000)
    with pytest.raises(StoreIncompatible):
        await opened(tmp_path)
    file.unlink()
    await (await opened(tmp_path)).close()


async def test_a_place_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        await opened(tmp_path / "file" / "store")


async def test_an_unsafe_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(UnsafeLibrary):
        await opened(tmp_path / "store")
    assert not (tmp_path / "store").exists()


async def test_a_store_in_a_simulation_needs_no_thread(tmp_path: Path) -> None:
    """Everything that blocks goes through the offload that was passed in."""
    calls = 0

    async def inline(call: Callable[[], T]) -> T:
        nonlocal calls
        calls += 1
        return call()

    store = await opened(tmp_path, offload=inline)
    await store.admin.probe(now=1)
    await store.admin.key_floor()
    await store.close()
    assert calls >= 3
    assert isinstance(store, engine.SqliteStore)
    assert not store._threads


async def test_a_failing_disk_breaks_the_store(tmp_path: Path, disk: Any) -> None:
    store = await opened(tmp_path, vfs=disk.name)
    await store.admin.probe(now=1)
    disk.faults["sync-wal"] = apsw.IOError
    with pytest.raises(StoreUnavailable):
        await store.admin.probe(now=2)
    assert "must restart" in await asyncio.wait_for(store.failed, 10)
    disk.faults.clear()
    with pytest.raises(StoreUnavailable):
        await store.admin.probe(now=3)
    assert await store.admin.key_floor() == 0, "reading goes on"
    await store.close()
    again = await opened(tmp_path)
    await again.admin.probe(now=4)
    await again.close()
