"""What the API answers about endpoints."""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import msgspec
from pydantic import Field

from posthouse.api.views import Timestamp, View, time_text
from posthouse.core.envelope import rfc3339
from posthouse.core.ids import ENDPOINT, SOURCE, make_id
from posthouse.core.model import Endpoint, EndpointState
from posthouse.core.rules import Order, Rules
from posthouse.core.success import SUCCESS_DEFAULT
from posthouse.gateway.endpoints import Issued
from posthouse.gateway.hints import Condition

HIDDEN: Final = "***"  #: stands for a header value that the caller's scope may not see


class SecretView(View):
    """A signing secret that is valid; its value is shown only when it is made."""

    created_at: Timestamp
    expires_at: Timestamp | None = Field(description="null: the current secret.")


class BatchView(View):
    """Several events in one request."""

    max_events: int
    max_wait_ms: int = Field(description="A batch that is not full leaves when its oldest event has waited so long.")


class HealthView(View):
    """How an endpoint takes what is sent to it, as the node that works for it knows."""

    state: Literal["ok", "failing", "down", "recovering"] = Field(
        description="`failing`: its latest attempts failed. `down`: so many did that only probes are sent. "
        "`recovering`: it answers again, and what waited is sent with a ramp."
    )
    failing_since: Timestamp | None = Field(description="Its first failure since its latest success.")
    next_probe_at: Timestamp | None = Field(description="If it is down.")
    disables_at: Timestamp | None = Field(
        description="When `disable_after_days` disables it, unless it answers before."
    )
    rate_now: float | None = Field(description="Requests a second that it gets at most at present. null: no limit.")
    in_flight: int = Field(description="Requests on their way to it; 0 if another node works for it: that one knows.")
    node: str | None = Field(description="Which node works for it; null: none that lives.")


class EndpointView(View):
    """An endpoint."""

    id: str
    tenant: str
    url: str
    events: list[str]
    active: bool
    state: Literal["active", "paused", "disabled", "deleted"]
    state_reason: str | None
    description: str
    headers: dict[str, str]
    retry: str
    connect_timeout_ms: int
    timeout_ms: int
    rate: str | None = Field(description="Requests to it at most. null: no limit.")
    in_flight_max: int | None = Field(description="Requests on their way to it at once. null: the node's setting.")
    order: Literal["none", "fifo", "latest"]
    block_seconds: int | None = Field(description="null unless the order is `fifo`.")
    payload: Literal["full", "thin"]
    format: str = Field(description="In whose shape requests are.")
    batch: BatchView | None
    success: str = Field(description="Statuses that count as success.")
    sources: list[str] = Field(
        description="It gets what comes in through these and nothing else. Empty: from all, and what is published."
    )
    filter: str | None
    transform: dict[str, Any] | None
    disable_after_days: int | None
    health: HealthView
    secrets: list[SecretView]
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, endpoint: Endpoint, condition: Condition, *, reveal_headers: bool) -> Self:
        """The view of ``endpoint``; header values may hold credentials, so not everybody sees them."""
        return cls.model_validate(_endpoint_fields(endpoint, condition, reveal_headers=reveal_headers))


class EndpointWithSecretView(EndpointView):
    """An endpoint with the secret that was just made for it."""

    secret: str | None = Field(
        description="Shown once. null: a repeat of a request whose secret is no longer valid.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )

    @classmethod
    def issued(cls, issued: Issued, condition: Condition) -> Self:
        """The view of an endpoint and its new secret."""
        fields = _endpoint_fields(issued.endpoint, condition, reveal_headers=True)
        return cls.model_validate({**fields, "secret": issued.secret})


class DeletedEndpointView(View):
    """An endpoint that is gone."""

    id: str
    discarded: int = Field(description="Open deliveries that were discarded by this request.")


def _endpoint_fields(endpoint: Endpoint, condition: Condition, *, reveal_headers: bool) -> Mapping[str, object]:
    return {
        "id": make_id(ENDPOINT, endpoint.key),
        "tenant": endpoint.tenant,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "active": endpoint.state is EndpointState.ACTIVE,
        "state": endpoint.state.value,
        "state_reason": endpoint.state_reason,
        "description": endpoint.description,
        "headers": {name: value if reveal_headers else HIDDEN for name, value in endpoint.headers},
        "retry": endpoint.retry,
        "connect_timeout_ms": endpoint.connect_timeout_ms,
        "timeout_ms": endpoint.timeout_ms,
        **_rules_fields(endpoint.rules),
        "health": _health_fields(condition),
        "secrets": [
            {"created_at": rfc3339(s.created_at), "expires_at": time_text(s.expires_at)} for s in endpoint.secrets
        ],
        "created_at": rfc3339(endpoint.created_at),
        "updated_at": rfc3339(endpoint.updated_at),
    }


def _rules_fields(rules: Rules) -> Mapping[str, object]:
    return {
        "rate": rules.rate,
        "in_flight_max": rules.in_flight_max,
        "order": rules.order.value,
        "block_seconds": rules.block_seconds if rules.order is Order.FIFO else None,
        "payload": rules.payload.value,
        "format": rules.format.value,
        "batch": None if rules.batch is None else msgspec.structs.asdict(rules.batch),
        "success": rules.success or SUCCESS_DEFAULT,
        "sources": [make_id(SOURCE, key) for key in rules.sources],
        "filter": rules.filter,
        "transform": _object(rules.transform),
        "disable_after_days": rules.disable_after_days,
    }


def _object(text: str | None) -> object:
    """The JSON object that a transformation is stored as; None if there is none, or none that can be read."""
    try:
        document = None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return document if isinstance(document, dict) else None


def _health_fields(condition: Condition) -> Mapping[str, object]:
    return {
        "state": condition.state,
        "failing_since": time_text(condition.failing_since),
        "next_probe_at": time_text(condition.next_probe_at),
        "disables_at": time_text(condition.disables_at),
        "rate_now": condition.rate_now,
        "in_flight": condition.in_flight,
        "node": condition.node,
    }
