"""Where tests look for a PostgreSQL, and what is said and done where there is none."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

from posthouse.testing.postgres import cluster
from posthouse.testing.postgres.cluster import PROGRAMS_VARIABLE, NoPostgres, binaries

SCRIPT = Path(__file__).parents[3] / "scripts" / "postgres.py"


@pytest.fixture
def script() -> ModuleType:
    """The script that installs it."""
    spec = importlib.util.spec_from_file_location("posthouse_installs_postgres", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with nothing on it: ``usr`` is where Debian's versions would be, ``bin`` the path."""
    for place in ("usr", "bin", "etc"):
        (tmp_path / place).mkdir()
    monkeypatch.setattr(cluster, "DEBIANS", tmp_path / "usr")
    monkeypatch.setattr(script, "DEBIANS", tmp_path / "usr")
    monkeypatch.setattr(script, "has", lambda _program: False)
    monkeypatch.setattr(script, "WHILE_INSTALLING", {tmp_path / "etc" / "quiet" / "policy": ("exit 101\n", 0o755)})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(PROGRAMS_VARIABLE, raising=False)
    return tmp_path


def put(folder: Path, *programs: str) -> Path:
    """Programs in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        (folder / program).touch(0o755)
    return folder


def put_apt(machine: Path, *, gives: str) -> None:
    """An ``apt-get`` that notes how it is called, what else is there meanwhile, and makes what ``gives`` says."""
    called = machine / "called"
    script = f'#!/bin/sh\necho "$DEBIAN_FRONTEND $* $(echo {machine}/etc/quiet/*)" >> {called}\n{gives}\n'
    (machine / "bin" / "apt-get").write_text(script, encoding="utf-8")
    (machine / "bin" / "apt-get").chmod(0o755)


def test_both_find_the_same(machine: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of Debian's by number; what is on the path if there is none of them; what is named before all."""
    on_path = put(machine / "bin", *script.NEEDED)
    assert binaries() == script.programs() == on_path
    put(machine / "usr" / "9.6" / "bin", *script.NEEDED)
    newest = put(machine / "usr" / "17" / "bin", *script.NEEDED)
    put(machine / "usr" / "18" / "bin", "psql")
    assert binaries() == script.programs() == newest
    chosen = put(machine / "mine", *script.NEEDED)
    monkeypatch.setenv(PROGRAMS_VARIABLE, str(chosen))
    assert script.PROGRAMS_VARIABLE == PROGRAMS_VARIABLE
    assert binaries() == script.programs() == chosen
    monkeypatch.setenv(PROGRAMS_VARIABLE, str(machine))
    assert script.programs() is None
    with pytest.raises(NoPostgres):
        binaries()


def test_without_one_it_is_said_what_to_install(
    machine: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main() == 1
    assert "apt-get install postgresql" in capsys.readouterr().err
    with pytest.raises(NoPostgres, match=r"scripts/postgres\.py"):
        binaries()


def test_root_installs_it_and_no_service_starts(
    machine: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps services from starting is there meanwhile, and gone when it is done."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    folder = machine / "usr" / "15" / "bin"
    programs = " ".join(f"{folder}/{program}" for program in script.NEEDED)
    monkeypatch.setenv("PATH", f"{machine / 'bin'}:/usr/bin:/bin")
    put_apt(machine, gives=f'case "$*" in *postgresql) mkdir -p {folder}; touch {programs};; esac')
    assert script.main() == 0
    calls = (machine / "called").read_text("utf-8").splitlines()
    quiet = str(machine / "etc" / "quiet" / "policy")
    assert [call.split()[-1] for call in calls] == [quiet] * 3
    assert [call.split()[-2] for call in calls] == ["-qq", "postgresql", "pgbouncer"]
    assert {call.split()[0] for call in calls} == {"noninteractive"}
    assert not Path(quiet).parent.exists()
    (machine / "called").unlink()
    monkeypatch.setattr(script, "has", lambda _program: True)
    assert script.main() == 0
    assert not (machine / "called").exists()


def test_who_chose_a_folder_gets_no_other(machine: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv(PROGRAMS_VARIABLE, str(machine))
    put_apt(machine, gives="")
    assert not script.ready()
    assert not (machine / "called").exists()


def test_an_installation_that_fails_is_no_success(
    machine: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{machine / 'bin'}:/usr/bin:/bin")
    put_apt(machine, gives="exit 100")
    assert not script.ready()
    assert "There is no PostgreSQL" in capsys.readouterr().err


def test_who_is_not_root_installs_nothing(machine: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    put_apt(machine, gives="")
    assert not script.ready()
    assert not (machine / "called").exists()
