"""``posthouse reverify``: checking refused requests again."""

from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.session import Session, node_command
from posthouse.cli.stepping import DryRun, Yes, in_steps

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@node_command
def reverify(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source's id, src_….")],
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> Exit:
    """Check the refused requests of a source again, with the secrets that count now, as of when each came.

    What is genuine leaves quarantine and is passed on. Where a key must be fetched to know, only those are meant
    whose key could not be had; they are checked when it is there.
    """
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    path = f"/v1/sources/{segment(source)}/reverify"
    return in_steps(session, path, {}, did="passed on", dry_run=dry_run, yes=yes)
