"""``posthouse migrate``: a store goes to another place, mostly while its nodes run."""

import asyncio
from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.output import Output
from posthouse.cli.places import show
from posthouse.cli.progress import copy_progress
from posthouse.cli.session import local_command

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_WHERE = "data directory, or DSN of a database"


@app.command()
@local_command
def migrate(
    out: Output,
    *,
    source: Annotated[str, typer.Option("--from", metavar="PLACE", help=f"Where it is: {_WHERE}.")],
    target: Annotated[
        str,
        typer.Option("--to", metavar="PLACE", help=f"Where it goes, empty: {_WHERE}."),
    ],
    final: Annotated[
        bool, typer.Option("--final", help="Copy the rest and hand over; every node must be stopped.")
    ] = False,
    back: Annotated[bool, typer.Option("--undo", help="Hand back to --from, as long as --to was not used.")] = False,
) -> Exit:
    """Move a store to another engine or place. The first call copies while nodes run; --final ends it.

    Each call may be repeated and goes on where it was cut short. Nothing is removed from the place that it leaves.
    """
    from posthouse.store.upkeep import Part, move  # noqa: PLC0415 - help must not wait for it
    from posthouse.system import SystemClock  # noqa: PLC0415

    if final and back:
        raise Failure(Exit.USAGE, "usage", "--final and --undo exclude each other.")
    part = Part.FINAL if final else Part.UNDO if back else Part.AHEAD
    with copy_progress(quiet=out.as_json) as tell:
        tally = asyncio.run(move(source, target, part, clock=SystemClock(), tell=tell))
    if tally is not None:
        return show(
            out,
            {"part": part.value},
            tally,
            "The store has moved: all rows and the books are the same. Start nodes there.",
        )
    if out.as_json:
        out.document({"part": part.value})
    elif part is Part.UNDO:
        out.line("The store is where it was. Start nodes there.")
    else:
        out.line("Copied ahead. Stop every node of the source, then run the same command with --final.")
    return Exit.OK
