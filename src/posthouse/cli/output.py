"""What commands print: JSON for programs, coloured tables on a terminal, plain aligned text in a pipe."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

#: Words that mean good, doubtful or bad wherever they stand, with the colour that a terminal gives them.
_COLOURS: Final[Mapping[str, str]] = {
    "active": "green",
    "delivered": "green",
    "ok": "green",
    "success": "green",
    "waiting": "cyan",
    "paused": "yellow",
    "retrying": "yellow",
    "warning": "yellow",
    "disabled": "red",
    "exhausted": "red",
    "wrong": "bold red",
    "discarded": "dim",
}


class Output:
    """Where a command's result goes. ``as_json``: exactly one JSON document on stdout, nothing else."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def document(self, document: Any) -> None:
        """Print the command's one JSON document."""
        print(json.dumps(document, indent=2, ensure_ascii=False))

    def line(self, text: str = "") -> None:
        """Print one line; colours nothing."""
        print(text)

    def note(self, text: str) -> None:
        """Say something beside the result, on stderr; silent with JSON."""
        if not self.as_json:
            print(text, file=sys.stderr, flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows under their headings. Headings that start with ``#`` hold numbers."""
        cells = [[_cell(value) for value in row] for row in rows]
        if sys.stdout.isatty():
            _print_rich(columns, cells)
        else:
            print("\n".join(aligned(columns, cells)))

    def facts(self, facts: Iterable[tuple[str, object]]) -> None:
        """Print names and values, one pair a line; pairs without a value are left out."""
        shown = [(name, _cell(value)) for name, value in facts if value not in (None, "", [], {})]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            print(f"{name:<{width}}  {value}")


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table without colours, lines or cuts: two spaces between columns."""
    numeric = [name.startswith("#") for name in columns]
    table = [[name.lstrip("#").upper() for name in columns], *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in table
    ]


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = name.startswith("#")
        table.add_column(
            name.lstrip("#"), justify="right" if right else "left", overflow="fold", no_wrap=name == "id" or right
        )
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list() | tuple():
            return ", ".join(_cell(item) for item in value)
        case dict():
            return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
        case _:
            return str(value)
