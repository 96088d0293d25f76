"""``posthouse feed``: all events in the order of their commits."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import Tenant
from posthouse.cli.reading import usage
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import count, moment

if TYPE_CHECKING:
    from posthouse.sdk.client import FeedEvent, Problem

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Read all events in the order of their commits, and keep positions by name.",
)

_TRIES: Final = 4

Name = Annotated[str, typer.Argument(metavar="CONSUMER", help="The name of a consumer.")]
Types = Annotated[
    str | None, typer.Option(metavar="PATTERNS", help="Only events of these types: patterns, with commas between.")
]


@app.command()
@node_command
def read(
    session: Session,
    *,
    cursor: Annotated[str | None, typer.Option(help="Begin behind this cursor; 'start' or 'end' too.")] = None,
    consumer: Annotated[str | None, typer.Option(help="Begin behind what this consumer acknowledged.")] = None,
    ack: Annotated[bool, typer.Option("--ack", help="Acknowledge what was printed, for --consumer.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for what comes next, until you stop it.")] = False,
    types: Types = None,
    tenant: Tenant = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")] = None,
) -> Exit:
    """Print events, one a line, from the first one that is kept on; with --json each line is a JSON document.

    If what follows a cursor is not there any more, that is said, and reading goes on with what is.
    """
    if ack and consumer is None:
        raise usage("--ack needs --consumer.")
    left = limit
    with session.client(tries=_TRIES) as client:
        pages = client.feed_pages(
            cursor=cursor,
            consumer=consumer,
            tenant=tenant,
            types=types.split(",") if types else (),
            limit=100 if limit is None else min(limit, 100),
            follow=follow,
            lost=lambda problem: _tell(session, problem),
        )
        for page in pages:
            events = page.data[:left]
            for event in events:
                session.out.line(_line(event, as_json=session.out.as_json))
            at = events[-1].cursor if len(events) < len(page.data) else page.next_cursor
            if ack and consumer is not None:
                client.acknowledge(consumer, at)
            if left is not None:
                left -= len(events)
                if not left:
                    session.out.note(f"hint: Go on with --cursor {at}")
                    break
    return Exit.OK


@app.command()
@node_command
def consumers(session: Session) -> Exit:
    """List the consumers, and when each acknowledged something last."""
    with session.client() as client:
        found = client.get("/v1/feed/consumers")
    out = session.out
    if out.as_json:
        out.document(found)
    elif found["data"]:
        rows = ((c["name"], moment(c["created_at"]), moment(c["acknowledged_at"])) for c in found["data"])
        out.table(("consumer", "created", "acknowledged"), rows)
    else:
        out.note("There are no consumers.")
        out.note("hint: Make one with: posthouse feed ack NAME --cursor start")
    return Exit.OK


@app.command()
@node_command
def lag(session: Session, consumer: Name, *, types: Types = None, tenant: Tenant = None) -> Exit:
    """Show how many events a consumer has not acknowledged."""
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    with session.client() as client:
        found = client.get(f"/v1/feed/consumers/{segment(consumer)}", {"types": types, "tenant": tenant})
    out = session.out
    if out.as_json:
        out.document(found)
        return Exit.OK
    out.facts(
        (
            ("consumer", found["name"]),
            ("state", found["state"]),
            ("acknowledged", moment(found["acknowledged_at"])),
            ("behind", _behind(found)),
            ("oldest", moment(found["oldest_at"]) if found["oldest_at"] else None),
        )
    )
    return Exit.OK


@app.command()
@node_command
def ack(
    session: Session,
    consumer: Name,
    *,
    cursor: Annotated[str, typer.Option(help="Of an event or a page; 'start' or 'end' too.")],
    back: Annotated[bool, typer.Option("--back", help="Also if it acknowledged more already.")] = False,
) -> Exit:
    """Put a consumer to a cursor; the first time it is made."""
    with session.client(tries=_TRIES) as client:
        client.acknowledge(consumer, cursor, back=back)
    return _done(session, {"name": consumer, "cursor": cursor}, f"{consumer} goes on behind {cursor}.")


@app.command()
@node_command
def forget(session: Session, consumer: Name) -> Exit:
    """Forget a consumer."""
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    with session.client() as client:
        client.delete(f"/v1/feed/consumers/{segment(consumer)}")
    return _done(session, {"name": consumer}, f"{consumer} is forgotten.")


def _done(session: Session, document: dict[str, str], text: str) -> Exit:
    if session.out.as_json:
        session.out.document(document)
    else:
        session.out.line(text)
    return Exit.OK


def _tell(session: Session, problem: "Problem") -> None:
    session.out.note(f"gap: {problem.detail}")


def _behind(found: dict[str, Any]) -> str:
    if found["lag"] is None:
        return "its position is gone"
    return count(found["lag"], "event") + ("" if found["lag_is_exact"] else ", and more")


def _line(event: "FeedEvent", *, as_json: bool) -> str:
    data = json.loads(bytes(event.data))
    if not as_json:
        return f"{moment(event.accepted_at)}  {event.id}  {event.type}  {event.tenant}  {json.dumps(data)}"
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name != "data"}
    return json.dumps({**fields, "data": data}, ensure_ascii=False)
