"""Bulk jobs on a screen: made, followed to their end, and told about."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from posthouse.cli.exits import Exit
from posthouse.cli.session import Session
from posthouse.cli.wording import count, duration, moment

if TYPE_CHECKING:
    from posthouse.sdk.client import Client

POLL_SECONDS: Final = 0.5  #: between two looks at a job
PLAIN_SECONDS: Final = 5.0  #: between two lines where there is no terminal

Job = Mapping[str, Any]

#: Kind → what it did to deliveries, and what a dry run says it would do.
_DID: Final = {
    "retry": "retried",
    "replay": "replayed",
    "cancel": "cancelled",
    "park": "parked",
    "drain": "drained",
    "promote": "promoted",
}
_ENDED: Final = frozenset({"completed", "cancelled", "failed"})


def job_path(job: str) -> str:
    """The path of a job."""
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    return f"/v1/jobs/{segment(job)}"


def make_job(session: Session, body: Mapping[str, object], *, wait: bool) -> Exit:
    """Create a job, follow it to its end if that is wanted, and tell what became of it."""
    out = session.out
    with session.client(tries=3) as client:
        job = client.post("/v1/jobs", body)
        if wait:
            try:
                job = _follow(client, job, quiet=out.as_json)
            except KeyboardInterrupt:
                out.note(f"{job['id']} goes on by itself; see 'posthouse jobs get {job['id']}'.")
                raise
    if out.as_json:
        out.document(job)
    elif job["state"] in _ENDED:
        out.line(ending_of(job))
    else:
        out.line(f"{job['id']} is {job['state']}; see how far it is:")
        out.line(f"posthouse jobs get {job['id']}")
    return Exit.OK if not wait or job["state"] == "completed" else Exit.FAILED


def ending_of(job: Job) -> str:
    """One sentence about a job that has ended."""
    done = count(job["done"], "delivery", "deliveries")
    did = f"would be {_DID[job['kind']]}" if job["dry_run"] else _DID[job["kind"]]
    text = f"{job['id']} {job['state']}: {done} {did}, {job['skipped']:,} skipped"
    if job["total"] is not None:
        text += f", of {job['total']:,}"
    return f"{text}. {job['error']}" if job["error"] else f"{text}."


def share_of(job: Job) -> str:
    """How much of a job is done, in a few characters."""
    share = job["progress"]["share"]
    return "-" if share is None else f"{share:.0%}"


def eta_of(job: Job) -> str | None:
    """How long a job will still take; None if nobody knows."""
    eta = job["progress"]["eta_seconds"]
    return None if eta is None else duration(eta)


def show_job(session: Session, job: Job) -> None:
    """Everything about one job."""
    progress, wanted = job["progress"], job["filter"]
    speed = progress["per_second"]
    out = session.out
    out.facts(
        (
            ("job", job["id"]),
            ("kind", f"{job['kind']} (dry run)" if job["dry_run"] else job["kind"]),
            ("state", job["state"]),
            ("error", job["error"]),
            ("filter", {name: value for name, value in wanted.items() if value} or "every delivery"),
            ("mode", job["mode"]),
            ("rate", job["rate"]),
            ("total", job["total"]),
            ("counted", job["counted"] if job["total"] is None else None),
            ("done", job["done"]),
            ("skipped", job["skipped"]),
            ("progress", share_of(job)),
            ("speed", None if speed is None else f"{speed:,.0f}/s"),
            ("ends in", eta_of(job)),
            ("created", moment(job["created_at"])),
            ("finished", None if job["finished_at"] is None else moment(job["finished_at"])),
        )
    )
    for entry in job["trail"]:
        out.line(f"  {moment(entry['at'])}  {entry['what']}  by {entry['by']}")


def _follow(client: "Client", job: Job, *, quiet: bool) -> Job:
    """Look at a job until it has ended, or somebody has paused it."""
    with _progress(quiet=quiet) as tell:
        while job["state"] == "running":
            tell(job)
            time.sleep(POLL_SECONDS)
            job = client.get(job_path(job["id"]))
    return job


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Job], None]]:
    """What to call with a job each time that it was looked at. Writes to stderr only."""
    if quiet:
        yield lambda _job: None
    elif sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield _PlainProgress()


@contextmanager
def _bar() -> Iterator[Callable[[Job], None]]:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("ETA {task.fields[eta]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("counting", total=None, speed="", eta="-")

        def tell(job: Job) -> None:
            speed = job["progress"]["per_second"]
            progress.update(
                task,
                description=_counts(job),
                total=None if job["total"] is None else max(job["total"], 1),
                completed=job["progress"]["processed"],
                speed="" if speed is None else f"{speed:,.0f}/s",
                eta=eta_of(job) or "-",
            )

        yield tell


class _PlainProgress:
    """One line every few seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, job: Job) -> None:
        now = time.monotonic()
        if now - self._said < PLAIN_SECONDS:
            return
        self._said = now
        speed, eta = job["progress"]["per_second"], eta_of(job)
        parts = [_counts(job), None if speed is None else f"{speed:,.0f}/s", None if eta is None else f"ends in {eta}"]
        print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)


def _counts(job: Job) -> str:
    processed = job["progress"]["processed"]
    if job["total"] is None:
        return f"{count(processed, 'delivery', 'deliveries')} counted"
    return f"{processed:,} of {count(job['total'], 'delivery', 'deliveries')}"
