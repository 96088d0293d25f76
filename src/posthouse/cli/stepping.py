"""Work that a node does step by step: counted first, agreed to, then done, with its progress."""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.session import Session
from posthouse.cli.wording import count

if TYPE_CHECKING:
    from posthouse.sdk.client import Client

STEP: Final = 200  #: entries that one call looks at: some are megabytes large
STEP_SECONDS: Final = 120.0  #: for the answer to one
PLAIN_SECONDS: Final = 5.0  #: between two lines about the progress

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what it would do.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not count first, and do not ask.")]


class Total(NamedTuple):
    """What the steps so far did."""

    examined: int
    changed: int


def in_steps(session: Session, path: str, body: Mapping[str, object], *, did: str, dry_run: bool, yes: bool) -> Exit:
    """POST to ``path`` until nothing is left. Unless ``yes``, count first, and go on if somebody agrees.

    ``did``: what has happened to the entries, as in ``12 entries released``.
    """
    out = session.out
    with session.client(tries=3, timeout_s=STEP_SECONDS) as client:
        if dry_run or not yes:
            total = _walk(client, path, {**body, "dry_run": True}, quiet=out.as_json)
            if dry_run or not total.changed:
                return _tell(session, total, did, dry_run=True)
            _agree(f"{count(total.changed, 'entry', 'entries')} would be {did}. Go on?", total, did)
        return _tell(session, _walk(client, path, body, quiet=out.as_json), did, dry_run=False)


def _walk(client: "Client", path: str, body: Mapping[str, object], *, quiet: bool) -> Total:
    total, cursor = Total(0, 0), None
    said = time.monotonic()
    while True:
        step = client.post(path, {**body, "limit": STEP, **({} if cursor is None else {"cursor": cursor})})
        total = Total(total.examined + step["examined"], total.changed + step["changed"])
        cursor = step["next_cursor"]
        if cursor is None:
            return total
        if not quiet and time.monotonic() - said >= PLAIN_SECONDS:
            said = time.monotonic()
            print(f"{total.examined:,} looked at, {total.changed:,} of them meant", file=sys.stderr, flush=True)


def _agree(question: str, total: Total, did: str) -> None:
    if not sys.stdin.isatty():
        raise Failure(
            Exit.USAGE,
            "usage",
            f"{count(total.changed, 'entry', 'entries')} would be {did}, and there is nobody to ask.",
            hint="Add --yes to do it, or --dry-run to count only.",
        )
    typer.confirm(question, abort=True, err=True)


def _tell(session: Session, total: Total, did: str, *, dry_run: bool) -> Exit:
    document: dict[str, Any] = {"examined": total.examined, "changed": total.changed, "dry_run": dry_run}
    if session.out.as_json:
        session.out.document(document)
    else:
        would = "would be " if dry_run else ""
        entries = count(total.changed, "entry", "entries")
        session.out.line(f"{entries} {would}{did}, of {total.examined:,} looked at.")
    return Exit.OK
