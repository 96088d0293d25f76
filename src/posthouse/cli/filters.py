"""``posthouse filters``: trying filters and transformations before an endpoint has them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.reading import read_argument, usage
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import count, moment
from posthouse.core.limits import FILTER_TEST_EVENTS_MAX

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Try a filter or a transformation on events that are there."
)


@app.callback()
def _filters() -> None:
    """Try a filter or a transformation on events that are there."""


@app.command("test")
@node_command
def try_filter(
    session: Session,
    filter_: Annotated[
        str | None,
        typer.Argument(metavar="[CEL|@FILE|-]", help="The filter.  [default: that of --endpoint]", show_default=False),
    ] = None,
    *,
    transform: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The transformation: JSON, field names and CEL expressions; - is stdin."),
    ] = None,
    last: Annotated[
        int, typer.Option(min=1, max=FILTER_TEST_EVENTS_MAX, help="On how many of the newest events that fit.")
    ] = 100,
    endpoint: Annotated[
        str | None, typer.Option(help="Take filter, transformation, patterns and tenant of this endpoint.")
    ] = None,
    event_type: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="PATTERN", help="Only events of this type or pattern; repeatable."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's events.")] = None,
) -> Exit:
    """Evaluate a filter over the newest events, newest first. Nothing is stored or sent."""
    body: dict[str, object] = {"limit": last, "types": event_type or []}
    if filter_ is not None:
        body["filter"] = _text(filter_)
    if transform is not None:
        body["transform"] = _object(transform)
    if endpoint is not None:
        body["endpoint_id"] = endpoint
    if tenant is not None:
        body["tenant"] = tenant
    with session.client() as client:
        found = client.post("/v1/filters/test", body)
    out = session.out
    if out.as_json:
        out.document(found)
        return Exit.OK
    if found["data"]:
        columns = ("id", "type", "tenant", "accepted", "outcome", "data or reason")
        out.table(columns, (_row(item) for item in found["data"]))
        out.line()
    failed = count(found["errors"], "error")
    out.line(f"{count(found['matched'], 'event')} matched, {found['not_matched']:,} did not, {failed}.")
    if found["errors"]:
        out.note("hint: Where a filter or a transformation fails, the delivery is exhausted with that reason.")
    return Exit.OK


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    said = item["reason"] or item["data"] or ""
    return (
        item["id"],
        item["type"],
        item["tenant"],
        moment(item["accepted_at"]),
        item["outcome"].replace("_", " "),
        f"{said}…" if item["data_is_cut"] else said,
    )


def _text(argument: str) -> str:
    try:
        return read_argument(argument).decode().strip()
    except UnicodeDecodeError as error:
        raise usage("The filter is not UTF-8.") from error


def _object(source: Path) -> object:
    import json  # noqa: PLC0415 - help must not wait for it

    try:
        return json.loads(read_argument("-" if str(source) == "-" else f"@{source}"))
    except ValueError as error:
        raise usage(f"{source} is not valid JSON: {error}.") from error
