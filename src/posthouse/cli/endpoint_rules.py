"""The options that set an endpoint's rules, and how rules and health are shown."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, ParamSpec, TypeVar

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.reading import read_argument, usage
from posthouse.cli.session import extend_signature
from posthouse.cli.wording import count, moment
from posthouse.core.rules import Format, Order, Payload
from posthouse.core.success import SUCCESS_DEFAULT

P = ParamSpec("P")
R = TypeVar("R")

#: What ``--unset`` takes: fields of the API, with hyphens.
UNSETTABLE: Final = (
    "batch",
    "block-seconds",
    "disable-after-days",
    "filter",
    "in-flight-max",
    "rate",
    "sources",
    "success",
    "transform",
)
_NEVER: Final = "never"

Unset = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="RULE", help=f"Take a rule away; repeatable. One of: {', '.join(UNSETTABLE)}."),
]

_OPTIONS: Final[Mapping[str, tuple[Any, Any]]] = {
    "rate": (
        Annotated[str | None, typer.Option(help="Requests to it at most, such as 100/s, 70/m or 1000/h.")],
        None,
    ),
    "in_flight_max": (
        Annotated[int | None, typer.Option(help="Requests on their way to it at once, at most.")],
        None,
    ),
    "order": (
        Annotated[
            Order | None,
            typer.Option(
                help="Of events with one ordering key: fifo, each after those before it are settled; "
                "latest, only the newest; none, each as soon as it can."
            ),
        ],
        None,
    ),
    "block_seconds": (
        Annotated[
            int | None,
            typer.Option(help="With --order fifo: for how long a failing event holds back those behind it."),
        ],
        None,
    ),
    "payload": (
        Annotated[Payload | None, typer.Option(help="full sends an event's data; thin sends its id only.")],
        None,
    ),
    "format_": (
        Annotated[Format | None, typer.Option("--format", help="In whose shape requests are.")],
        None,
    ),
    "batch_max_events": (
        Annotated[int | None, typer.Option(help="Send up to so many events in one request.")],
        None,
    ),
    "batch_max_wait_ms": (
        Annotated[
            int | None,
            typer.Option(help="With --batch-max-events: milliseconds that the first event waits for others, at most."),
        ],
        None,
    ),
    "success": (
        Annotated[str | None, typer.Option(help="Statuses that count as success, such as 200-299,409.")],
        None,
    ),
    "source": (
        Annotated[
            list[str] | None,
            typer.Option("--source", metavar="SOURCE", help="Deliver only what comes in through this one; repeatable."),
        ],
        None,
    ),
    "filter_": (
        Annotated[
            str | None,
            typer.Option("--filter", metavar="CEL|@FILE|-", help="Deliver only events for which this is true."),
        ],
        None,
    ),
    "transform": (
        Annotated[
            str | None,
            typer.Option(
                metavar="JSON|@FILE|-", help="Send this object in place of the data; its values are CEL expressions."
            ),
        ],
        None,
    ),
    "disable_after_days": (
        Annotated[
            str | None,
            typer.Option(metavar=f"DAYS|{_NEVER}", help="Disable it after so many days without one success."),
        ],
        None,
    ),
}


def with_rules(run: Callable[P, R]) -> Callable[..., R]:
    """Give a command the options of rules; its parameter ``rules`` gets what they say, in the fields of the API."""

    @functools.wraps(run)
    def command(*args: Any, **options: Any) -> R:
        given = {name: options.pop(name) for name in _OPTIONS}
        return run(*args, **options, rules=_fields(given))  # type: ignore[arg-type]  # its signature is extended below

    extend_signature(command, run, drop=0, extra=_OPTIONS, without="rules")
    return command


def unset_rules(names: Sequence[str] | None, rules: Mapping[str, object]) -> dict[str, None]:
    """The fields that ``--unset`` empties, none of which may be among the ``rules`` that are set."""
    fields = {name.replace("-", "_"): None for name in names or ()}
    for name in names or ():
        if name not in UNSETTABLE:
            hint = f"Use one of {', '.join(UNSETTABLE)}."
            raise Failure(Exit.USAGE, "usage", f"{name!r} cannot be unset.", hint=hint)
    both = sorted(fields.keys() & rules.keys())
    if both:
        raise usage(f"{both[0]} cannot be set and unset at once.")
    return fields


def rule_facts(endpoint: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The rules of an endpoint that are not as usual, for people."""
    yield "rate", endpoint["rate"]
    if endpoint["in_flight_max"] is not None:
        yield "at once", count(endpoint["in_flight_max"], "request")
    if endpoint["order"] == Order.FIFO:
        yield "order", f"fifo; a failing event blocks its ordering key for {endpoint['block_seconds']:,} s"
    elif endpoint["order"] != Order.NONE:
        yield "order", endpoint["order"]
    if endpoint["payload"] != Payload.FULL:
        yield "payload", endpoint["payload"]
    if endpoint["format"] != Format.STANDARD:
        yield "format", endpoint["format"]
    if (batch := endpoint["batch"]) is not None:
        yield "batch", f"up to {batch['max_events']} events, the first waits {batch['max_wait_ms']:,} ms at most"
    if endpoint["success"] != SUCCESS_DEFAULT:
        yield "success", endpoint["success"]
    yield "sources", endpoint["sources"]
    yield "filter", endpoint["filter"]
    if endpoint["transform"] is not None:
        yield "transform", _json(endpoint["transform"])
    days = endpoint["disable_after_days"]
    yield "disabled", _NEVER if days is None else f"after {count(days, 'day')} without a success"


