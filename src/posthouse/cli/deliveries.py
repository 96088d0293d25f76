"""``posthouse deliveries``: what is owed to whom, and every attempt at it."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Since, Tenant, Until, print_list, time_option
from posthouse.cli.session import Session, node_command
from posthouse.cli.timeline import Line, timeline
from posthouse.cli.wording import from_now, moment
from posthouse.core.delivery import State

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="List deliveries, and show one with all its attempts."
)

DeliveryId = Annotated[str, typer.Argument(metavar="DELIVERY", help="A delivery's id, dlv_….")]


@app.command("list")
@node_command
def list_deliveries(
    session: Session,
    *,
    status: Annotated[State | None, typer.Option(help="Only those that stand so.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only those owed to this endpoint.")] = None,
    event: Annotated[str | None, typer.Option(help="Only those of this event.")] = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Exit:
    """List deliveries, newest event first."""
    now = datetime.now(UTC)

    def row(item: Any) -> tuple[object, ...]:
        due = item["next_attempt_at"]
        last = item["last_outcome"] or "never attempted"
        if item["last_response_status"] is not None:
            last += f" {item['last_response_status']}"
        return (
            item["id"],
            item["status"],
            item["attempt_count"],
            last.replace("_", " "),
            from_now(due, now) if due else moment(item["settled_at"]),
            item["event_type"],
            item["endpoint"],
            "" if item["waits_for"] is None else item["waits_for"]["code"].replace("_", " "),
        )

    query = {
        "status": None if status is None else status.value,
        "endpoint": endpoint,
        "event": event,
        "tenant": tenant,
        "since": time_option(since),
        "until": time_option(until),
    }
    columns = ("id", "status", "#attempts", "last", "next or settled", "type", "endpoint", "waits for")
    return print_list(session, "/v1/deliveries", query, limit=limit, cursor=cursor, columns=columns, row=row)


@app.command()
@node_command
def show(session: Session, delivery: DeliveryId) -> Exit:
    """Show a delivery with its attempts as a timeline, and what it waits for."""
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    with session.client() as client:
        found = client.get(f"/v1/deliveries/{segment(delivery)}")
    out = session.out
    if out.as_json:
        out.document(found)
        return Exit.OK
    out.facts(
        (
            ("delivery", found["id"]),
            ("status", found["status"]),
            ("event", f"{found['event']} ({found['event_type']})"),
            ("endpoint", found["endpoint"]),
            ("tenant", found["tenant"]),
            ("opened", f"{moment(found['opened_at'])}, round {found['round']}, lane {found['lane']}"),
            ("attempts", found["attempt_count"]),
        )
    )
    out.line()
    encoding = (sys.stdout.encoding or "ascii").lower()
    _print_lines(timeline(found, now=datetime.now(UTC), unicode=encoding.startswith("utf")))
    return Exit.OK


def _print_lines(lines: list[Line]) -> None:
    if not sys.stdout.isatty():
        print("\n".join("".join(span.text for span in line).rstrip() for line in lines))
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    for line in lines:
        console.print(Text.assemble(*((span.text, span.colour) for span in line)), soft_wrap=True)
