"""The writer: how it gathers, whom a fault hits, and when it must stop for good."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest

from posthouse.core.errors import NotFound, PosthouseError, StoreUnavailable
from posthouse.store.sqlite import connection as settings
from posthouse.store.sqlite.offload import Threads
from posthouse.store.sqlite.writer import Operation, Steps, Writer

T = TypeVar("T")
MakeWriter = Callable[..., Awaitable[Writer]]


def note(n: int) -> Operation[int]:
    """Write one row; ``n`` comes back."""

    def run(connection: apsw.Connection) -> Steps[int]:
        connection.execute("INSERT INTO notes (n) VALUES (?)", (n,))
        yield 1
        return n

    return run


def notes(writer: Writer) -> list[int]:
    return [row[0] for row in writer._connection.execute("SELECT n FROM notes ORDER BY n")]


class Counting:
    """An offload that runs in place and knows what it ran."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def __call__(self, call: Callable[[], T], /) -> T:
        self.calls.append(getattr(call, "__name__", ""))
        return call()


# -- gathering --------------------------------------------------------------------------------------


async def test_what_comes_in_one_turn_shares_a_transaction(make_writer: MakeWriter) -> None:
    offload = Counting()
    writer = await make_writer(offload=offload)
    assert await asyncio.gather(*(writer.submit(note(n)) for n in range(20))) == list(range(20))
    assert offload.calls.count("_commit") == 1
    assert notes(writer) == list(range(20))


async def test_an_idle_writer_starts_at_once(make_writer: MakeWriter) -> None:
    """However long the interval: only transactions under load wait for one another."""
    writer = await make_writer(interval_s=3_600)
    assert await asyncio.wait_for(writer.submit(note(1)), 10) == 1


async def test_transactions_under_load_start_an_interval_apart(make_writer: MakeWriter) -> None:
    writer = await make_writer(interval_s=0.02)
    loop = asyncio.get_running_loop()
    start = loop.time()
    for n in range(4):
        await writer.submit(note(n))
    assert loop.time() - start >= 3 * 0.02, "the first one started after that, and the others so far apart"


async def test_closing_does_not_wait_for_the_interval(make_writer: MakeWriter) -> None:
    writer = await make_writer(interval_s=3_600)
    await writer.submit(note(1))
    second = writer.submit(note(2))
    await asyncio.wait_for(writer.close(), 10)
    assert await second == 2


async def test_other_work_has_its_turn_during_a_long_transaction(make_writer: MakeWriter) -> None:
    writer = await make_writer()
    turns: list[int] = []
    done = 0

    def long(connection: apsw.Connection) -> Steps[None]:
        nonlocal done
        for n in range(50):
            connection.execute("INSERT INTO notes (n) VALUES (?)", (n,))
            done += 1
            yield 500

    writing = writer.submit(long)
    while not writing.done():
        await asyncio.sleep(0)
        turns.append(done)
    between = {turn for turn in turns if 0 < turn < 50}
    assert len(between) >= 20


async def test_a_call_that_was_cancelled_before_its_transaction_is_not_written(make_writer: MakeWriter) -> None:
    writer = await make_writer()
    first, second = writer.submit(note(1)), writer.submit(note(2))
    first.cancel()
    assert await second == 2
    assert notes(writer) == [2]


# -- faults of one operation ------------------------------------------------------------------------


async def test_a_poisonous_operation_fails_alone(make_writer: MakeWriter) -> None:
    """Refused by the database, by a rule, or by a bug: the others are written all the same."""
    writer = await make_writer()
    await writer.submit(note(5))

    def refused(connection: apsw.Connection) -> Steps[None]:
        connection.execute("INSERT INTO notes (n) VALUES (100)")
        yield 1
        raise NotFound

    def broken(connection: apsw.Connection) -> Steps[None]:
        connection.execute("INSERT INTO notes (n) VALUES (101)")
        yield 1
        raise ZeroDivisionError

    results = await asyncio.gather(
        *(writer.submit(op) for op in (note(1), note(5), note(2), refused, broken, note(3))), return_exceptions=True
    )
    assert [r for r in results if not isinstance(r, BaseException)] == [1, 2, 3]
    assert [type(r) for r in results if isinstance(r, BaseException)] == [PosthouseError, NotFound, ZeroDivisionError]
    assert notes(writer) == [1, 2, 3, 5]
    assert await writer.submit(note(4)) == 4


