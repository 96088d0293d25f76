"""What the routes of the feed answer."""

from typing import Literal, Self

from pydantic import Field

from posthouse.api.feed_answers import cursor_of
from posthouse.api.views import Timestamp, View
from posthouse.core.envelope import rfc3339
from posthouse.gateway.feed import ConsumerState
from posthouse.store.protocol import FeedConsumer, FeedGone


class FeedEventView(View):
    """An event on the feed."""

    id: str
    type: str
    tenant: str
    accepted_at: Timestamp
    occurred_at: Timestamp | None
    ordering_key: str | None
    cursor: str = Field(description="The position behind this event.")
    data: object = Field(description="The publisher's JSON, byte for byte.")


class FeedPageView(View):
    """Events in the order of their commits."""

    data: list[FeedEventView]
    next_cursor: str = Field(description="The position behind all that was looked at; always there.")
    more: bool = Field(description="True: ask again at once. A page may be empty nevertheless.")


class ConsumerView(View):
    """Who reads the feed by a name."""

    name: str
    cursor: str = Field(description="Everything up to here is acknowledged.")
    created_at: Timestamp
    acknowledged_at: Timestamp

    @classmethod
    def of(cls, consumer: FeedConsumer) -> Self:
        """The view of ``consumer``."""
        return cls.model_validate(_fields(consumer))


class ConsumerStateView(ConsumerView):
    """A consumer, and how far it is behind."""

    state: Literal["reading", "expired", "unknown"] = Field(
        description="`expired`: events that it has not acknowledged are not kept any more. `unknown`: its position is "
        "of a time that a failover or a restore took back."
    )
    lag: int | None = Field(description="Events that it has not acknowledged; null if its position is gone.")
    lag_is_exact: bool = Field(description="False: there are more than were counted.")
    oldest_at: Timestamp | None = Field(description="When the first of them was accepted.")

    @classmethod
    def of_state(cls, found: ConsumerState) -> Self:
        """The view of ``found``."""
        fields = _fields(found.consumer)
        if isinstance(found.lag, FeedGone):
            lost = {"state": found.lag.reason.value, "lag": None, "lag_is_exact": False, "oldest_at": None}
            return cls.model_validate({**fields, **lost})
        lag = found.lag
        oldest = None if lag.oldest_at is None else rfc3339(lag.oldest_at)
        counted = {"state": "reading", "lag": lag.events, "lag_is_exact": lag.is_exact, "oldest_at": oldest}
        return cls.model_validate({**fields, **counted})


def _fields(consumer: FeedConsumer) -> dict[str, object]:
    return {
        "name": consumer.name,
        "cursor": cursor_of(consumer.position),
        "created_at": rfc3339(consumer.created_at),
        "acknowledged_at": rfc3339(consumer.acknowledged_at),
    }
