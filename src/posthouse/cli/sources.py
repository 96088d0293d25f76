"""``posthouse sources``: URLs that take other systems' webhooks."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Tenant, print_list
from posthouse.cli.reading import read_argument, usage
from posthouse.cli.secret_input import SecretFiles, SecretPrompt, Secrets, one_secret, secrets_given
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import byte_count, count, moment
from posthouse.core.inbound import WhilePaused

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="List, create, change, pause and delete sources.")


#: What ``--unset`` takes: fields of the API, with hyphens.
UNSETTABLE: Final = ("body-bytes-max", "fresh-seconds", "heartbeat-seconds", "key-hosts")

SourceId = Annotated[str, typer.Argument(metavar="SOURCE", help="A source's id, src_….")]
Description = Annotated[str | None, typer.Option(help="What people should know about it.")]
FreshSeconds = Annotated[
    int | None, typer.Option(help="An event that is older starts in the backlog lane.  [default: its tenant's rule]")
]
HeartbeatSeconds = Annotated[
    int | None,
    typer.Option(help="Something is expected in this rhythm; 0: nothing is.  [default: the provider's, or as learnt]"),
]
BodyBytesMax = Annotated[int | None, typer.Option(help="Bytes of one request, at most.")]
Paused = Annotated[
    WhilePaused | None,
    typer.Option(
        "--while-paused", help="Of requests to a paused source: hold keeps them, refuse lets them come again."
    ),
]
KeyHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--key-host",
        metavar="HOST",
        help="Host from which its keys may be fetched too, such as *.example.com; repeatable.",
    ),
]
Custom = Annotated[
    str | None,
    typer.Option(metavar="JSON|@FILE|-", help="With --provider custom: what its sender does."),
]


@app.command("list")
@node_command
def list_sources(
    session: Session, *, tenant: Tenant = None, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
) -> Exit:
    """List sources, oldest first."""
    return print_list(
        session,
        "/v1/sources",
        {"tenant": tenant},
        limit=limit,
        cursor=cursor,
        columns=("id", "state", "tenant", "provider", "name", "#secrets", "url"),
        row=lambda s: (s["id"], s["state"], s["tenant"], s["provider"], s["name"], len(s["secrets"]), s["url"]),
    )


@app.command()
@node_command
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    provider: Annotated[str, typer.Option(help="Who sends: a name of 'posthouse providers', or custom.")],
    tenant: Annotated[str | None, typer.Option(help="Tenant whose events they are.")] = None,
    secret: Secrets = None,
    secret_file: SecretFiles = None,
    secret_prompt: SecretPrompt = False,
    description: Description = None,
    fresh_seconds: FreshSeconds = None,
    heartbeat_seconds: HeartbeatSeconds = None,
    body_bytes_max: BodyBytesMax = None,
    while_paused: Paused = None,
    key_host: KeyHosts = None,
    custom: Custom = None,
) -> Exit:
    """Create a source, and show the URL to give to its sender.

    Many senders show their secret only when they know the URL: then set it with 'rotate-secret'.
    """
    body = _given(
        name=name,
        provider=provider,
        tenant=tenant,
        secrets=secrets_given(secret, secret_file, prompt=secret_prompt) or None,
        description=description,
        fresh_seconds=fresh_seconds,
        heartbeat_seconds=heartbeat_seconds,
        body_bytes_max=body_bytes_max,
        while_paused=while_paused,
        key_hosts=key_host or None,
        custom=_declaration(custom),
    )
    with session.client() as client:
        return _answer(session, client.post("/v1/sources", body))


@app.command()
@node_command
def show(session: Session, source: SourceId) -> Exit:
    """Show a source and its URL. Secrets are never shown."""
    with session.client() as client:
        return _answer(session, client.get(_path(source)))


@app.command()
@node_command
def update(
    session: Session,
    source: SourceId,
    *,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    description: Description = None,
    fresh_seconds: FreshSeconds = None,
    heartbeat_seconds: HeartbeatSeconds = None,
    body_bytes_max: BodyBytesMax = None,
    while_paused: Paused = None,
    key_host: KeyHosts = None,
    custom: Custom = None,
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="RULE", help=f"Take a rule away; repeatable. One of: {', '.join(UNSETTABLE)}."),
    ] = None,
) -> Exit:
    """Change a source. Lists that are given replace the old ones as a whole."""
    changes = _given(
        name=name,
        description=description,
        fresh_seconds=fresh_seconds,
        heartbeat_seconds=heartbeat_seconds,
        body_bytes_max=body_bytes_max,
        while_paused=while_paused,
        key_hosts=key_host or None,
        custom=_declaration(custom),
    )
    for rule in unset or ():
        field = rule.replace("-", "_")
        if rule not in UNSETTABLE:
            hint = f"Use one of {', '.join(UNSETTABLE)}."
            raise Failure(Exit.USAGE, "usage", f"{rule!r} cannot be unset.", hint=hint)
        if field in changes:
            raise usage(f"{field} cannot be set and unset at once.")
        changes[field] = None
    if not changes:
        raise Failure(Exit.USAGE, "usage", "Say what to change.", hint="Try 'posthouse sources update --help'.")
    with session.client() as client:
        return _answer(session, client.patch(_path(source), changes))


@app.command()
@node_command
def pause(session: Session, source: SourceId, while_paused: Paused = None) -> Exit:
    """Pass on nothing that comes in. What comes is kept, or refused so that it comes again."""
    with session.client() as client:
        return _answer(session, client.post(f"{_path(source)}/pause", _given(while_paused=while_paused)))


@app.command()
@node_command
def resume(session: Session, source: SourceId) -> Exit:
    """Pass on what comes in, and what was kept meanwhile."""
    with session.client() as client:
        return _answer(session, client.post(f"{_path(source)}/resume"))


@app.command()
@node_command
def rotate_secret(
    session: Session,
    source: SourceId,
    *,
    secret: Annotated[
        str | None,
        typer.Option(metavar="SECRET|-", help="As the provider shows it; - is stdin.  [default: you are asked]"),
    ] = None,
    secret_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File that holds the secret.")] = None,
    overlap_ms: Annotated[
        int | None, typer.Option(help="Milliseconds that the old secrets count too.  [default: a day]")
    ] = None,
) -> Exit:
    """Set another secret, or the first one. The old ones count too for a while, until the sender has changed over."""
    body = _given(secret=one_secret(secret, secret_file), overlap_ms=overlap_ms)
    with session.client() as client:
        _answer(session, client.post(f"{_path(source)}/rotate-secret", body))
    session.out.note(f"hint: 'posthouse reverify {source}' checks what was refused before.")
    return Exit.OK


@app.command()
@node_command
def delete(
    session: Session,
    source: SourceId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Exit:
    """Delete a source: its URL is unknown from now on. What it took is passed on all the same."""
    if not yes:
        confirm(f"Delete {source}, so that its sender calls in vain?")
    with session.client() as client:
        gone = client.delete(_path(source))
    if session.out.as_json:
        session.out.document(gone)
    else:
        session.out.line(f"{gone['id']} is deleted.")
    return Exit.OK


def confirm(question: str) -> None:
    """Go on if somebody at the terminal says yes."""
    if not sys.stdin.isatty():
        raise Failure(Exit.USAGE, "usage", "There is nobody to ask.", hint="Add --yes.")
    typer.confirm(question, abort=True, err=True)


def _answer(session: Session, source: dict[str, Any]) -> Exit:
    if session.out.as_json:
        session.out.document(source)
        return Exit.OK
    session.out.facts(
        (
            ("source", source["id"]),
            ("name", source["name"]),
            ("url", source["url"]),
            ("state", _state(source)),
            ("tenant", source["tenant"]),
            ("provider", source["provider"]),
            ("description", source["description"]),
            ("secrets", _secrets(source["secrets"])),
            ("fresh", _seconds(source["fresh_seconds"])),
            ("heartbeat", _seconds(source["heartbeat_seconds"])),
            ("largest body", byte_count(source["body_bytes_max"])),
            ("key hosts", source["key_hosts"]),
            ("created", moment(source["created_at"])),
            ("updated", moment(source["updated_at"])),
        )
    )
    return Exit.OK


def _state(source: dict[str, Any]) -> str:
    if source["state"] != "paused":
        return str(source["state"])
    return "paused; requests are kept" if source["while_paused"] == "hold" else "paused; requests are refused"


def _secrets(secrets: list[dict[str, Any]]) -> str:
    if not secrets:
        return "none yet"
    ends = [f"one until {moment(secret['expires_at'])}" for secret in secrets if secret["expires_at"]]
    return ", ".join([f"{count(len(secrets), 'secret')} valid", *ends])


def _seconds(value: int | None) -> str | None:
    return None if value is None else f"{value:,} s"


def _declaration(argument: str | None) -> object:
    import json  # noqa: PLC0415 - help must not wait for it

    if argument is None:
        return None
    try:
        document = json.loads(read_argument(argument))
    except ValueError as error:
        raise usage(f"The declaration is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise usage("A declaration is a JSON object.")
    return document


def _given(**fields: object) -> dict[str, object]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def _path(source: str) -> str:
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    return f"/v1/sources/{segment(source)}"
