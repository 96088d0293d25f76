"""``posthouse quarantine``: what came in and is not passed on."""

from typing import Annotated, Any, NamedTuple

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Tenant, print_list
from posthouse.cli.reading import usage
from posthouse.cli.session import Session, node_command
from posthouse.cli.stepping import DryRun, Yes, in_steps
from posthouse.cli.wording import moment
from posthouse.core.inbound import Objection

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="List, show, release and discard what came in and is not passed on.",
)

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ENTRY...]", help="Ids of entries, qua_….  [default: those that the options mean]"),
]
Source = Annotated[str | None, typer.Option(help="Only what came in through this source.")]
Objections = Annotated[
    list[Objection] | None, typer.Option("--objection", help="Only what this is said against; repeatable.")
]


@app.command("list")
@node_command
def list_quarantine(
    session: Session,
    *,
    source: Source = None,
    tenant: Tenant = None,
    objection: Annotated[Objection | None, typer.Option(help="Only what this is said against.")] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="What left quarantine instead.")] = False,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
) -> Exit:
    """List what is in quarantine, newest first."""
    return print_list(
        session,
        "/v1/quarantine",
        {
            "source": source,
            "tenant": tenant,
            "objection": None if objection is None else objection.value,
            "resolved": "true" if resolved else None,
        },
        limit=limit,
        cursor=cursor,
        columns=("id", "source", "objection", "type", "since", "resolution" if resolved else "detail"),
        row=lambda q: (
            q["id"],
            q["source"],
            q["objection"],
            q["type"],
            moment(q["since"]),
            q["resolution"] if resolved else q["detail"],
        ),
    )


@app.command()
@node_command
def show(
    session: Session, entry: Annotated[str, typer.Argument(metavar="ENTRY", help="An entry's id, qua_….")]
) -> Exit:
    """Show an entry of the quarantine, also one that left it."""
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    with session.client() as client:
        found: dict[str, Any] = client.get(f"/v1/quarantine/{segment(entry)}")
    out = session.out
    if out.as_json:
        out.document(found)
        return Exit.OK
    out.facts(
        (
            ("entry", found["id"]),
            ("source", found["source"]),
            ("tenant", found["tenant"]),
            ("objection", found["objection"]),
            ("detail", found["detail"]),
            ("event", None if found["position"] is None else f"number {found['position']} of its request"),
            ("type", found["type"]),
            ("since", moment(found["since"])),
            ("sender", "was told that it is taken" if found["acknowledged"] else "was told that it is refused"),
            ("resolution", found["resolution"]),
            ("resolved", None if found["resolved_at"] is None else moment(found["resolved_at"])),
        )
    )
    out.note(f"hint: posthouse requests show {found['request']}")
    return Exit.OK


@app.command()
@node_command
def release(
    session: Session,
    entries: Ids = None,
    *,
    source: Source = None,
    objection: Objections = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> Exit:
    """Pass on what is in quarantine, whatever is said against it: these entries, or all that the options mean."""
    wanted = _Wanted(entries or [], source, objection or [])
    return _resolve(session, "release", "released", wanted, dry_run=dry_run, yes=yes)


@app.command()
@node_command
def discard(
    session: Session,
    entries: Ids = None,
    *,
    source: Source = None,
    objection: Objections = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> Exit:
    """Give up what is in quarantine: these entries, or all that the options mean. It stays listed as resolved."""
    wanted = _Wanted(entries or [], source, objection or [])
    return _resolve(session, "discard", "discarded", wanted, dry_run=dry_run, yes=yes)


class _Wanted(NamedTuple):
    """Which entries are meant: these very ones, or all that have something in common."""

    entries: list[str]
    source: str | None
    objections: list[Objection]


def _resolve(session: Session, verb: str, did: str, wanted: _Wanted, *, dry_run: bool, yes: bool) -> Exit:
    path = f"/v1/quarantine/{verb}"
    by_what = wanted.source is not None or bool(wanted.objections)
    if wanted.entries and by_what:
        raise usage("Name entries, or what they have in common, not both.")
    if wanted.entries:
        return _resolve_each(session, path, did, wanted.entries, dry_run=dry_run)
    if not by_what:
        hint = "Name their ids, --source or --objection."
        raise Failure(Exit.USAGE, "usage", "Say which entries are meant.", hint=hint)
    body: dict[str, object] = {"objections": [objection.value for objection in wanted.objections]}
    if wanted.source is not None:
        body["source"] = wanted.source
    return in_steps(session, path, body, did=did, dry_run=dry_run, yes=yes)


def _resolve_each(session: Session, path: str, did: str, entries: list[str], *, dry_run: bool) -> Exit:
    """Entries that are not in quarantine make the command fail; the others are done all the same."""
    with session.client() as client:
        step = client.post(path, {"ids": entries, "dry_run": dry_run})
    missing = step["examined"] - step["changed"]
    if session.out.as_json:
        session.out.document({"examined": step["examined"], "changed": step["changed"], "dry_run": dry_run})
    else:
        session.out.line(f"{step['changed']:,} of {step['examined']:,} {'would be ' if dry_run else ''}{did}.")
    if missing:
        session.out.note(
            "hint: The others are not in quarantine; 'posthouse quarantine list --resolved' may show them."
        )
    return Exit.NOT_FOUND if missing else Exit.OK
