"""Where a store is, as options of commands that work on whole stores; and how its books are shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.output import Output

if TYPE_CHECKING:
    from posthouse.store.shared.tally import Tally

StoreData = Annotated[
    Path, typer.Option("--data", envvar="POSTHOUSE_DATA", help="Data directory of the embedded store.")
]
StoreDatabase = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="POSTHOUSE_DATABASE",
        metavar="DSN",
        help="Database of the store, such as postgresql://user:password@host/database; then --data is not looked at.",
        show_default=False,
    ),
]

_SHOWN: Final = ("owed", "delivered", "waiting", "retrying", "exhausted", "discarded", "received", "imbalance")


def books(tally: "Tally") -> dict[str, int]:
    """The books of a whole store, by name."""
    return {name: getattr(tally, name) for name in _SHOWN}


def show(out: Output, document: dict[str, Any], tally: "Tally", *lines: str) -> Exit:
    """Print what was done, and the books; FAILED if they do not balance."""
    if out.as_json:
        out.document({**document, "books": books(tally)})
    else:
        out.facts([*document.items(), *books(tally).items()])
        out.line()
        for line in lines:
            out.line(line)
        if tally.imbalance:
            out.line(f"The books do not balance: {tally.imbalance:,} off, as they were in the store.")
            out.note("hint: 'posthouse audit' shows whose.")
    return Exit.FAILED if tally.imbalance else Exit.OK
