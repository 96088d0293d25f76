"""What the management API takes: one model per request. Unknown fields are refused, types are exact."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from posthouse.core import limits
from posthouse.core.envelope import parse_rfc3339
from posthouse.core.errors import InvalidInput

Limit = Annotated[int, Field(ge=1, le=limits.PAGE_ITEMS_MAX, description="How many items a page has.", examples=[50])]
Time = Annotated[
    str | None,
    Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, with an offset."),
]
Status = Literal["waiting", "retrying", "delivered", "exhausted", "discarded"]


class Body(BaseModel):
    """A JSON body."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Query(BaseModel):
    """Query parameters; unknown ones are refused, because a mistyped filter would show too much."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PageQuery(Query):
    """Which page of a list."""

    limit: Limit = limits.PAGE_ITEMS_DEFAULT
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")


class EndpointsQuery(PageQuery):
    """Which endpoints."""

    tenant: str | None = None


class EventsQuery(PageQuery):
    """Which events."""

    source: str | None = Field(default=None, description="Id of a source: events that came in through it.")
    tenant: str | None = None
    type: str | None = Field(default=None, description="One event type, exactly.")
    since: Time = None
    until: Time = None


class DeliveriesQuery(PageQuery):
    """Which deliveries."""

    status: Status | None = None
    endpoint: str | None = Field(default=None, description="Id of an endpoint.")
    tenant: str | None = None
    event: str | None = Field(default=None, description="Id of an event.")
    since: Time = Field(default=None, description="Of events that were accepted at or after this time.")
    until: Time = Field(default=None, description="Of events that were accepted before this time.")


class TenantQuery(Query):
    """Whose."""

    tenant: str | None = None


class RotateSecretBody(Body):
    """How to rotate a secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"overlap_ms": 3_600_000}]})

    secret: str | None = Field(default=None, description="The new secret; one is made if there is none.")
    overlap_ms: int = Field(
        default=limits.SECRET_OVERLAP_MS_DEFAULT,
        ge=0,
        le=limits.SECRET_OVERLAP_MS_MAX,
        description="How long the secrets before it stay valid.",
    )


class KeyBody(Body):
    """A new API key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "shop backend", "scope": "publish"}, {"name": "CI", "environment": "test"}]
        }
    )

    name: str
    scope: Literal["admin", "publish", "read"] = "admin"
    environment: Literal["live", "test"] | None = Field(default=None, description="By default that of the caller.")


class PublishBody(BaseModel):
    """An event to publish. Documentation only: the hot route reads it without a model."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"type": "order.created", "data": {"order": 4711, "total": "12.50"}},
                {
                    "type": "invoice.paid",
                    "data": {"invoice": "in_1"},
                    "tenant": "acme",
                    "id": "invoice-1-paid",
                    "occurred_at": "2026-11-22T08:30:00Z",
                    "ordering_key": "invoice-1",
                },
            ]
        },
    )

    type: str = Field(max_length=limits.EVENT_TYPE_CHARS_MAX, pattern=r"^[A-Za-z0-9_.:/-]+$")
    data: Any = Field(description="Any JSON; delivered byte for byte.")
    tenant: str | None = Field(default=None, max_length=limits.TENANT_CHARS_MAX)
    id: str | None = Field(
        default=None,
        max_length=limits.EVENT_ID_CHARS_MAX,
        pattern=r"^[A-Za-z0-9_:/@+=~-]+$",
        description="Your own id of the event; a repeat with the same id stores nothing.",
    )
    occurred_at: Time = None
    ordering_key: str | None = Field(default=None, max_length=limits.ORDERING_KEY_CHARS_MAX)


class PublishBatchBody(BaseModel):
    """Events to publish in one transaction: all of them, or none. Documentation only, like the above."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {"type": "order.created", "data": {"order": 4711}},
                        {"type": "order.created", "data": {"order": 4712}},
                    ]
                }
            ]
        },
    )

    events: list[PublishBody] = Field(min_length=1, max_length=limits.BATCH_EVENTS_MAX)


def time_of(path: str, text: str | None) -> int | None:
    """The Unix milliseconds of a time in the query parameter ``path``. Raises InvalidInput."""
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except InvalidInput as error:
        raise InvalidInput.at(path, "timestamp", error.message, hint=error.advice) from error
