"""``posthouse doctor``: how measurements are judged, and what is said of them."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.cli import machine
from posthouse.cli.exits import Exit
from posthouse.cli.findings import (
    GIB,
    Finding,
    Verdict,
    judge_books,
    judge_clock_offset,
    judge_clock_steps,
    judge_disk,
    judge_filesystem,
    judge_fsync,
    judge_key_mode,
    judge_open_files,
)
from posthouse.cli.node_checks import read_metrics
from posthouse.store.postgres import server

Run = Callable[..., Any]

BOOKS = {"owed": 5, "delivered": 3, "waiting": 2, "retrying": 0, "exhausted": 0, "imbalance": 0}
METRICS = """# HELP posthouse_build_info The version that runs; always 1.
posthouse_build_info{version="0.1.0"} 1.0
posthouse_events_accepted_total 12.0
posthouse_store_bytes 1.048576e+06
posthouse_store_wal_bytes 4096.0
posthouse_requests_refused_total{code="not_found"} 3.0
"""


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (judge_disk(100 << 20, 100 * GIB), Verdict.WRONG),
        (judge_disk(GIB, 100 * GIB), Verdict.WARNING),
        (judge_disk(50 * GIB, 100 * GIB), Verdict.OK),
        (judge_filesystem("nfs4"), Verdict.WRONG),
        (judge_filesystem("tmpfs"), Verdict.WARNING),
        (judge_filesystem("ext4"), Verdict.OK),
        (judge_filesystem(None), Verdict.SKIPPED),
        (judge_fsync([0.001] * 50), Verdict.WARNING),
        (judge_fsync([1.0] * 50), Verdict.OK),
        (judge_fsync([30.0] * 50), Verdict.WARNING),
        (judge_fsync([1.0] * 49 + [500.0]), Verdict.WARNING),
        (judge_open_files(256, 4_096, 512), Verdict.WRONG),
        (judge_open_files(1_024, 4_096, 512), Verdict.OK),
        (judge_open_files(-1, -1, 16_384), Verdict.OK),
        (judge_clock_steps(0.4, 1.0), Verdict.OK),
        (judge_clock_steps(-1_000, 1.0), Verdict.WARNING),
        (judge_clock_offset(0.7), Verdict.OK),
        (judge_clock_offset(-5), Verdict.WARNING),
        (judge_clock_offset(400), Verdict.WRONG),
        (judge_key_mode(0o600, "k"), Verdict.OK),
        (judge_key_mode(0o640, "k"), Verdict.WRONG),
        (judge_key_mode(0o604, "k"), Verdict.WRONG),
        (judge_books(BOOKS), Verdict.OK),
        (judge_books({**BOOKS, "exhausted": 1}), Verdict.WARNING),
        (judge_books({**BOOKS, "imbalance": 1}), Verdict.WRONG),
    ],
)
def test_judgements(finding: Finding, verdict: Verdict) -> None:
    """Whatever is not all right says what to do."""
    assert finding.verdict is verdict
    assert bool(finding.advice) == (verdict in {Verdict.WARNING, Verdict.WRONG})


@given(st.lists(st.floats(0, 10**4), min_size=1, max_size=60))
def test_any_number_of_syncs_is_judged(durations: list[float]) -> None:
    assert judge_fsync(durations).name == "fsync"


def test_file_system_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/a / ext4 rw 0 0\n"
        "/dev/b /srv xfs rw 0 0\n"
        "host:/x /srv/my\\040data nfs4 rw 0 0\n"
        "/dev/c /srv2 btrfs rw 0 0\n"
        "over /srv overlay rw 0 0\n"
    )
    assert machine.filesystem_of(Path("/srv/my data/posthouse"), mounts) == "nfs4"
    assert machine.filesystem_of(Path("/srv/my"), mounts) == "overlay"
    assert machine.filesystem_of(Path("/srv2/x"), mounts) == "btrfs"
    assert machine.filesystem_of(Path("/home"), mounts) == "ext4"
    assert machine.filesystem_of(Path("/home"), tmp_path / "missing") is None


def test_syncs_are_measured_and_leave_nothing(tmp_path: Path) -> None:
    found = machine.sync_durations_ms(tmp_path, syncs=3)
    assert len(found) == 3
    assert all(duration > 0 for duration in found)
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_read() -> None:
    version, numbers = read_metrics(METRICS)
    assert version == "0.1.0"
    assert numbers["posthouse_store_bytes"] == 1 << 20
    assert "posthouse_requests_refused_total" not in numbers


# -- the command ----------------------------------------------------------------------------


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk and a clock that do not depend on the machine that runs the tests."""
    monkeypatch.setattr(machine, "sync_durations_ms", lambda _: [1.0])
    monkeypatch.setattr(machine, "judge_disk", lambda _free, _total: Finding("disk space", Verdict.OK, "enough"))
    monkeypatch.setattr(machine, "judge_filesystem", lambda _: Finding("file system", Verdict.OK, "ext4"))
    monkeypatch.setattr(machine, "judge_open_files", lambda *_: Finding("open files", Verdict.OK, "enough"))
    monkeypatch.setattr(machine, "judge_clock_steps", lambda *_: Finding("clock", Verdict.OK, "even"))


