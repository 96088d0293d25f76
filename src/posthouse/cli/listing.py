"""Lists: as many pages as were asked for, as a table or as JSON."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from re import compile as pattern
from typing import Annotated, Any, Final

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.session import Session
from posthouse.core.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX

Limit = Annotated[int, typer.Option(min=1, help="How many to list at most.")]
Cursor = Annotated[str | None, typer.Option(help="Where an earlier list ended.")]
Tenant = Annotated[str | None, typer.Option(help="Only this tenant's.")]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Accepted at or after: an RFC 3339 time, or an age such as 15m, 2h, 7d."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Accepted before: as for --since.")]

LIMIT_DEFAULT: Final = PAGE_ITEMS_DEFAULT

_AGE: Final = pattern(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def print_list(
    session: Session,
    path: str,
    query: Mapping[str, object],
    *,
    limit: int,
    cursor: str | None,
    columns: Sequence[str],
    row: Callable[[Mapping[str, Any]], Sequence[object]],
) -> Exit:
    """Print up to ``limit`` items of a list, newest or first one first, as the node orders them."""
    items: list[Mapping[str, Any]] = []
    with session.client() as client:
        while True:
            asked = min(limit - len(items), PAGE_ITEMS_MAX)
            page = client.get(path, {**query, "limit": asked, "cursor": cursor})
            items += page["data"]
            cursor = page["next_cursor"]
            if cursor is None or len(items) >= limit:
                break
    out = session.out
    if out.as_json:
        out.document({"data": items, "next_cursor": cursor})
        return Exit.OK
    if items:
        out.table(columns, (row(item) for item in items))
    else:
        out.note("Nothing found.")
    if cursor is not None:
        out.note(f"hint: There are more: add --limit, or --cursor {cursor}")
    return Exit.OK


def time_option(text: str | None) -> str | None:
    """A time as the API takes it; an age such as ``2h`` counts back from now."""
    age = _AGE.fullmatch(text) if text else None
    if age is None:
        return text
    at = datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
