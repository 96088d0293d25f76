"""SQLite on the simulated disk: what it finds after a crash, and what it is told when the disk fails."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from posthouse.testing.disk import Call, Disk, DiskError, FileKind, memory_folder

SEEDS = range(60)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path, random.Random(1)) as disk:
        yield disk


def opened(disk: Disk, synchronous: str = "FULL") -> apsw.Connection:
    """The database of the present generation, with a log that is never copied by itself."""
    connection = apsw.Connection(str(disk.directory / "a.db"), vfs=disk.vfs)
    connection.pragma("journal_mode", "WAL")
    connection.pragma("synchronous", synchronous)
    connection.wal_autocheckpoint(0)
    connection.execute("CREATE TABLE IF NOT EXISTS notes (n INTEGER PRIMARY KEY, text TEXT)")
    return connection


def note(connection: apsw.Connection, *numbers: int) -> None:
    for n in numbers:
        connection.execute("INSERT INTO notes VALUES (?, ?)", (n, "x" * 3_000))


def notes(disk: Disk) -> list[int]:
    with closing(opened(disk)) as connection:
        assert connection.pragma("integrity_check") == "ok"
        return [n for (n,) in connection.execute("SELECT n FROM notes ORDER BY n")]


def after_cuts(tmp_path: Path, use: Callable[[Disk], None]) -> list[list[int]]:
    """What is there after the same use of disks with many seeds, and a power cut."""
    found = []
    for seed in SEEDS:
        with Disk(tmp_path / str(seed), random.Random(seed)) as disk:
            use(disk)
            disk.crash(power=True)
            found.append(notes(disk))
    return found


# -- crashes ----------------------------------------------------------------------------------------


def test_a_power_cut_leaves_what_was_synced(tmp_path: Path) -> None:
    def use(disk: Disk) -> None:
        with closing(opened(disk)) as connection:
            note(connection, 1, 2, 3)
            connection.wal_checkpoint()
            note(connection, 4)
            disk.crash(power=True)

    assert after_cuts(tmp_path, use) == [[1, 2, 3, 4]] * len(SEEDS)


def test_a_power_cut_takes_what_was_not_synced(tmp_path: Path) -> None:
    """In an order of its own, but the log's checksums let only whole transactions from its start count."""

    def use(disk: Disk) -> None:
        with closing(opened(disk)) as connection:
            note(connection, 1)
            connection.pragma("synchronous", "NORMAL")
            note(connection, 2, 3)
            disk.crash(power=True)

    found = after_cuts(tmp_path, use)
    assert {tuple(numbers) for numbers in found} == {(1,), (1, 2), (1, 2, 3)}


def test_the_death_of_a_process_takes_nothing_but_a_later_cut_may(tmp_path: Path) -> None:
    found = set()
    for seed in SEEDS:
        with Disk(tmp_path / str(seed), random.Random(seed)) as disk:
            with closing(opened(disk)) as connection:
                note(connection, 1)
                connection.pragma("synchronous", "NORMAL")
                note(connection, 2)
                disk.crash(power=False)
            with closing(opened(disk, "NORMAL")) as connection:
                assert [n for (n,) in connection.execute("SELECT n FROM notes")] == [1, 2]
                disk.crash(power=True)
            found.add(tuple(notes(disk)))
            assert (disk.statistics.crashes, disk.statistics.cuts) == (1, 1)
    assert found == {(1,), (1, 2)}


def test_a_file_whose_name_was_not_synced_may_be_gone_and_one_that_was_deleted_may_be_back(tmp_path: Path) -> None:
    gone = back = 0
    for seed in SEEDS:
        with Disk(tmp_path / str(seed), random.Random(seed)) as disk:
            fell = False

            def fall(call: Call, file: FileKind, disk: Disk = disk) -> None:
                nonlocal fell
                if not fell and (call, file) == (Call.WRITE, FileKind.WAL):
                    fell = True
                    disk.crash(power=True)

            disk.faults.on_call = fall
            with closing(opened(disk)):
                disk.faults.on_call = None
            gone += not (disk.directory / "a.db-wal").exists()
        with Disk(tmp_path / f"{seed}-closed", random.Random(seed)) as disk:
            with closing(opened(disk)) as connection:
                note(connection, 1)
            assert not (disk.directory / "a.db-wal").exists(), "a clean end copies the log and deletes it"
            disk.crash(power=True)
            back += (disk.directory / "a.db-wal").exists()
            assert notes(disk) == [1]
    assert 0 < gone < len(SEEDS)
    assert 0 < back < len(SEEDS)


def test_a_crash_leaves_files_of_others_and_takes_the_index_of_the_log(disk: Disk) -> None:
    (disk.directory / "api_key").write_text("secret")
    with closing(opened(disk)) as connection:
        before = disk.directory
        note(connection, 1)
        after = disk.crash(power=True)
    assert after == disk.directory != before
    assert sorted(path.name for path in after.iterdir()) == ["a.db", "a.db-wal", "api_key"]


def test_whoever_uses_the_old_generation_harms_nobody(disk: Disk) -> None:
    with closing(opened(disk)) as connection:
        note(connection, 1)
        disk.crash(power=True)
        disk.faults.fail(Call.WRITE, times=None)
        calls = disk.statistics.calls.total()
        note(connection, 2)
        connection.wal_checkpoint()
    assert disk.statistics.calls.total() == calls
    disk.faults.heal()
    disk.forget_old()
    assert [path.name for path in disk.directory.parent.iterdir()] == [disk.directory.name]
    assert notes(disk) == [1]


