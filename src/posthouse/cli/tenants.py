"""``posthouse tenants``: whose endpoints and events the node keeps, and the rules that hold for all of these."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.listing import LIMIT_DEFAULT, Cursor, Limit, print_list
from posthouse.cli.reading import usage
from posthouse.cli.session import Session, node_command
from posthouse.cli.wording import moment

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="List, create and change tenants.")

#: What ``--unset`` takes: fields of the API, with hyphens.
UNSETTABLE: Final = ("fresh-seconds", "in-flight-max", "rate", "weight")

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")]
Weight = Annotated[int | None, typer.Option(help="Its share of a busy node, against the weights of the others.")]
Rate = Annotated[
    str | None, typer.Option(help="Requests to all its endpoints together at most, such as 100/s or 5000/d.")
]
InFlightMax = Annotated[int | None, typer.Option(help="Requests on their way to all its endpoints at once, at most.")]
FreshSeconds = Annotated[int | None, typer.Option(help="An event that is older starts in the backlog lane.")]


@app.command("list")
@node_command
def list_tenants(session: Session, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None) -> Exit:
    """List tenants by id."""
    return print_list(
        session,
        "/v1/tenants",
        {},
        limit=limit,
        cursor=cursor,
        columns=("id", "name", "#weight", "rate", "created"),
        row=lambda t: (t["id"], t["name"], t["weight"], t["rate"], moment(t["created_at"])),
    )


@app.command()
@node_command
def create(
    session: Session,
    tenant: TenantId,
    *,
    name: Annotated[str | None, typer.Option(help="What people call it.  [default: its id]")] = None,
    weight: Weight = None,
    rate: Rate = None,
    in_flight_max: InFlightMax = None,
    fresh_seconds: FreshSeconds = None,
) -> Exit:
    """Create a tenant. One that an event or endpoint names first is created by that."""
    rules = _given(weight=weight, rate=rate, in_flight_max=in_flight_max, fresh_seconds=fresh_seconds)
    with session.client() as client:
        made = client.post("/v1/tenants", {"id": tenant, "name": name or tenant, **rules})
    if session.out.as_json:
        session.out.document(made)
    else:
        session.out.line(f"{made['id']} ({made['name']}) is there.")
    return Exit.OK


@app.command()
@node_command
def show(session: Session, tenant: TenantId) -> Exit:
    """Show a tenant and its rules."""
    with session.client() as client:
        return _answer(session, client.get(_path(tenant)))


@app.command()
@node_command
def update(
    session: Session,
    tenant: TenantId,
    *,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    weight: Weight = None,
    rate: Rate = None,
    in_flight_max: InFlightMax = None,
    fresh_seconds: FreshSeconds = None,
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="RULE", help=f"Take a rule away; repeatable. One of: {', '.join(UNSETTABLE)}."),
    ] = None,
) -> Exit:
    """Change a tenant. Its rules hold at once, for what waits already too."""
    given = _given(name=name, weight=weight, rate=rate, in_flight_max=in_flight_max, fresh_seconds=fresh_seconds)
    emptied = _unset(unset or ())
    both = sorted(given.keys() & emptied.keys())
    if both:
        raise usage(f"{both[0]} cannot be set and unset at once.")
    body = {**given, **emptied}
    if not body:
        raise Failure(Exit.USAGE, "usage", "Say what to change.", hint="Try 'posthouse tenants update --help'.")
    with session.client() as client:
        return _answer(session, client.patch(_path(tenant), body))


def _unset(names: Sequence[str]) -> dict[str, None]:
    for name in names:
        if name not in UNSETTABLE:
            hint = f"Use one of {', '.join(UNSETTABLE)}."
            raise Failure(Exit.USAGE, "usage", f"{name!r} cannot be unset.", hint=hint)
    return {name.replace("-", "_"): None for name in names}


def _given(**fields: object) -> dict[str, object]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def _answer(session: Session, tenant: dict[str, Any]) -> Exit:
    if session.out.as_json:
        session.out.document(tenant)
        return Exit.OK
    session.out.facts(
        (
            ("tenant", tenant["id"]),
            ("name", tenant["name"]),
            ("weight", tenant["weight"]),
            ("rate", tenant["rate"]),
            ("in flight max", tenant["in_flight_max"]),
            ("fresh seconds", tenant["fresh_seconds"]),
            ("created", moment(tenant["created_at"])),
        )
    )
    return Exit.OK


def _path(tenant: str) -> str:
    from posthouse.sdk.client import segment  # noqa: PLC0415 - help must not wait for it

    return f"/v1/tenants/{segment(tenant)}"
