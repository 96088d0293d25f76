"""``posthouse retry``: attempt deliveries again now, whatever their state."""

import typer

from posthouse.cli.acting import DeliveryIds, act_on_each
from posthouse.cli.exits import Exit
from posthouse.cli.session import Session, node_command

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@node_command
def retry(session: Session, deliveries: DeliveryIds) -> Exit:
    """Attempt deliveries again now. A settled one begins a new round; its history stays."""
    return act_on_each(session, deliveries, "retry")
