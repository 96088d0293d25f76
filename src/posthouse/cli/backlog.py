"""``posthouse backlog``: what waits, and moving it out of the way, back, or ahead. Each move is a bulk job."""

from collections.abc import Mapping
from typing import Annotated, Final

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.job_view import make_job
from posthouse.cli.jobs import DryRun, Endpoint, OlderThan, Rate, Source, Wait
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Tenant, print_list
from posthouse.cli.session import Session, node_command
from posthouse.core.limits import FRESH_SECONDS_DEFAULT

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Count deliveries that wait; park, drain or promote them. Nothing is dropped.",
)

BACKLOG_AGE: Final = f"{FRESH_SECONDS_DEFAULT // 60}m"  #: what is older is backlog, unless a rule says otherwise


@app.command()
@node_command
def show(
    session: Session,
    *,
    tenant: Tenant = None,
    endpoint: Annotated[str | None, typer.Option(help="Only what is owed to this endpoint.")] = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Exit:
    """Count what waits, by endpoint and lane. Endpoints for which nothing waits are left out."""
    lanes = ("live", "retry", "backlog", "parked", "behind")
    return print_list(
        session,
        "/v1/backlog",
        {"tenant": tenant, "endpoint": endpoint},
        limit=limit,
        cursor=cursor,
        columns=("endpoint", "tenant", "state", *(f"#{lane}" for lane in lanes)),
        row=lambda found: (found["endpoint"], found["tenant"], found["state"], *(found[lane] for lane in lanes)),
    )


@app.command()
@node_command
def park(
    session: Session,
    *,
    tenant: Tenant = None,
    endpoint: Endpoint = None,
    source: Source = None,
    older_than: OlderThan = BACKLOG_AGE,
    dry_run: DryRun = False,
    rate: Rate = None,
    wait: Wait = True,
) -> Exit:
    """Put waiting deliveries aside, so that fresh ones have the way to themselves. 'drain' brings them back."""
    conditions = {"tenant": tenant, "endpoint": endpoint, "source": source, "older_than": older_than}
    return _move(session, "park", conditions, dry_run=dry_run, rate=rate, wait=wait)


@app.command()
@node_command
def drain(
    session: Session,
    *,
    tenant: Tenant = None,
    endpoint: Endpoint = None,
    source: Source = None,
    older_than: OlderThan = None,
    dry_run: DryRun = False,
    rate: Rate = None,
    wait: Wait = True,
) -> Exit:
    """Let parked deliveries go on: all of them, or those that the options name. They keep their due times."""
    conditions = {"tenant": tenant, "endpoint": endpoint, "source": source, "older_than": older_than}
    nothing = all(value is None for value in conditions.values())
    return _move(session, "drain", conditions, dry_run=dry_run, rate=rate, wait=wait, everything=nothing)


@app.command()
@node_command
def promote(
    session: Session,
    *,
    tenant: Tenant = None,
    endpoint: Endpoint = None,
    source: Source = None,
    older_than: OlderThan = None,
    everything: Annotated[bool, typer.Option("--all", help="Without any condition: every waiting delivery.")] = False,
    dry_run: DryRun = False,
    rate: Rate = None,
    wait: Wait = True,
) -> Exit:
    """Send waiting deliveries now, as if they were fresh; parked ones and those that wait for a retry too."""
    conditions = {"tenant": tenant, "endpoint": endpoint, "source": source, "older_than": older_than}
    return _move(session, "promote", conditions, dry_run=dry_run, rate=rate, wait=wait, everything=everything)


def _move(
    session: Session,
    kind: str,
    conditions: Mapping[str, str | None],
    *,
    dry_run: bool,
    rate: str | None,
    wait: bool,
    everything: bool = False,
) -> Exit:
    body = {
        "kind": kind,
        "filter": {name: value for name, value in conditions.items() if value is not None},
        "dry_run": dry_run,
        "rate": rate,
        "all": everything,
    }
    return make_job(session, body, wait=wait)
