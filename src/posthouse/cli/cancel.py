"""``posthouse cancel``: discard open deliveries."""

import typer

from posthouse.cli.acting import DeliveryIds, act_on_each
from posthouse.cli.exits import Exit
from posthouse.cli.session import Session, node_command

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@node_command
def cancel(session: Session, deliveries: DeliveryIds) -> Exit:
    """Discard open deliveries. They stay in the books, and 'posthouse retry' re-opens them."""
    return act_on_each(session, deliveries, "cancel")
