"""``posthouse outbox``: the tables that applications publish into, and what waits in them."""

from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.output import Output
from posthouse.cli.session import Session, local_command, node_command
from posthouse.cli.wording import moment

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Print the tables of the outbox, and show what waits in it."
)


@app.command()
@local_command
def schema(
    out: Output,
    schema: Annotated[str, typer.Option(help="Schema that the tables are to stand in.")] = "posthouse",
    application: Annotated[
        str | None, typer.Option(metavar="ROLE", help="A role that is to publish: with what it needs for that.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="ROLE", help="A role that is to drain: with what it needs for that.")
    ] = None,
) -> Exit:
    """Print the script that makes the tables of the outbox. Run it in the database of your application.

    The tables are fixed for ever. Where they stand already, the script changes nothing.
    """
    from posthouse.sdk.outbox_schema import outbox_schema  # noqa: PLC0415 - help must not wait for it

    try:
        script = outbox_schema(schema=schema, application=application, gateway=gateway)
    except ValueError as error:
        raise Failure(Exit.USAGE, "usage", str(error), hint="Try 'posthouse outbox schema --help'.") from error
    if out.as_json:
        out.document({"script": script})
    else:
        out.line(script.rstrip("\n"))
    return Exit.OK


@app.command()
@node_command
def status(session: Session) -> Exit:
    """Show how many events wait in the outboxes that the node drains, and how many rows were put aside."""
    with session.client() as client:
        found = client.get("/v1/outbox")
    out = session.out
    if out.as_json:
        out.document(found)
    elif found["data"]:
        out.table(
            ("outbox", "source", "waiting", "oldest", "doubts"),
            (
                (o["place"], o["source"], o["waiting"], moment(o["oldest_at"]) if o["oldest_at"] else "", o["doubts"])
                for o in found["data"]
            ),
        )
    else:
        out.note("The node drains no outbox.")
        out.note("hint: Name a database with --outbox or POSTHOUSE_OUTBOX when you start it.")
    if any(o["doubts"] for o in found["data"]) and not out.as_json:
        out.note("hint: The rows that were put aside, and why, are in posthouse_outbox_v1_doubts.")
    return Exit.OK
