"""What the routes of the feed take."""

from pydantic import ConfigDict, Field

from posthouse.api.requests import Body, Query
from posthouse.core import limits

_TYPES = Field(default=None, description="Patterns as endpoints have them, with commas between.", examples=["order.*"])


class ConsumerQuery(Query):
    """Which events count."""

    tenant: str | None = None
    types: str | None = _TYPES


class FeedParameters(Query):
    """Which events, and from where on."""

    cursor: str | None = Field(
        default=None, description="`next_cursor` of a page, the `cursor` of an event, `start` or `end`."
    )
    consumer: str | None = Field(default=None, description="Go on behind what this consumer acknowledged.")
    tenant: str | None = None
    types: str | None = _TYPES
    limit: int = Field(
        default=limits.FEED_EVENTS_DEFAULT,
        ge=1,
        le=limits.FEED_EVENTS_MAX,
        description="How many events a page has at most.",
    )
    wait: int = Field(
        default=0,
        ge=0,
        le=limits.FEED_WAIT_SECONDS_MAX,
        description="How many seconds to wait for an event if there is none.",
    )


class ConsumerBody(Body):
    """Up to where everything is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"cursor": "end"}, {"cursor": "start", "back": True}]})

    cursor: str = Field(description="`next_cursor` of a page, the `cursor` of an event, `start` or `end`.")
    back: bool = Field(default=False, description="Also if the consumer acknowledged more already.")
