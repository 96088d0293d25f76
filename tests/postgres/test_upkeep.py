"""``posthouse backup``, ``restore`` and ``migrate`` with a database at either end, on a server that forgets nothing."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.exits import Exit
from posthouse.cli.main import main
from posthouse.store.open import open_store
from posthouse.testing.conformance import Stores
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import administer

Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def durable(cluster: Cluster) -> Iterator[Cluster]:
    """A server of its own; the fixture of the session says whether there can be one."""
    found = Cluster.start(durable=True)
    yield found
    found.stop()


@pytest.fixture
def dsn(durable: Cluster) -> Iterator[Callable[[str], str]]:
    """The address of a new, empty database of that name."""
    made = []

    def make(name: str) -> str:
        asyncio.run(administer(durable, f"CREATE DATABASE {name}"))
        made.append(name)
        return durable.dsn(name)

    yield make
    for name in made:
        asyncio.run(administer(durable, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> tuple[int, Any]:
        code = main([*map(str, words), "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out or said.err)

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An embedded store with twenty open deliveries."""

    async def make() -> None:
        stores = Stores(lambda: open_store(tmp_path / "data", clock=ManualClock(), commit_interval_ms=0))
        scene = await stores.open()
        for _ in range(20):
            await scene.owe(3)
        await stores.close()

    asyncio.run(make())
    return tmp_path / "data"


def test_a_store_goes_to_a_database_into_an_archive_to_another_database_and_back(
    run: Run, dsn: Callable[[str], str], data: Path, tmp_path: Path
) -> None:
    first, second = dsn("first"), dsn("second")
    ways = ("--from", data, "--to", first)
    assert run("migrate", *ways) == (Exit.OK, {"part": "ahead"})
    code, moved = run("migrate", *ways, "--final")
    assert (code, moved["books"]["waiting"]) == (Exit.OK, 20)

    code, archived = run("backup", tmp_path / "archive", "--database", first)
    assert (code, archived["engine"], archived["books"]) == (Exit.OK, "postgresql", moved["books"])
    code, restored = run("restore", tmp_path / "archive", "--database", second)
    assert (code, restored["books"]) == (Exit.OK, moved["books"])
    code, refused = run("restore", tmp_path / "archive", "--database", second)
    assert (code, refused["code"]) == (Exit.REFUSED, "place_occupied")
    code, refused = run("restore", tmp_path / "archive", "--data", tmp_path / "other")
    assert (code, refused["code"]) == (Exit.REFUSED, "archive_invalid")

    code, back = run("migrate", "--from", second, "--to", tmp_path / "back", "--final")
    assert (code, back["books"]) == (Exit.OK, moved["books"])


def test_a_move_to_a_database_is_undone(run: Run, dsn: Callable[[str], str], data: Path) -> None:
    ways = ("--from", data, "--to", dsn("third"))
    run("migrate", *ways, "--final")
    assert run("migrate", *ways, "--undo") == (Exit.OK, {"part": "undo"})
    code, refused = run("migrate", "--from", ways[3], "--to", data)
    assert (code, refused["code"]) == (Exit.REFUSED, "place_occupied")


def test_a_server_that_forgets_is_refused(run: Run, cluster: Cluster, data: Path, tmp_path: Path) -> None:
    """Before anything is written to it."""
    code, refused = run("migrate", "--from", data, "--to", cluster.dsn("postgres"))
    assert refused["code"] == "unsafe_library"
    assert code == Exit.BUSY
