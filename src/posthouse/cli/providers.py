"""``posthouse providers``: the senders that Posthouse knows."""

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import Cursor, Limit, print_list
from posthouse.cli.session import Session, node_command

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_LIMIT = 500  # all of them


@app.command()
@node_command
def providers(session: Session, limit: Limit = _LIMIT, cursor: Cursor = None) -> Exit:
    """List the senders that Posthouse knows, and where each shows its secret.

    For every other sender a source of the provider 'custom' declares what it does.
    """
    return print_list(
        session,
        "/v1/providers",
        {},
        limit=limit,
        cursor=cursor,
        columns=("name", "sender", "secret"),
        row=lambda p: (p["name"], p["title"], p["secret_help"] if p["needs_secret"] else "It has none."),
    )
