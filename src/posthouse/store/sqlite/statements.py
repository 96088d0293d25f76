"""The SQL of the engine: named statements in ``queries/*.sql``, read once.

Each one starts with ``-- name: words`` and at least one line of description. Besides BEGIN, COMMIT,
ROLLBACK and savepoints the engine has no other SQL, and none is ever built from strings.
"""

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


def _load() -> dict[str, str]:
    statements: dict[str, str] = {}
    for file in sorted(files(__package__).joinpath("queries").iterdir(), key=lambda f: f.name):
        for name, statement in parse(file.read_text("utf-8")).items():
            if name in statements:
                raise ValueError(f"query {name!r} exists twice")
            statements[name] = statement
    return statements


#: Every statement by name.
SQL: Final = MappingProxyType(_load())