async def test_a_full_disk_refuses_and_the_writer_goes_on(make_writer: MakeWriter) -> None:
    """Nothing of the transaction stays; when there is room again, writing goes on."""
    writer = await make_writer()
    connection = writer._connection
    connection.pragma("max_page_count", connection.pragma("page_count"))

    def much(connection: apsw.Connection) -> Steps[None]:
        connection.executemany("INSERT INTO notes (n) VALUES (?)", [(n,) for n in range(10_000)])
        yield 10_000

    results = await asyncio.gather(writer.submit(note(-1)), writer.submit(much), return_exceptions=True)
    assert [type(r) for r in results] == [StoreUnavailable, StoreUnavailable]
    assert not writer._failed.done()
    connection.pragma("max_page_count", 1 << 30)
    await writer.submit(much)
    assert notes(writer) == list(range(10_000))


# -- locks ------------------------------------------------------------------------------------------


async def test_a_lock_of_another_process_is_waited_for_off_the_loop(make_writer: MakeWriter, tmp_path: Path) -> None:
    threads = Threads("test", 1)
    left: list[str] = []
    waiting = asyncio.Event()

    async def watched(call: Callable[[], T], /) -> T:
        left.append(getattr(call, "__name__", ""))
        waiting.set()
        return await threads(call)

    writer = await make_writer(offload=watched)
    other = apsw.Connection(str(tmp_path / "notes.db"))
    other.execute("BEGIN IMMEDIATE")
    writing = writer.submit(note(1))
    await waiting.wait()
    assert not writing.done()
    other.execute("COMMIT")
    assert await writing == 1
    assert left == ["_begin_patiently", "_commit"]
    other.close()
    await writer.close()
    threads.close()


