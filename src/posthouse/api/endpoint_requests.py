"""What the API takes to create and to change an endpoint."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import ConfigDict, Field

from posthouse.api.requests import Body
from posthouse.core import limits
from posthouse.core.ids import SOURCE, parse_id
from posthouse.core.publishing import DEFAULT_TENANT
from posthouse.core.rules import DEFAULT_RULES, Batch, Format, Order, Payload
from posthouse.core.success import SUCCESS_DEFAULT
from posthouse.gateway.endpoint_input import RETRY_DEFAULT, EndpointChange, EndpointSpec
from posthouse.gateway.rules_input import defaults_of

_NO_KEY: Final = -1
_NAMED: Final[Mapping[str, Callable[[str], object]]] = {"order": Order, "payload": Payload, "format": Format}
_RETRY: Final = "`three-weeks`, `standard-webhooks`, `none` or `custom:…`."

Rate = Annotated[
    str | None, Field(description="Requests to it at most, such as `100/s`, `70/m`, `1000/h`. null: no limit.")
]
InFlightMax = Annotated[
    int | None, Field(description="Requests on their way to it at once, at most. null: the node's setting.")
]
OrderName = Annotated[
    Literal["none", "fifo", "latest"],
    Field(
        description="Of events with the same `ordering_key`. `fifo`: each after those before it are settled. `latest`: "
        "only the newest; what it supersedes is discarded. `none`: each as soon as it can."
    ),
]
BlockSeconds = Annotated[
    int | None,
    Field(
        description="With `fifo`: seconds of its retry schedule for which a failing event holds back those behind it; "
        f"then it is given up. null: {limits.FIFO_BLOCK_SECONDS_DEFAULT:,}."
    ),
]
PayloadName = Annotated[
    Literal["full", "thin"], Field(description='`thin`: `data` is `{"id": …}` with the event\'s id only.')
]
FormatName = Annotated[
    Literal[
        "standard-webhooks",
        "cloudevents-binary",
        "cloudevents-structured",
        "cloudevents-batch",
        "raw",
        "gocardless",
        "asana",
        "boldpenguin",
        "procore",
    ],
    Field(
        description="In whose shape requests are; with the retries, time-outs, batches and successes of that system "
        "unless the endpoint is created with others."
    ),
]
Success = Annotated[
    str | None,
    Field(description=f"Statuses that count as success, such as `200-299,409`. null: `{SUCCESS_DEFAULT}`."),
]
Sources = Annotated[
    list[str] | None,
    Field(
        description="Ids of sources, `src_…`: it gets what comes in through these and nothing else. "
        "null, or none: from all sources, and what is published."
    ),
]
FilterText = Annotated[
    str | None,
    Field(description="CEL expression; events for which it is false are not delivered. null: no filter."),
]
Transform = Annotated[
    dict[str, Any] | None,
    Field(
        description="What is sent as `data`: an object of field names and CEL expressions; objects nest. "
        "null: the publisher's data."
    ),
]
DisableAfterDays = Annotated[
    int | None, Field(description="Days without one success after which the endpoint is disabled. null: never.")
]


class BatchBody(Body):
    """Several events in one request."""

    max_events: int = Field(description=f"{limits.BATCH_EVENTS_OUT_MIN} to {limits.BATCH_EVENTS_OUT_MAX}.")
    max_wait_ms: int = Field(
        default=limits.BATCH_WAIT_MS_DEFAULT,
        description="A batch that is not full leaves when its oldest event has waited so long.",
    )


class EndpointBody(Body):
    """A new endpoint."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": "https://example.com/hooks", "events": ["*"], "active": True},
                {
                    "url": "https://example.com/hooks/orders",
                    "events": ["order.*", "invoice.paid"],
                    "active": False,
                    "tenant": "acme",
                    "description": "Orders for the warehouse",
                    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
                    "headers": {"Authorization": "Bearer abc"},
                    "retry": "custom:5s,1m,2h,1d",
                    "connect_timeout_ms": 2_000,
                    "timeout_ms": 15_000,
                },
                {
                    "url": "https://example.com/hooks/stock",
                    "rate": "50/s",
                    "in_flight_max": 4,
                    "order": "fifo",
                    "block_seconds": 600,
                    "batch": {"max_events": 100, "max_wait_ms": 500},
                    "success": "200-299,409",
                    "sources": [],
                    "filter": "data.quantity > 0",
                    "transform": {"sku": "data.sku", "left": "data.quantity"},
                    "disable_after_days": 14,
                },
            ]
        }
    )

    url: str
    events: list[str] = Field(default=["*"], description="Event types, prefixes such as `order.*`, or `*`.")
    active: bool = Field(default=True, description="false: deliveries are owed, but held back.")
    tenant: str = Field(default=DEFAULT_TENANT, description="Made if it is new.")
    description: str = ""
    secret: str | None = Field(default=None, description="`whsec_…` or `whsk_…`; one is made if there is none.")
    headers: dict[str, str] = Field(default={}, description="Sent with every request.")
    retry: str = Field(default=RETRY_DEFAULT, description=_RETRY)
    connect_timeout_ms: int = limits.CONNECT_TIMEOUT_MS_MAX
    timeout_ms: int = Field(default=limits.EXCHANGE_TIMEOUT_MS_MAX, description="For the whole exchange.")
    rate: Rate = None
    in_flight_max: InFlightMax = None
    order: OrderName = "none"
    block_seconds: BlockSeconds = None
    payload: PayloadName = "full"
    format: FormatName = "standard-webhooks"
    batch: BatchBody | None = Field(default=None, description="null: one event, one request.")
    success: Success = None
    sources: Sources = None
    filter: FilterText = None
    transform: Transform = None
    disable_after_days: DisableAfterDays = limits.DISABLE_AFTER_DAYS_DEFAULT

    def spec(self) -> EndpointSpec:
        """The same in the gateway's words."""
        given = _fields(self.model_dump())
        usual = defaults_of(given["format"])
        return EndpointSpec(**{**given, **{k: v for k, v in usual.items() if k not in self.model_fields_set}})


