"""``posthouse incidents``: what may be wrong with what comes in."""

from typing import Annotated, Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Tenant, print_list
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import moment
from posthouse.core.inbound import IncidentKind

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@node_command
def incidents(
    session: Session,
    *,
    source: Annotated[str | None, typer.Option(help="Only those of this source.")] = None,
    tenant: Tenant = None,
    kind: Annotated[IncidentKind | None, typer.Option(help="Only those of this kind.")] = None,
    is_open: Annotated[
        bool | None, typer.Option("--open/--over", help="Only those that are not over, or only the others.")
    ] = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Exit:
    """List silences, gaps and whatever else may be wrong with what comes in, newest first."""
    return print_list(
        session,
        "/v1/incidents",
        {
            "source": source,
            "tenant": tenant,
            "kind": None if kind is None else kind.value,
            "open": None if is_open is None else str(is_open).lower(),
        },
        limit=limit,
        cursor=cursor,
        columns=("id", "kind", "source", "since", "until", "detail"),
        row=lambda i: (i["id"], i["kind"], i["source"], moment(i["opened_at"]), _until(i), i["detail"]),
    )


def _until(incident: Any) -> str:
    return "now" if incident["closed_at"] is None else moment(incident["closed_at"])
