"""The documentation says what the code does: both ways."""

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from posthouse import telemetry
from posthouse.config import settings

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```", re.DOTALL)


@pytest.fixture(scope="session")
def docs(root: Path) -> ModuleType:
    """The script that writes the generated parts."""
    spec = importlib.util.spec_from_file_location("posthouse_docs", root / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text: str) -> set[str]:
    """The anchors that headings of a page make."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_generated_parts_are_as_the_code_has_them(docs: ModuleType) -> None:
    """`make docs` writes them."""
    stale = [page.name for page in docs.pages() if docs.rendered(page.read_text("utf-8")) != page.read_text("utf-8")]
    assert not stale


def test_every_generator_has_its_place(docs: ModuleType) -> None:
    used = [part for page in docs.pages() for part in docs.parts(page.read_text("utf-8"))]
    assert sorted(used) == sorted(docs.GENERATORS)


def test_every_setting_is_documented(root: Path) -> None:
    text = (root / "docs" / "configuration.md").read_text("utf-8")
    for setting in settings():
        assert f"`{setting.name}`" in text
        assert f"`{setting.variable}`" in text
        assert f"`{setting.flag}`" in text


def test_every_metric_and_log_event_is_documented_and_no_other(root: Path) -> None:
    text = (root / "docs" / "operating.md").read_text("utf-8")
    assert set(re.findall(r"`(posthouse_[a-z_]+)`", text)) == set(telemetry.metric_names())
    for event in telemetry.Log:
        assert f"`{event.name.lower()}`" in text


def test_links_lead_somewhere(docs: ModuleType) -> None:
    broken = []
    for page in docs.pages():
        for target in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists() or (anchor and anchor not in anchors(path.read_text("utf-8"))):
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_decision_records_are_numbered_dated_and_short(root: Path) -> None:
    paths = sorted((root / "docs" / "adr").glob("[0-9]*.md"))
    for number, path in enumerate(paths, 1):
        text = path.read_text("utf-8")
        assert path.name.startswith(f"{number:04d}-")
        assert text.startswith(f"# {number}. ")
        assert re.search(
            r"^Date: \d{4}-\d{2}-\d{2}\. Status: (accepted|replaced by \[.+\]\(.+\))\.$", text, re.MULTILINE
        )
        assert [h for h in ("Context", "Decision", "Consequences") if f"\n## {h}\n" in text] == [
            "Context",
            "Decision",
            "Consequences",
        ]
        assert len(text.split()) <= 450


def test_the_floors_and_tables_of_the_architecture_are_the_real_ones(root: Path) -> None:
    text = (root / "docs" / "architecture.md").read_text("utf-8")
    contract = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    rooms = [set(re.findall(r"\w+", layer)) for layer in contract["layers"] if layer != "__main__"]
    floors: list[set[str]] = []
    for number, names in re.findall(
        r"^\| (\d*) ?\| ((?:`\w+`(?:, )?)+) \|", text.partition("## An event")[0], re.MULTILINE
    ):
        found = set(re.findall(r"\w+", names))
        floors = [*floors, found] if number else [*floors[:-1], floors[-1] | found]
    assert floors == rooms

    schema = (root / "src" / "posthouse" / "store" / "sqlite" / "schema.sql").read_text("utf-8")
    tables = text.partition("## The store's tables")[2].partition("\n## ")[0]
    shown = {name for row in re.findall(r"^\| (`.+?`) \|", tables, re.MULTILINE) for name in re.findall(r"\w+", row)}
    assert shown == set(re.findall(r"^CREATE TABLE (\w+)", schema, re.MULTILINE))


def test_every_verb_of_make_is_explained(root: Path) -> None:
    makefile = (root / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE)) == targets
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in shown.splitlines()} == targets


def test_the_readme_names_the_two_commands(root: Path) -> None:
    text = (root / "README.md").read_text("utf-8")
    assert "make demo" in text
    assert "make test" in text