def _left_out(default: object, description: str | None = None) -> Any:
    """A field that may be left out; its default is never looked at, so it is not shown either."""
    described: dict[str, Any] = {} if description is None else {"description": description}
    return Field(default, json_schema_extra=_without_default, **described)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class EndpointChangeBody(Body):
    """What is to change about an endpoint; fields that are left out stay."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"events": ["order.*"]},
                {"active": False},
                {"timeout_ms": 10_000},
                {"rate": "10/s", "order": "latest", "filter": None},
            ]
        }
    )

    url: str = _left_out("", "Where to deliver to from now on.")
    events: list[str] = _left_out([])
    active: bool = _left_out(True, "false pauses, true resumes.")  # noqa: FBT003 - a default
    description: str = _left_out("")
    headers: dict[str, str] = _left_out({}, "Replaces all of them.")
    retry: str = _left_out("", _RETRY)
    connect_timeout_ms: int = _left_out(0)
    timeout_ms: int = _left_out(0)
    rate: Rate = _left_out(None)
    in_flight_max: InFlightMax = _left_out(None)
    order: OrderName = _left_out("none")
    block_seconds: BlockSeconds = _left_out(None)
    payload: PayloadName = _left_out("full")
    format: FormatName = _left_out("standard-webhooks", "The other fields stay.")
    batch: BatchBody | None = _left_out(None, "Replaces it as a whole. null: one event, one request.")
    success: Success = _left_out(None)
    sources: Sources = _left_out(None)
    filter: FilterText = _left_out(None)
    transform: Transform = _left_out(None)
    disable_after_days: DisableAfterDays = _left_out(None)

    def change(self) -> EndpointChange:
        """The same in the gateway's words."""
        return EndpointChange(**_fields(self.model_dump(exclude_unset=True)))


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON arrays, objects and names as the values that the gateway holds; null as what it stands for."""
    if "events" in fields:
        fields["events"] = tuple(fields["events"])
    if "headers" in fields:
        fields["headers"] = tuple(fields["headers"].items())
    for name, kind in _NAMED.items():
        if name in fields:
            fields[name] = kind(fields[name])
    if fields.get("batch") is not None:
        fields["batch"] = Batch(**fields["batch"])
    if fields.get("transform") is not None:
        fields["transform"] = msgspec.json.encode(fields["transform"]).decode()
    if fields.get("sources") is not None:
        fields["sources"] = _source_keys(fields["sources"])
    for name in ("block_seconds", "sources", "success"):
        if name in fields and fields[name] is None:
            fields[name] = getattr(DEFAULT_RULES, name)
    return fields


def _source_keys(ids: list[str]) -> tuple[int, ...]:
    """The keys in ids of sources; what is no such id becomes a key that no source has."""
    keys = (parse_id(SOURCE, text) for text in ids)
    return tuple(_NO_KEY if key is None else key for key in keys)
