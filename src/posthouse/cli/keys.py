"""``posthouse keys``: who may do what."""

from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, print_list
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import moment
from posthouse.core.model import Environment, Scope

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="List, create and revoke API keys.")


@app.command("list")
@node_command
def list_keys(session: Session, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None) -> Exit:
    """List API keys that are not revoked, oldest first."""
    return print_list(
        session,
        "/v1/keys",
        {},
        limit=limit,
        cursor=cursor,
        columns=("id", "begins with", "environment", "scope", "name", "created"),
        row=lambda k: (k["id"], k["prefix"], k["environment"], k["scope"], k["name"], moment(k["created_at"])),
    )


@app.command()
@node_command
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = Scope.PUBLISH,
    environment: Annotated[
        Environment | None, typer.Option(help="Where it works.  [default: that of your own key]")
    ] = None,
) -> Exit:
    """Create an API key. Its text is shown once."""
    body: dict[str, object] = {"name": name, "scope": scope}
    if environment is not None:
        body["environment"] = environment
    with session.client() as client:
        made = client.post("/v1/keys", body)
    out = session.out
    if out.as_json:
        out.document(made)
        return Exit.OK
    out.facts(
        (("key", made["id"]), ("environment", made["environment"]), ("scope", made["scope"]), ("text", made["secret"]))
    )
    out.note("hint: Keep the text: it is not shown again.")
    return Exit.OK


@app.command()
@node_command
def revoke(session: Session, key: Annotated[str, typer.Argument(metavar="KEY", help="A key's id, key_….")]) -> Exit:
    """Make an API key worthless at once."""
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    with session.client() as client:
        gone = client.delete(f"/v1/keys/{segment(key)}")
    if session.out.as_json:
        session.out.document(gone)
    else:
        session.out.line(f"{key} is revoked.")
    return Exit.OK