def health_facts(health: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """How an endpoint is, for people."""
    since = health["failing_since"]
    yield "health", health["state"] if since is None else f"{health['state']}, failing since {moment(since)}"
    if health["next_probe_at"] is not None:
        yield "next probe", moment(health["next_probe_at"])
    if health["disables_at"] is not None:
        yield "disables", f"{moment(health['disables_at'])}, unless it answers before"
    if health["rate_now"] is not None:
        yield "rate now", f"{health['rate_now']:.3g}/s at most"
    if health["in_flight"]:
        yield "in flight", health["in_flight"]


def _fields(given: Mapping[str, Any]) -> dict[str, object]:
    """The options that were given, as the API takes them."""
    fields = {name: value for name, value in given.items() if value is not None}
    events, wait = fields.pop("batch_max_events", None), fields.pop("batch_max_wait_ms", None)
    if events is not None:
        fields["batch"] = {"max_events": events} if wait is None else {"max_events": events, "max_wait_ms": wait}
    elif wait is not None:
        raise usage("--batch-max-wait-ms belongs to --batch-max-events.")
    if sources := fields.pop("source", None):
        fields["sources"] = sources
    if "format_" in fields:
        fields["format"] = fields.pop("format_")
    if "filter_" in fields:
        fields["filter"] = _text(fields.pop("filter_"))
    if "transform" in fields:
        fields["transform"] = _object(fields["transform"])
    if "disable_after_days" in fields:
        fields["disable_after_days"] = _days(fields["disable_after_days"])
    return fields


def _text(argument: str) -> str:
    try:
        return read_argument(argument).decode().strip()
    except UnicodeDecodeError as error:
        raise usage("The filter is not UTF-8.") from error


def _object(argument: str) -> object:
    import json  # noqa: PLC0415 - help must not wait for it

    try:
        document = json.loads(read_argument(argument))
    except ValueError as error:
        raise usage(f"The transformation is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise usage("A transformation is a JSON object of field names and CEL expressions.")
    return document


def _days(text: str) -> int | None:
    if text == _NEVER:
        return None
    if not text.isascii() or not text.isdigit():
        raise usage(f"--disable-after-days takes a number of days, or {_NEVER}.")
    return int(text)


def _json(document: object) -> str:
    import json  # noqa: PLC0415 - help must not wait for it

    return json.dumps(document, ensure_ascii=False)