def test_a_disk_that_lies_loses_what_it_said_was_synced(tmp_path: Path) -> None:
    def use(disk: Disk) -> None:
        with closing(opened(disk)) as connection:
            note(connection, 1)
            disk.faults.lying_sync = True
            note(connection, 2)
            assert disk.statistics.lies > 0
            disk.crash(power=True)
            disk.faults.heal()

    assert {tuple(numbers) for numbers in after_cuts(tmp_path, use)} == {(1,), (1, 2)}


def test_the_same_chance_and_the_same_calls_make_the_same_disk(tmp_path: Path) -> None:
    """All but the salts that SQLite draws for its log."""

    def run(name: str, seed: int) -> tuple[list[Any], list[int], list[int]]:
        trace: list[Any] = []
        with Disk(tmp_path / name, random.Random(seed), trace=lambda *call: trace.append(call)) as disk:
            with closing(opened(disk, "NORMAL")) as connection:
                note(connection, *range(20))
                disk.crash(power=True)
            sizes = [path.stat().st_size for path in sorted(disk.directory.iterdir())]
            return trace, sizes, notes(disk)

    assert [run(f"first-{seed}", seed) for seed in range(9)] == [run(f"second-{seed}", seed) for seed in range(9)]
    assert len({tuple(run(f"third-{seed}", seed)[2]) for seed in range(9)}) > 3


# -- faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "raised"),
    [
        (Call.WRITE, DiskError.IO, apsw.IOError),
        (Call.WRITE, DiskError.FULL, apsw.FullError),
        (Call.WRITE, DiskError.SHORT, apsw.FullError),
        (Call.SYNC, DiskError.IO, apsw.IOError),
        (Call.SYNC, DiskError.FULL, apsw.IOError),
    ],
)
def test_a_fault_strikes_the_call_that_it_was_planned_for(
    disk: Disk, call: Call, error: DiskError, raised: type[apsw.Error]
) -> None:
    with closing(opened(disk)) as connection:
        note(connection, 1)
        fault = disk.faults.fail(call, 2, error=error, file=FileKind.WAL)
        if call is Call.SYNC:
            note(connection, 2)
        with pytest.raises(raised, match="injected"):
            note(connection, 3)
        assert (fault.seen, fault.met, disk.statistics.refused) == (2, 1, 1)
        note(connection, 4)
        assert fault.met == 1, "once"


def test_a_fault_may_last(disk: Disk) -> None:
    with closing(opened(disk)) as connection:
        fault = disk.faults.fail(Call.SYNC, times=None)
        for n in range(3):
            with pytest.raises(apsw.IOError):
                note(connection, n)
        assert fault.met == 3
        disk.faults.heal()
        note(connection, 4)


def test_a_file_that_cannot_be_opened_or_read_or_cut(disk: Disk) -> None:
    disk.faults.fail(Call.OPEN)
    with pytest.raises(apsw.CantOpenError):
        opened(disk)
    with closing(opened(disk)) as connection:
        note(connection, 1)
        disk.faults.fail(Call.READ)
        with pytest.raises(apsw.IOError), closing(opened(disk)):
            pass
        disk.faults.fail(Call.TRUNCATE)
        with pytest.raises(apsw.IOError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert disk.statistics.refused == 3


def test_a_full_disk_takes_what_fits_and_takes_more_when_there_is_room(disk: Disk) -> None:
    def used() -> int:
        return sum((disk.directory / name).stat().st_size for name in ("a.db", "a.db-wal"))

    with closing(opened(disk)) as connection:
        note(connection, 1)
        size = used()
        disk.faults.bytes_max = size + 2_000
        with pytest.raises(apsw.FullError):
            note(connection, 2)
        assert used() == size + 2_000
        disk.faults.bytes_max = size + 100_000
        note(connection, 3)
    disk.faults.heal()
    assert notes(disk) == [1, 3]


def test_whoever_looks_is_told_each_call_twice_unless_it_fails(disk: Disk) -> None:
    told: list[tuple[Call, FileKind]] = []
    with closing(opened(disk)) as connection:
        disk.faults.on_call = lambda call, file: told.append((call, file))
        note(connection, 1)
        assert told[-2:] == [(Call.SYNC, FileKind.WAL)] * 2
        assert told.count((Call.WRITE, FileKind.WAL)) % 2 == 0
        disk.faults.fail(Call.SYNC)
        told.clear()
        with pytest.raises(apsw.IOError):
            note(connection, 2)
        assert told.count((Call.SYNC, FileKind.WAL)) == 1


def test_a_slow_sync_takes_its_time(disk: Disk) -> None:
    with closing(opened(disk)) as connection:
        disk.faults.sync_seconds = 0.02
        started = time.monotonic()
        note(connection, 1, 2)
        assert time.monotonic() - started >= 0.04
        disk.faults.heal()


def test_the_statistics_say_what_was_done(disk: Disk) -> None:
    with closing(opened(disk, "OFF")) as connection:
        note(connection, *range(10))
        written = disk.statistics.count(Call.WRITE)
        assert written >= 20
        assert disk.statistics.bytes_written > 30_000
        disk.crash(power=True)
    assert disk.statistics.cuts == 1
    assert 0 < disk.statistics.lost + disk.statistics.torn <= written


def test_several_disks_at_once_do_not_know_each_other(tmp_path: Path) -> None:
    with Disk(tmp_path / "a", random.Random(1)) as first, Disk(tmp_path / "b", random.Random(1)) as second:
        assert first.vfs != second.vfs
        first.faults.fail(Call.OPEN, times=None)
        with pytest.raises(apsw.CantOpenError):
            opened(first)
        with closing(opened(second)) as connection:
            note(connection, 1)
    assert not {first.vfs, second.vfs} & set(apsw.vfs_names())


def test_a_folder_in_memory_is_gone_afterwards() -> None:
    with memory_folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()
