"""``posthouse events``: what was published."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Since, Tenant, Until, print_list, time_option
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import count, moment

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="List and show events.")


@app.command("list")
@node_command
def list_events(
    session: Session,
    *,
    event_type: Annotated[str | None, typer.Option("--type", help="Only events of this type.")] = None,
    source: Annotated[str | None, typer.Option(help="Only events that came in through this source.")] = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Exit:
    """List events, newest first."""
    query = {
        "type": event_type,
        "source": source,
        "tenant": tenant,
        "since": time_option(since),
        "until": time_option(until),
    }
    return print_list(
        session,
        "/v1/events",
        query,
        limit=limit,
        cursor=cursor,
        columns=("id", "type", "tenant", "accepted", "#deliveries"),
        row=lambda e: (e["id"], e["type"], e["tenant"], moment(e["accepted_at"]), e["deliveries"]),
    )


@app.command()
@node_command
def show(
    session: Session,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="An event's id.")],
    tenant: Annotated[str | None, typer.Option(help="Whose event, if tenants share the id.")] = None,
) -> Exit:
    """Show an event with its data and how its deliveries stand."""
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    with session.client() as client:
        found = client.get(f"/v1/events/{segment(event)}", {"tenant": tenant})
    out = session.out
    if out.as_json:
        out.document(found)
        return Exit.OK
    standing = {name: number for name, number in found["delivery_counts"].items() if number}
    out.facts(
        (
            ("event", found["id"]),
            ("type", found["type"]),
            ("tenant", found["tenant"]),
            ("accepted", moment(found["accepted_at"])),
            ("occurred", moment(found["occurred_at"]) if found["occurred_at"] else None),
            ("ordering key", found["ordering_key"]),
            *_origin(found["origin"]),
            ("deliveries", standing or "owed to no endpoint"),
        )
    )
    out.line()
    out.line(json.dumps(found["data"], indent=2, ensure_ascii=False))
    if standing:
        out.note(f"hint: posthouse deliveries list --event {found['id']}")
    return Exit.OK


def _origin(origin: dict[str, Any] | None) -> Iterator[tuple[str, object]]:
    if origin is None:
        return
    yield "source", origin["source"]
    yield "request", origin["request"]
    if origin["repeats"]:
        yield "repeats", f"it came {count(origin['repeats'], 'more time')}, and was delivered once"
    if origin["possible_duplicate"]:
        yield "unchecked", "it may have come before; that could not be found out when it came"
