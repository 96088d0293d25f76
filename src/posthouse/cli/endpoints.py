"""``posthouse endpoints``: where events are delivered to."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from posthouse.cli.endpoint_rules import Unset, health_facts, rule_facts, unset_rules, with_rules
from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, Tenant, print_list
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import count, moment

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="List, create, change, pause, test and delete endpoints."
)

_SECONDS: Final = 30.0  # for an answer
_REORDER_SECONDS: Final = 600.0  # and for one that comes when a million deliveries are in another order

EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT", help="An endpoint's id, ep_….")]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="PATTERN", help="Event type or pattern such as order.*; repeatable.  [default: *]"),
]
Headers = Annotated[
    list[str] | None, typer.Option("--header", metavar="'NAME: VALUE'", help="Header of every request; repeatable.")
]
Description = Annotated[str | None, typer.Option(help="What people should know about it.")]
Retry = Annotated[
    str | None,
    typer.Option(help="Retry schedule: three-weeks, standard-webhooks, none, or custom:5s,1m,2h,1d."),
]
ConnectTimeout = Annotated[int | None, typer.Option(help="Milliseconds until there must be a connection.")]
Timeout = Annotated[int | None, typer.Option(help="Milliseconds that one whole attempt may take.")]


@app.command("list")
@node_command
def list_endpoints(
    session: Session, *, tenant: Tenant = None, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
) -> Exit:
    """List endpoints, oldest first."""
    return print_list(
        session,
        "/v1/endpoints",
        {"tenant": tenant},
        limit=limit,
        cursor=cursor,
        columns=("id", "state", "tenant", "events", "url"),
        row=lambda e: (e["id"], e["state"], e["tenant"], e["events"], e["url"]),
    )


@app.command()
@node_command
@with_rules
def create(
    session: Session,
    target: Annotated[str, typer.Argument(metavar="URL", help="Where to deliver to.")],
    *,
    rules: dict[str, object],
    event: Events = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant that it belongs to.")] = None,
    secret: Annotated[
        str | None, typer.Option(help="Signing secret, whsec_… or whsk_….  [default: a new one is made]")
    ] = None,
    header: Headers = None,
    description: Description = None,
    retry: Retry = None,
    connect_timeout_ms: ConnectTimeout = None,
    timeout_ms: Timeout = None,
    paused: Annotated[bool, typer.Option("--paused", help="Hold its deliveries back until it is resumed.")] = False,
) -> Exit:
    """Create an endpoint. Its secret is shown once."""
    body = _given(
        url=target,
        events=event or ["*"],
        tenant=tenant,
        secret=secret,
        headers=_headers(header),
        description=description,
        retry=retry,
        connect_timeout_ms=connect_timeout_ms,
        timeout_ms=timeout_ms,
    )
    with session.client() as client:
        made = client.post("/v1/endpoints", {**body, **rules, "active": not paused})
    if session.out.as_json:
        session.out.document(made)
        return Exit.OK
    _show(session, made)
    session.out.line(f"secret  {made['secret']}")
    session.out.note("hint: Keep the secret: it is not shown again. The receiver verifies signatures with it.")
    return Exit.OK


@app.command()
@node_command
def show(session: Session, endpoint: EndpointId) -> Exit:
    """Show an endpoint."""
    with session.client() as client:
        return _answer(session, client.get(_path(endpoint)))


@app.command()
@node_command
@with_rules
def update(
    session: Session,
    endpoint: EndpointId,
    *,
    rules: dict[str, object],
    target: Annotated[str | None, typer.Option("--target", metavar="URL", help="Where to deliver to.")] = None,
    event: Events = None,
    header: Headers = None,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Remove all headers.")] = False,
    description: Description = None,
    retry: Retry = None,
    connect_timeout_ms: ConnectTimeout = None,
    timeout_ms: Timeout = None,
    unset: Unset = None,
) -> Exit:
    """Change an endpoint. Lists that are given replace the old ones as a whole.

    With another order the command returns when all that is owed is in line with it; nothing is sent until then.
    """
    body = _given(
        url=target,
        events=event or None,
        headers={} if no_headers else _headers(header),
        description=description,
        retry=retry,
        connect_timeout_ms=connect_timeout_ms,
        timeout_ms=timeout_ms,
    )
    changes = {**body, **rules, **unset_rules(unset, rules)}
    if not changes:
        raise Failure(Exit.USAGE, "usage", "Say what to change.", hint="Try 'posthouse endpoints update --help'.")
    with session.client(timeout_s=_REORDER_SECONDS if "order" in changes else _SECONDS) as client:
        return _answer(session, client.patch(_path(endpoint), changes))


@app.command()
@node_command
def pause(session: Session, endpoint: EndpointId) -> Exit:
    """Hold an endpoint's deliveries back. Nothing is dropped."""
    with session.client() as client:
        return _answer(session, client.post(f"{_path(endpoint)}/pause"))


