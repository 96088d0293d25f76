"""``posthouse jobs``: one change to every delivery that a filter selects."""

from typing import Annotated, Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.job_view import eta_of, job_path, make_job, share_of, show_job
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Since, Tenant, Until, print_list, time_option
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import moment
from posthouse.core.delivery import State
from posthouse.core.jobs import JobKind, JobState

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Retry, replay or cancel any number of deliveries at once; watch, pause, resume and cancel such jobs.",
)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, job_….")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what it would do, exactly.")]
Endpoint = Annotated[str | None, typer.Option(help="Only those owed to this endpoint.")]
Source = Annotated[str | None, typer.Option(help="Only those of events that came in through this source.")]
OlderThan = Annotated[
    str | None,
    typer.Option(metavar="AGE", help="Only of events that occurred before: an age such as 5m, 12h, 3d, or a time."),
]
Rate = Annotated[
    str | None, typer.Option(help="Deliveries to change at most, such as 500/s.  [default: as fast as others allow]")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Show its progress until it has ended.")]
NO_RATE = "none"


@app.command()
@node_command
def create(
    session: Session,
    kind: Annotated[JobKind, typer.Argument(help="What to do with each delivery.")],
    *,
    tenant: Tenant = None,
    endpoint: Endpoint = None,
    source: Source = None,
    event: Annotated[str | None, typer.Option(help="Only those of this event.")] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="PATTERN", help="Only of these event types, such as order.*; repeatable."),
    ] = None,
    status: Annotated[list[State] | None, typer.Option(help="Only those that stand so; repeatable.")] = None,
    reason: Annotated[
        list[str] | None, typer.Option(help="Only those given up for this reason, such as attempts_spent; repeatable.")
    ] = None,
    ordering_key: Annotated[str | None, typer.Option(help="Only of events with this ordering key.")] = None,
    since: Since = None,
    until: Until = None,
    older_than: OlderThan = None,
    everything: Annotated[bool, typer.Option("--all", help="Without any condition: every delivery.")] = False,
    latest: Annotated[bool, typer.Option("--latest", help="Of each ordering key only the newest event.")] = False,
    dry_run: DryRun = False,
    rate: Rate = None,
    wait: Wait = True,
) -> Exit:
    """Do one thing to every delivery that meets all conditions. Conditions that are not given leave nothing out."""
    conditions = {
        "tenant": tenant,
        "endpoint": endpoint,
        "source": source,
        "event": event,
        "types": types,
        "states": [state.value for state in status or ()],
        "reasons": reason,
        "ordering_key": ordering_key,
        "since": time_option(since),
        "until": time_option(until),
        "older_than": older_than,
    }
    body = {
        "kind": kind.value,
        "filter": {name: value for name, value in conditions.items() if value not in (None, [])},
        "mode": "latest" if latest else "all",
        "dry_run": dry_run,
        "rate": rate,
        "all": everything,
    }
    return make_job(session, body, wait=wait)


@app.command("list")
@node_command
def list_jobs(
    session: Session,
    *,
    state: Annotated[JobState | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Exit:
    """List jobs, newest first."""

    def row(job: Any) -> tuple[object, ...]:
        kind = f"{job['kind']} (dry run)" if job["dry_run"] else job["kind"]
        left = eta_of(job)
        by = job["trail"][0]["by"]
        created = moment(job["created_at"])
        return job["id"], kind, job["state"], share_of(job), job["done"], job["skipped"], left, created, by

    return print_list(
        session,
        "/v1/jobs",
        {"state": None if state is None else state.value},
        limit=limit,
        cursor=cursor,
        columns=("id", "kind", "state", "#progress", "#done", "#skipped", "ends in", "created", "by"),
        row=row,
    )


@app.command()
@node_command
def get(session: Session, job: JobId) -> Exit:
    """Show a job: how far it is, when it will end, and who decided what."""
    with session.client() as client:
        return _answer(session, client.get(job_path(job)))


@app.command()
@node_command
def pause(session: Session, job: JobId) -> Exit:
    """Hold a job where it is."""
    with session.client() as client:
        return _answer(session, client.post(f"{job_path(job)}/pause"))


@app.command()
@node_command
def resume(session: Session, job: JobId) -> Exit:
    """Let a job go on where it was."""
    with session.client() as client:
        return _answer(session, client.post(f"{job_path(job)}/resume"))


@app.command()
@node_command
def cancel(session: Session, job: JobId) -> Exit:
    """End a job. What it has done stays done."""
    with session.client() as client:
        return _answer(session, client.post(f"{job_path(job)}/cancel"))


@app.command()
@node_command
def rate(
    session: Session,
    job: JobId,
    limit: Annotated[str, typer.Argument(metavar="RATE", help=f"Such as 500/s or 1000/m; '{NO_RATE}' for no limit.")],
) -> Exit:
    """Change how many deliveries a job changes at most, effective at its next step."""
    with session.client() as client:
        return _answer(session, client.patch(job_path(job), {"rate": None if limit == NO_RATE else limit}))


def _answer(session: Session, job: Any) -> Exit:
    if session.out.as_json:
        session.out.document(job)
    else:
        show_job(session, job)
    return Exit.OK