async def test_a_lock_that_stays_refuses_and_the_writer_goes_on(
    make_writer: MakeWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "_POLLS_MAX", 3)
    writer = await make_writer()
    other = apsw.Connection(str(tmp_path / "notes.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await writer.submit(note(1))
    other.execute("COMMIT")
    other.close()
    assert await writer.submit(note(2)) == 2
    assert notes(writer) == [2]


# -- the disk ---------------------------------------------------------------------------------------


async def refuses_for_ever(writer: Writer, *writing: Awaitable[object]) -> None:
    """All of these fail, ``failed`` says why, and nothing is written any more."""
    results = await asyncio.gather(*writing, return_exceptions=True)
    assert [type(r) for r in results] == [StoreUnavailable] * len(writing)
    assert "must restart" in await asyncio.wait_for(writer._failed, 10)
    with pytest.raises(StoreUnavailable):
        await writer.submit(note(99))


@pytest.mark.parametrize(
    ("call", "fault"), [("sync-wal", apsw.IOError), ("write-wal", apsw.IOError), ("write-wal", apsw.FullError)]
)
async def test_after_a_failed_commit_nothing_is_written_any_more(
    make_writer: MakeWriter, disk: Any, call: str, fault: type[apsw.Error]
) -> None:
    """The outcome is unknown, so it is never called success, also when the disk recovers."""
    writer = await make_writer(vfs=disk.name)
    await writer.submit(note(1))
    disk.faults[call] = fault
    first, second = writer.submit(note(2)), writer.submit(note(3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    third = writer.submit(note(4))
    await refuses_for_ever(writer, first, second, third)
    disk.faults.clear()
    with pytest.raises(StoreUnavailable):
        await writer.submit(note(5))


@pytest.mark.parametrize("fault", [apsw.IOError, apsw.CorruptError, apsw.ReadOnlyError])
async def test_after_a_fault_of_the_disk_in_a_statement_nothing_is_written_any_more(
    make_writer: MakeWriter, fault: type[apsw.Error]
) -> None:
    def unlucky(connection: apsw.Connection) -> Steps[None]:
        connection.execute("INSERT INTO notes (n) VALUES (2)")
        yield 1
        raise fault("injected")

    writer = await make_writer()
    await refuses_for_ever(writer, writer.submit(note(1)), writer.submit(unlucky))


async def test_nobody_is_answered_while_the_commit_runs(make_writer: MakeWriter) -> None:
    commit = asyncio.Event()

    async def slow(call: Callable[[], T], /) -> T:
        await commit.wait()
        return call()

    writer = await make_writer(offload=slow)
    waiting = [writer.submit(note(n)) for n in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    committing = writer._connection.in_transaction
    answered = [answer.done() for answer in waiting]
    commit.set()
    assert committing, "everything was written, and only the commit was missing"
    assert not any(answered)
    assert await asyncio.gather(*waiting) == [0, 1, 2]


async def test_every_answer_comes_after_a_sync(make_writer: MakeWriter, disk: Any) -> None:
    writer = await make_writer(vfs=disk.name)
    for n in range(3):
        disk.calls.clear()
        await writer.submit(note(n))
        assert disk.calls[-1] == "sync-wal"


async def test_a_failed_checkpoint_stops_the_writer_after_the_answers(
    make_writer: MakeWriter, disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is in the log; but this disk is not trusted with more."""
    writer = await make_writer(vfs=disk.name)
    writer._checkpoint_at = 1
    disk.faults["write-db"] = apsw.IOError
    assert await writer.submit(note(1)) == 1
    await refuses_for_ever(writer)


async def test_a_full_disk_only_delays_the_checkpoint(make_writer: MakeWriter, disk: Any) -> None:
    """The log holds everything that was acknowledged."""
    writer = await make_writer(vfs=disk.name)
    writer._checkpoint_at = 1
    disk.faults["write-db"] = apsw.FullError
    assert await writer.submit(note(1)) == 1
    assert await writer.submit(note(2)) == 2
    assert not writer._failed.done()
    disk.faults.clear()
    writer._checkpoint_at = 1
    assert await writer.submit(note(3)) == 3
    assert notes(writer) == [1, 2, 3]


async def test_a_broken_store_leaves_the_log_alone_when_it_closes(
    make_writer: MakeWriter, disk: Any, tmp_path: Path
) -> None:
    writer = await make_writer(vfs=disk.name)
    await writer.submit(note(1))
    disk.faults["sync-wal"] = apsw.IOError
    await refuses_for_ever(writer, writer.submit(note(2)))
    disk.faults.clear()
    disk.calls.clear()
    await writer.close()
    assert "write-db" not in disk.calls
    assert (tmp_path / "notes.db-wal").stat().st_size > 0


async def test_the_log_is_copied_when_it_is_long(make_writer: MakeWriter, tmp_path: Path) -> None:
    """It does not grow without end, and a reader in the way only delays it."""
    offload = Counting()
    writer = await make_writer(offload=offload)
    writer._checkpoint_at = 1
    await writer.submit(note(1))
    assert offload.calls[-1] == "wal_checkpoint"
    reader = apsw.Connection(str(tmp_path / "notes.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM notes").fetchall()
    for n in range(2, 5):
        writer._checkpoint_at = 1
        await writer.submit(note(n))
    assert writer._checkpoint_at > settings.WAL_PAGES_MAX
    reader.close()
    writer._checkpoint_at = 1
    await writer.submit(note(9))
    assert writer._checkpoint_at == settings.WAL_PAGES_MAX


async def test_whatever_goes_wrong_inside_leaves_nobody_waiting(make_writer: MakeWriter) -> None:
    """A fault of the writer itself is a failure of the store, not a hang."""

    async def broken(call: Callable[[], T], /) -> T:
        raise RuntimeError("no threads")

    writer = await make_writer(offload=broken)
    await refuses_for_ever(writer, writer.submit(note(1)))
    writer._offload = Counting()


async def test_the_end_of_the_loop_leaves_nobody_waiting(make_writer: MakeWriter) -> None:
    writer = await make_writer(interval_s=3_600)
    await writer.submit(note(1))
    waiting = writer.submit(note(2))
    await asyncio.sleep(0)
    assert writer._task is not None
    writer._task.cancel()
    with pytest.raises(StoreUnavailable):
        await waiting
