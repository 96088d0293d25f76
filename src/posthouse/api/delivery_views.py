"""What the API answers about deliveries and their attempts."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field

from posthouse.api.views import Timestamp, View, time_text
from posthouse.core.envelope import rfc3339
from posthouse.core.ids import ENDPOINT, attempt_id, delivery_id, make_id
from posthouse.core.model import Attempt, Lane
from posthouse.core.waiting import Hold, Wait
from posthouse.gateway.deliveries import DeliveryDetail
from posthouse.store.protocol import DeliveryRecord

Status = Literal["waiting", "retrying", "delivered", "exhausted", "discarded"]


class WaitView(View):
    """What an open delivery waits for."""

    code: Hold
    message: str = Field(description="One sentence: the rule that holds it, and when that changes.")
    until: Timestamp | None = Field(description="When that changes by itself, if it is known.")

    @classmethod
    def of(cls, wait: Wait | None) -> Self | None:
        """The view of ``wait``."""
        return None if wait is None else cls(code=wait.code, message=wait.message, until=time_text(wait.until))


class DeliveryView(View):
    """One event owed to one endpoint."""

    id: str
    event: str
    event_type: str
    endpoint: str
    tenant: str
    status: Status
    lane: Literal["live", "retry", "backlog", "parked"]
    round: int = Field(description="1 at acceptance, one more each time that a settled delivery is retried.")
    attempt_count: int = Field(description="Attempts over all rounds.")
    opened_at: Timestamp
    next_attempt_at: Timestamp | None
    settled_at: Timestamp | None
    reason: str | None = Field(description="Why it is exhausted (`poison`: Posthouse itself failed) or discarded.")
    last_outcome: str | None = Field(
        description="`success`, a class of failure, or `fault` (Posthouse itself failed); null: never attempted."
    )
    last_response_status: int | None
    waits_for: WaitView | None = Field(description="null: it is settled.")

    @classmethod
    def of(cls, record: DeliveryRecord, wait: Wait | None) -> Self:
        """The view of ``record``, which waits for ``wait`` if it is open."""
        return cls.model_validate(_delivery_fields(record, wait))


class TimingsView(View):
    """Microseconds per phase; null for a phase that did not take place."""

    dns_us: int | None
    connect_us: int | None
    tls_us: int | None
    first_byte_us: int | None
    total_us: int


class AttemptView(View):
    """One HTTP request and what came of it."""

    id: str
    number: int
    started_at: Timestamp
    outcome: str = Field(examples=["success", "status", "read_timeout"])
    response_status: int | None
    error: str | None
    peer: str | None
    reused: bool = Field(description="Sent on a connection that was kept alive.")
    timings: TimingsView
    response_headers: str
    response_body: str = Field(description="The first 4 KiB.")
    response_body_encoding: Literal["utf-8", "base64"]

    @classmethod
    def of(cls, record: DeliveryRecord, attempt: Attempt) -> Self:
        """The view of an attempt of the delivery ``record``."""
        body, encoding = _readable(attempt.response_body)
        return cls(
            id=attempt_id(record.event_key, record.endpoint_key, attempt.number),
            number=attempt.number,
            started_at=rfc3339(attempt.started_at),
            outcome=attempt.outcome,
            response_status=attempt.status,
            error=attempt.error,
            peer=attempt.peer,
            reused=attempt.reused,
            timings=TimingsView(
                dns_us=attempt.dns_us,
                connect_us=attempt.connect_us,
                tls_us=attempt.tls_us,
                first_byte_us=attempt.first_byte_us,
                total_us=attempt.total_us,
            ),
            response_headers=attempt.response_headers,
            response_body=body,
            response_body_encoding=encoding,
        )


class DeliveryDetailView(DeliveryView):
    """A delivery with its attempts."""

    attempts: list[AttemptView]

    @classmethod
    def of_detail(cls, detail: DeliveryDetail) -> Self:
        """The view of ``detail``."""
        return cls.model_validate(
            {
                **_delivery_fields(detail.record, detail.waits_for),
                "attempts": [AttemptView.of(detail.record, attempt) for attempt in detail.attempts],
            }
        )


def _delivery_fields(record: DeliveryRecord, wait: Wait | None) -> Mapping[str, object]:
    return {
        "id": delivery_id(record.event_key, record.endpoint_key),
        "event": record.event_id,
        "event_type": record.event_type,
        "endpoint": make_id(ENDPOINT, record.endpoint_key),
        "tenant": record.tenant,
        "status": record.state.value,
        "lane": Lane(record.lane).name.lower(),
        "round": record.round,
        "attempt_count": record.attempts,
        "opened_at": rfc3339(record.opened_at),
        "next_attempt_at": time_text(record.due_at),
        "settled_at": time_text(record.settled_at),
        "reason": record.reason,
        "last_outcome": record.last_outcome,
        "last_response_status": record.last_status,
        "waits_for": WaitView.of(wait),
    }


def _readable(body: bytes) -> tuple[str, Literal["utf-8", "base64"]]:
    """A response body as text, in base64 if it is none. A cut through the last character does not count."""
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return body[: error.start].decode(), "utf-8"
        return b64encode(body).decode(), "base64"