@app.command()
@node_command
def resume(session: Session, endpoint: EndpointId) -> Exit:
    """Deliver again to an endpoint that was paused or disabled."""
    with session.client() as client:
        return _answer(session, client.post(f"{_path(endpoint)}/resume"))


@app.command()
@node_command
def rotate_secret(
    session: Session,
    endpoint: EndpointId,
    secret: Annotated[
        str | None, typer.Option(help="Signing secret, whsec_… or whsk_….  [default: a new one is made]")
    ] = None,
    overlap_ms: Annotated[
        int | None, typer.Option(help="Milliseconds that the old secret signs too.  [default: a day]")
    ] = None,
) -> Exit:
    """Make a new secret. The old one signs too for a while, so that receivers can change over."""
    with session.client() as client:
        made = client.post(f"{_path(endpoint)}/rotate-secret", _given(secret=secret, overlap_ms=overlap_ms))
    out = session.out
    if out.as_json:
        out.document(made)
        return Exit.OK
    out.line(f"secret  {made['secret']}")
    for old in made["secrets"]:
        if old["expires_at"]:
            out.note(f"The secret of {moment(old['created_at'])} signs too until {moment(old['expires_at'])}.")
    return Exit.OK


@app.command()
@node_command
def test(session: Session, endpoint: EndpointId) -> Exit:
    """Publish a test event to this endpoint alone."""
    with session.client() as client:
        made = client.post(f"{_path(endpoint)}/test")
    if session.out.as_json:
        session.out.document(made)
    else:
        session.out.line(f"{made['id']} is accepted; see what comes of it:")
        session.out.line(f"posthouse deliveries show {made['delivery']}")
    return Exit.OK


@app.command()
@node_command
def delete(
    session: Session,
    endpoint: EndpointId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Exit:
    """Delete an endpoint. Its open deliveries are discarded, with that reason."""
    if not yes:
        _confirm(f"Delete {endpoint} and discard its open deliveries?")
    with session.client() as client:
        gone = client.delete(_path(endpoint))
    if session.out.as_json:
        session.out.document(gone)
    else:
        session.out.line(
            f"{gone['id']} is deleted; {count(gone['discarded'], 'open delivery', 'open deliveries')} discarded."
        )
    return Exit.OK


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise Failure(Exit.USAGE, "usage", "There is nobody to ask.", hint="Add --yes.")
    typer.confirm(question, abort=True, err=True)


def _answer(session: Session, endpoint: dict[str, Any]) -> Exit:
    if session.out.as_json:
        session.out.document(endpoint)
    else:
        _show(session, endpoint)
    return Exit.OK


def _show(session: Session, endpoint: dict[str, Any]) -> None:
    reason = endpoint["state_reason"]
    session.out.facts(
        (
            ("endpoint", endpoint["id"]),
            ("url", endpoint["url"]),
            ("state", f"{endpoint['state']} ({reason})" if reason else endpoint["state"]),
            ("tenant", endpoint["tenant"]),
            ("events", endpoint["events"]),
            ("description", endpoint["description"]),
            ("headers", [f"{name}: {value}" for name, value in endpoint["headers"].items()]),
            ("retry", endpoint["retry"]),
            ("timeouts", f"connect {endpoint['connect_timeout_ms']} ms, whole {endpoint['timeout_ms']} ms"),
            *rule_facts(endpoint),
            *health_facts(endpoint["health"]),
            ("created", moment(endpoint["created_at"])),
            ("updated", moment(endpoint["updated_at"])),
        )
    )


def _given(**fields: object) -> dict[str, object]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def _headers(lines: Sequence[str] | None) -> dict[str, str] | None:
    if not lines:
        return None
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Failure(Exit.USAGE, "usage", f"{line!r} is no header.", hint="Write it as 'NAME: VALUE'.")
        found[name.strip()] = value.strip()
    return found


def _path(endpoint: str) -> str:
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    return f"/v1/endpoints/{segment(endpoint)}"
