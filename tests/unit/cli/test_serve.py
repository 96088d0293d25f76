"""``posthouse serve`` and ``posthouse config``: settings on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from posthouse import app
from posthouse.cli import serve
from posthouse.cli.exits import Exit
from posthouse.config import Config, settings

Run = Callable[..., Any]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations that nodes were run with; none is really run."""
    found: list[Config] = []

    def run(config: Config) -> int:
        found.append(config)
        return 7

    monkeypatch.setattr(app, "run", run)
    return found


def test_every_setting_has_a_flag_and_the_same_words() -> None:
    """Whatever a node can be set to, it can be set to by a flag, and help says of it what the reference says."""
    command: Any = get_command(serve.app)
    flags = {parameter.opts[0]: parameter.help for parameter in command.params}
    for flag in ("--config", "--json", "--help"):
        flags.pop(flag, None)
    assert flags == {setting.flag: setting.help for setting in settings()}


def test_flags_become_settings(served: list[Config], run: Run, tmp_path: Path) -> None:
    options = ("--data", "d", "--port", "0", "--allow-network", "127.0.0.0/8", "--allow-network", "10.0.0.0/8")
    ended = run("serve", *options, "--log-level", "error", "--drain-seconds", "1.5")
    assert ended.code == 7
    config = served[0]
    assert (config.data, config.port, config.log_level, config.drain_seconds) == (Path("d"), 0, "error", 1.5)
    assert config.allow_networks == ("127.0.0.0/8", "10.0.0.0/8")
    assert config.origins["port"] == "--port"
    assert config.origins["host"] == "default"


def test_json_means_json_logs(served: list[Config], run: Run) -> None:
    run("serve", "--json")
    assert served[0].log_format == "json"


def test_bad_setting_ends_the_start(served: list[Config], run: Run) -> None:
    ended = run("serve", "--port", "70000", "--json")
    assert ended.code == Exit.FAILED
    assert ended.problem["code"] == "configuration_error"
    assert served == []


def test_named_file_must_exist(served: list[Config], run: Run) -> None:
    assert run("serve", "--config", "missing.toml").code == Exit.FAILED
    assert served == []


def test_config_lists_every_setting_with_its_origin(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.toml").write_text("port = 9000\n")
    monkeypatch.setenv("POSTHOUSE_HOST", "0.0.0.0")
    found = {entry["name"]: entry for entry in run("config", "--config", "p.toml", "--json").document["data"]}
    assert list(found) == list(Config.model_fields)
    assert (found["port"]["value"], found["port"]["origin"]) == (9000, "p.toml")
    assert (found["host"]["value"], found["host"]["origin"]) == ("0.0.0.0", "POSTHOUSE_HOST")
    text = run("config").out
    assert all(name in text for name in found)
