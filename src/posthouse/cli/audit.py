"""``posthouse audit``: is every accepted event accounted for?"""

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import Tenant
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import count

app = typer.Typer(add_completion=False, rich_markup_mode=None)

TIMEOUT_SECONDS = 600.0  #: every row is counted, and a large store has many

_COLUMNS = ("owed", "delivered", "waiting", "retrying", "exhausted", "discarded", "imbalance")
_SOURCE_COLUMNS = ("received", "waiting", "read", "quarantined", "events", "duplicates", "doubted", "imbalance")


@app.command()
@node_command
def audit(session: Session, tenant: Tenant = None) -> Exit:
    """Recount the books from rows. Ends with exit code 1 if they do not balance."""
    with session.client(timeout_s=TIMEOUT_SECONDS) as client:
        books = client.get("/v1/audit", {"tenant": tenant})
    out = session.out
    if out.as_json:
        out.document(books)
    else:
        out.table(("tenant", "endpoint", *(f"#{name}" for name in _COLUMNS)), _rows(books))
        for reason, number in books["discarded_by_reason"].items():
            out.note(f"discarded, {reason}: {number:,}")
        if books["sources"]:
            out.line()
            out.table(
                ("tenant", "source", *(f"#{name}" for name in _SOURCE_COLUMNS)),
                ((one["tenant"], one["source"], *(one[name] for name in _SOURCE_COLUMNS)) for one in books["sources"]),
            )
        out.line()
        if books["imbalance"]:
            what, whats = ("entry", "entries") if _is_about_sources(books) else ("delivery", "deliveries")
            out.line(f"The books do not balance: {count(books['imbalance'], what, whats)} off.")
            out.note("hint: The table shows whose. Keep the data directory as it is, and run 'posthouse doctor'.")
        else:
            out.line("The books balance: everything owed is delivered, open, or settled for a named reason.")
    return Exit.FAILED if books["imbalance"] else Exit.OK


def _is_about_sources(books: Mapping[str, Any]) -> bool:
    return any(source["imbalance"] for source in books["sources"])


def _rows(books: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for endpoint in books["endpoints"]:
        yield (endpoint["tenant"], endpoint["endpoint"], *(endpoint[name] for name in _COLUMNS))
    yield ("all", "", *(books[name] for name in _COLUMNS))
