"""``posthouse backup``, ``restore`` and ``migrate``, on stores in directories."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from posthouse.cli import places
from posthouse.cli.exits import Exit
from posthouse.store import upkeep
from posthouse.store.open import open_store
from posthouse.store.shared.archives import read_manifest
from posthouse.store.shared.telling import tell_nobody
from posthouse.store.sqlite.backup import back_up_sqlite
from posthouse.store.upkeep import back_up
from posthouse.system import SystemClock
from posthouse.testing.conformance import Stores
from posthouse.testing.manual_clock import ManualClock

Run = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A store with one open delivery."""

    async def make() -> None:
        stores = Stores(lambda: open_store(tmp_path / "data", clock=ManualClock(), commit_interval_ms=0))
        await (await stores.open()).owe(3)
        await stores.close()

    asyncio.run(make())
    return tmp_path / "data"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_backup_says_what_it_holds(run: Run, data: Path, tmp_path: Path) -> None:
    ended = run("backup", tmp_path / "archive", "--data", data, "--json")
    assert ended.code == Exit.OK
    assert ended.err == ""
    assert ended.document["engine"] == "sqlite"
    assert ended.document["books"] == {**dict.fromkeys(places._SHOWN, 0), "owed": 1, "waiting": 1}
    assert ended.document["bytes"] == (tmp_path / "archive" / "posthouse.db").stat().st_size
    assert read_manifest(tmp_path / "archive").rows["obligations"] == 1


def test_a_restored_store_is_used_and_not_overwritten(run: Run, data: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "archive", "--data", data)
    ended = run("restore", tmp_path / "archive", "--data", tmp_path / "other")
    assert ended.code == Exit.OK
    assert "The store is whole; a node may be started on it." in ended.out
    again = run("restore", tmp_path / "archive", "--data", tmp_path / "other", "--json")
    assert again.code == Exit.REFUSED
    assert again.problem["code"] == "place_occupied"
    assert again.problem["hint"]


def test_what_cannot_be_restored_is_named(run: Run, data: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "archive", "--data", data)
    elsewhere = run("restore", tmp_path / "archive", "--database", "postgresql://localhost/none", "--json")
    assert (elsewhere.code, elsewhere.problem["code"]) == (Exit.REFUSED, "archive_invalid")
    assert "of its own engine" in elsewhere.problem["hint"]
    assert run("restore", tmp_path / "data", "--json").problem["code"] == "archive_invalid"
    assert run("backup", tmp_path / "third", "--data", tmp_path / "nowhere").code == Exit.NOT_FOUND


def test_an_archive_from_the_future_is_refused(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its store has made keys that a node with this clock would make again."""
    run("backup", tmp_path / "archive", "--data", data)
    monkeypatch.setattr(SystemClock, "now_ms", lambda _: read_manifest(tmp_path / "archive").made_at - 1)
    ended = run("restore", tmp_path / "archive", "--data", tmp_path / "other", "--json")
    assert ended.problem["code"] == "archive_invalid"
    assert "clock" in ended.problem["title"]
    assert not (tmp_path / "other").exists()


def test_books_that_do_not_balance_end_with_one(run: Run, data: Path, tmp_path: Path) -> None:
    """The archive is what the store is, and says so."""
    connection = apsw.Connection(str(data / "posthouse.db"))
    connection.execute("DELETE FROM obligations")
    connection.close()
    ended = run("backup", tmp_path / "archive", "--data", data)
    assert ended.code == Exit.FAILED
    assert "The books do not balance: 1 off" in ended.out
    assert (
        run("restore", tmp_path / "archive", "--data", tmp_path / "other", "--json").document["books"]["imbalance"] == 1
    )


def test_a_store_moves_and_comes_back(run: Run, data: Path, tmp_path: Path) -> None:
    ways = ("--from", data, "--to", tmp_path / "other")
    assert "--final" in run("migrate", *ways).out
    moved = run("migrate", *ways, "--final", "--json")
    assert moved.document["books"]["waiting"] == 1
    assert run("migrate", *ways, "--json").problem["code"] == "place_occupied"
    assert run("migrate", *ways, "--undo", "--json").document == {"part": "undo"}
    assert run("migrate", *ways, "--undo").code == Exit.REFUSED  # it is there already
    assert run("migrate", "--from", tmp_path / "other", "--to", tmp_path / "third", "--json").problem["code"] == (
        "store_moved"
    )


def test_a_move_needs_two_places(run: Run, data: Path, tmp_path: Path) -> None:
    assert run("migrate", "--from", data, "--to", data).code == Exit.FAILED
    assert run("migrate", "--from", data, "--to", tmp_path / "o", "--final", "--undo").code == Exit.USAGE
    assert run("migrate", "--from", tmp_path / "nowhere", "--to", tmp_path / "o").code == Exit.NOT_FOUND
    assert run("migrate", "--from", data, "--to", tmp_path / "o", "--undo").code == Exit.NOT_FOUND
    assert not (tmp_path / "o").exists()


async def test_a_backup_that_nobody_waits_for_any_more_ends_and_leaves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*places: Any, tell: Any, **options: Any) -> Any:
        def told(*what: Any) -> None:
            begun.set()
            go_on.wait()
            tell(*what)

        return back_up_sqlite(*places, tell=told, **options)

    monkeypatch.setattr(upkeep, "back_up_sqlite", slowly)
    task = asyncio.ensure_future(back_up(data, tmp_path / "archive", clock=ManualClock(), tell=tell_nobody))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.wait([task])
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert task.cancelled()
    assert names(tmp_path) == ["data"]


def test_manifests_are_plain_json(run: Run, data: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "archive", "--data", data)
    sealed = json.loads((tmp_path / "archive" / "manifest.json").read_text())
    assert sealed["manifest"]["files"][0]["name"] == "posthouse.db"