def findings(ended: Any) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in ended.document["findings"]}


@pytest.mark.usefixtures("healthy")
def test_healthy_machine_without_a_node(run: Run) -> None:
    ended = run("doctor", "--local")
    assert ended.code == Exit.OK
    assert ended.out.splitlines()[-1] == "All is well."


@pytest.mark.usefixtures("healthy")
def test_healthy_node(api: Any, run: Run) -> None:
    api.on("GET /healthz", {"status": "ok"})
    api.on("GET /readyz", {"status": "ready"})
    api.on("GET /metrics", httpx2.Response(200, text=METRICS))
    api.on("GET /v1/audit", BOOKS)
    ended = run("doctor", "--api-key", "k", "--json")
    found = findings(ended)
    assert ended.code == Exit.OK
    assert ended.document["healthy"] is True
    assert found["store"]["message"] == "1.0 MiB, write-ahead log 4.0 KiB"
    assert found["node version"]["message"] == "0.1.0"
    assert found["books"]["message"] == "balance: 5 owed = 3 delivered + 2 waiting"


@pytest.mark.usefixtures("healthy")
def test_node_that_cannot_write(api: Any, run: Run) -> None:
    api.on("GET /healthz", httpx2.Response(200, json={}, headers={"date": "Sun, 22 Nov 2020 08:00:00 GMT"}))
    api.refuse("GET /readyz", 503, "store_unavailable", "The store cannot make anything durable now.")
    ended = run("doctor", "--json")
    found = findings(ended)
    assert ended.code == Exit.FAILED
    assert found["node ready"]["verdict"] == "wrong"
    assert found["node clock"]["verdict"] == "wrong"
    assert found["books"]["verdict"] == "skipped"


@pytest.mark.usefixtures("healthy")
def test_unreachable_node_is_one_finding(run: Run) -> None:
    ended = run("doctor", "--url", "http://127.0.0.1:9", "--json")
    found = findings(ended)
    assert ended.code == Exit.FAILED
    assert found["node"]["verdict"] == "wrong"
    assert "posthouse serve" in found["node"]["advice"]
    assert found["SQLite"]["verdict"] == "ok"


@pytest.mark.usefixtures("healthy")
def test_files_and_settings_are_looked_at(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "api_key").write_text("k")
    (data / "api_key").chmod(stat.S_IRUSR | stat.S_IRGRP)
    monkeypatch.setenv("POSTHOUSE_PRT", "1")
    ended = run("doctor", "--local", "--data", str(data), "--json")
    found = findings(ended)
    assert ended.code == Exit.FAILED
    assert found["API key file"]["advice"] == f"Run 'chmod 600 {data / 'api_key'}'."
    assert "POSTHOUSE_PORT" in found["settings"]["message"]


@pytest.mark.usefixtures("healthy")
def test_what_differs_from_the_defaults_is_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHOUSE_PORT", "9000")
    assert "port = 9000 (POSTHOUSE_PORT)" in findings(run("doctor", "--local", "--json"))["settings"]["message"]


@pytest.mark.usefixtures("healthy")
def test_data_directory_that_is_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    found = findings(run("doctor", "--local", "--data", "data", "--json"))
    assert found["data directory"]["verdict"] == "wrong"


@pytest.mark.usefixtures("healthy")
def test_a_database_is_looked_at_in_place_of_the_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def examine(address: str) -> server.Server:
        seen.append(address)
        return server.Server(version="17.2", warnings=("synchronous_commit is off.",), pooled=True)

    monkeypatch.setattr(server, "examine", examine)
    monkeypatch.setenv("POSTHOUSE_DATABASE", "postgresql://app:hunter2@db/post")
    ended = run("doctor", "--local", "--json")
    found = findings(ended)
    assert ended.code == Exit.OK
    assert seen == ["postgresql://app:hunter2@db/post"]
    assert found["database"]["message"] == "PostgreSQL 17.2, through a pooler"
    assert found["database settings"]["verdict"] == "warning"
    assert "hunter2" not in ended.out
    assert not found.keys() & {"SQLite", "disk space", "file system", "fsync"}


@pytest.mark.usefixtures("healthy")
def test_a_database_that_cannot_be_used_is_wrong(run: Run) -> None:
    ended = run("doctor", "--local", "--json", "--database", "postgresql://app:hunter2@127.0.0.1:9/post")
    found = findings(ended)
    assert ended.code == Exit.FAILED
    assert "cannot be reached" in found["database"]["message"]
    assert found["database"]["advice"]
    assert "hunter2" not in ended.out


@pytest.mark.usefixtures("healthy")
def test_what_the_node_has_to_say_of_its_store_is_shown(api: Any, run: Run) -> None:
    api.on("GET /healthz", {"status": "ok"})
    api.on("GET /readyz", {"status": "ready"})
    api.on("GET /metrics", httpx2.Response(200, text=f"{METRICS}posthouse_store_findings 2.0\n"))
    found = findings(run("doctor", "--json"))
    assert found["store settings"]["message"] == "the node has 2 to say of it"
