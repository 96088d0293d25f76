"""The SQL of an engine: named statements in its ``queries/*.sql``, read once.

Each one starts with ``-- name: words`` and at least one line of description.
"""

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_NAME: Final = "-- name: "


def parse(text: str) -> dict[str, str]:
    """The statements of one file by name, without their descriptions."""
    found: dict[str, str] = {}
    for block in text.split(_NAME)[1:]:
        name, _, rest = block.partition("\n")
        lines = rest.split("\n")
        start = next(i for i, line in enumerate(lines) if not line.startswith("--"))
        statement = "\n".join(lines[start:]).strip()
        if not start or not statement or name in found:
            raise ValueError(f"query {name!r} has no description, no statement or a double")
        found[name] = statement
    return found


def load(package: str) -> Mapping[str, str]:
    """Every statement in ``queries/*.sql`` of a package, by name."""
    statements: dict[str, str] = {}
    for file in sorted(files(package).joinpath("queries").iterdir(), key=lambda f: f.name):
        for name, statement in parse(file.read_text("utf-8")).items():
            if name in statements:
                raise ValueError(f"query {name!r} exists twice")
            statements[name] = statement
    return MappingProxyType(statements)
