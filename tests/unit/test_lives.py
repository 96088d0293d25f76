"""The nodes of a data directory are remembered until everybody knows that they have ended."""

import os
from pathlib import Path

from posthouse.lives import FOLDER, Lives


def test_whoever_began_and_was_not_ended_is_known(tmp_path: Path) -> None:
    lives = Lives(tmp_path)
    assert lives.names() == []
    lives.begin("node-b")
    lives.begin("node-a")
    assert Lives(tmp_path).names() == ["node-a", "node-b"]
    lives.end(["node-a", "never-there"])
    assert lives.names() == ["node-b"]


def test_those_of_one_process_are_known(tmp_path: Path) -> None:
    lives = Lives(tmp_path)
    lives.begin("mine")
    (tmp_path / FOLDER / "another").write_text("1\n", "ascii")
    (tmp_path / FOLDER / "half").write_text("", "ascii")
    assert lives.names(process=os.getpid()) == ["mine"]
    assert lives.names(process=1) == ["another"]
