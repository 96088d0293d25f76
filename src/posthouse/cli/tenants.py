"""``posthouse tenants``: whose endpoints and events the node keeps."""

from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, print_list
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import moment

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="List and create tenants.")


@app.command("list")
@node_command
def list_tenants(session: Session, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None) -> Exit:
    """List tenants by id."""
    return print_list(
        session,
        "/v1/tenants",
        {},
        limit=limit,
        cursor=cursor,
        columns=("id", "name", "created"),
        row=lambda tenant: (tenant["id"], tenant["name"], moment(tenant["created_at"])),
    )


@app.command()
@node_command
def create(
    session: Session,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")],
    name: Annotated[str | None, typer.Option(help="What people call it.  [default: its id]")] = None,
) -> Exit:
    """Create a tenant. One that an event or endpoint names first is created by that."""
    with session.client() as client:
        made = client.post("/v1/tenants", {"id": tenant, "name": name or tenant})
    if session.out.as_json:
        session.out.document(made)
    else:
        session.out.line(f"{made['id']} ({made['name']}) is there.")
    return Exit.OK
