"""``posthouse publish``: one event from an argument, a file or stdin; or many from a file of NDJSON."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import count

if TYPE_CHECKING:
    from posthouse.cli.bulk import Report

TRIES: Final = 4
BULK_TRIES: Final = 8  #: a minute or two of a node that is busy or restarting

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@node_command
def publish(
    session: Session,
    event_type: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="Event type, such as invoice.paid.")
    ] = None,
    data: Annotated[
        str,
        typer.Argument(
            metavar="[DATA|@FILE|-]", help="The data as JSON, sent byte for byte; @FILE reads a file, - reads stdin."
        ),
    ] = "{}",
    *,
    tenant: Annotated[str | None, typer.Option(help="Tenant of the event.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", help="An id of yours: publishing it again stores nothing twice.")
    ] = None,
    occurred_at: Annotated[str | None, typer.Option(help="When it happened, as RFC 3339.")] = None,
    ordering_key: Annotated[str | None, typer.Option(help="Events that share it belong in order.")] = None,
    ndjson: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help='Publish every line of a file, each {"type": …, "data": …}.'),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="With --ndjson: publish lines that were published before once more.")
    ] = False,
) -> Exit:
    """Publish an event, or a file of them. What is reported as published is durable.

    An interrupted run with --ndjson is mended by running it again: a line without an id gets one made
    from its number and content, so the node recognises the lines that it holds already.
    """
    fields = {
        "type": event_type,
        "tenant": tenant,
        "id": event_id,
        "occurred_at": occurred_at,
        "ordering_key": ordering_key,
    }
    if ndjson is None:
        return _publish_one(session, fields, data, again=again)
    if any(value is not None for value in fields.values()) or data != "{}":
        raise _usage("With --ndjson each line says its own type, data, tenant and id.")
    return _publish_file(session, ndjson, again=again)


def _publish_one(session: Session, fields: dict[str, str | None], data: str, *, again: bool) -> Exit:
    from posthouse.cli.reading import raw_json, read_argument  # noqa: PLC0415 - help must not wait for it
    from posthouse.sdk.client import NewEvent  # noqa: PLC0415

    event_type = fields.pop("type")
    if event_type is None:
        raise _usage("Name the event's type, or a file with --ndjson.")
    if again:
        raise _usage("--again goes with --ndjson.")
    event = NewEvent(type=event_type, data=raw_json(read_argument(data)), **fields)
    with session.client(tries=TRIES) as client:
        published = client.publish(event)
    out = session.out
    if out.as_json:
        out.document({"id": published.id, "deliveries": published.deliveries, "duplicate": published.duplicate})
    elif published.duplicate:
        out.line(f"{published.id} was there already; nothing was stored for it now.")
    else:
        out.line(f"{published.id} is accepted and owed to {count(published.deliveries, 'endpoint')}.")
        if not published.deliveries:
            out.note("hint: No endpoint of its tenant subscribes to this type; see 'posthouse endpoints list'.")
    return Exit.OK


def _publish_file(session: Session, name: str, *, again: bool) -> Exit:
    from posthouse.cli.bulk import Bulk  # noqa: PLC0415 - help must not wait for it
    from posthouse.cli.progress import bulk_progress  # noqa: PLC0415
    from posthouse.cli.reading import open_source  # noqa: PLC0415

    out = session.out
    with open_source(name) as (stream, bytes_total), bulk_progress(bytes_total, quiet=out.as_json) as progress:
        bulk = Bulk(again=again, progress=progress)
        try:
            with session.client(tries=BULK_TRIES) as client:
                bulk.run(client, stream)
        except Failure as failure:
            failure.hint = f"{bulk.report.summary()} Run the same command again to go on. {failure.hint}".rstrip()
            raise
    if out.as_json:
        out.document(bulk.report.document())
    else:
        _say(session, bulk.report)
    return Exit.REFUSED if bulk.report.refused else Exit.OK


def _say(session: Session, report: "Report") -> None:
    session.out.line(report.summary())
    for fault in report.faults:
        session.out.note(f"{fault.where}: {fault.message}")
    if report.refused:
        session.out.note(
            "hint: Nothing of a batch with a bad line is stored. Correct the lines, then run the same command again."
        )
    elif report.duplicates and not report.published:
        session.out.note("hint: To publish the same lines once more on purpose, add --again.")


def _usage(message: str) -> Failure:
    return Failure(Exit.USAGE, "usage", message, hint="Try 'posthouse publish --help'.")
