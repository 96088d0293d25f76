"""``posthouse requests``: what senders have sent to sources."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Tenant, print_list, time_option
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import byte_count, count, moment
from posthouse.core.inbound import Verdict

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="List requests to sources, and show one byte for byte."
)

Source = Annotated[str | None, typer.Option(help="Only those of this source.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Received at or after: an RFC 3339 time, or an age such as 15m, 2h.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Received before: as for --since.")]


@app.command("list")
@node_command
def list_requests(
    session: Session,
    *,
    source: Source = None,
    tenant: Tenant = None,
    verdict: Annotated[Verdict | None, typer.Option(help="Only those about whose sender this was found out.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Exit:
    """List requests, newest first."""
    query = {
        "source": source,
        "tenant": tenant,
        "verdict": None if verdict is None else verdict.value,
        "since": time_option(since),
        "until": time_option(until),
    }
    return print_list(
        session,
        "/v1/requests",
        query,
        limit=limit,
        cursor=cursor,
        columns=("id", "source", "received", "verdict", "#answer", "size", "what became of it"),
        row=lambda r: (
            r["id"],
            r["source"],
            moment(r["received_at"]),
            r["verdict"],
            r["status"],
            byte_count(r["body_bytes"]),
            became(r),
        ),
    )


@app.command()
@node_command
def show(
    session: Session, request: Annotated[str, typer.Argument(metavar="REQUEST", help="A request's id, req_….")]
) -> Exit:
    """Show a request as it came, and the events that were found in it. Credentials in headers are hidden."""
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    with session.client() as client:
        found = client.get(f"/v1/requests/{segment(request)}")
    out = session.out
    if out.as_json:
        out.document(found)
        return Exit.OK
    out.facts(
        (
            ("request", found["id"]),
            ("source", found["source"]),
            ("received", moment(found["received_at"])),
            ("verdict", found["verdict"]),
            ("answered", found["status"]),
            ("sender's id", found["delivery"]),
            ("state", became(found)),
            ("events", [_event(event) for event in found["found"]]),
        )
    )
    out.line()
    out.line(f"{found['method']} {found['url']}")
    for header in found["headers"]:
        out.line(f"{header['name']}: {header['value']}")
    out.line()
    out.line(_body(found))
    return Exit.OK


def became(request: Mapping[str, Any]) -> str:
    """What became of a request, in a few words."""
    said = []
    if request["waiting"]:
        said.append("waits in the inbox")
    if request["is_heartbeat"]:
        said.append("heartbeat")
    if request["events"]:
        said.append(count(request["events"], "event"))
    if request["duplicates"]:
        said.append(count(request["duplicates"], "repetition"))
    if request["quarantined"]:
        said.append(f"{request['quarantined']:,} in quarantine")
    return ", ".join(said) or "nothing in it"


def _event(event: dict[str, Any]) -> str:
    return f"{event['event']} (came before)" if event["duplicate"] else str(event["event"])


def _body(request: dict[str, Any]) -> str:
    if request["body"] is not None:
        return str(request["body"])
    size = byte_count(len(b64decode(request["body_base64"])))
    return f"({size} that are no text; --json has them in base64)"
