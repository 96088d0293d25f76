"""The things that the model knows, and how the API should show each of them."""

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from posthouse.testing.histories.health import Health

View = dict[str, Any]

#: Retry schedules by name: the waits between attempts, in seconds.
DELAYS_S: Final = {
    "none": (),
    "custom:5s,1m": (5, 60),
    "custom:1h": (3_600,),
    "three-weeks": tuple(n**4 + 15 for n in range(25)),
}
SPAN_MS: Final = 90 * 86_400_000
RETRY_AFTER_S_MAX: Final = 86_400
HELD_DELAY_S: Final = 60
OPEN: Final = frozenset({"waiting", "retrying"})


def shown_time(ms: int | None) -> str | None:
    """A time as RFC 3339 in UTC with milliseconds."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1_000:03d}Z"


def read_time(text: str | None) -> int | None:
    """Unix ms of what :func:`shown_time` writes."""
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1_000)


@dataclass(slots=True)
class Secret:
    """A signing secret; the value is None until the API has told it."""

    value: str | None
    created_at: int
    expires_at: int | None = None

    def is_valid(self, now: int) -> bool:
        """Whether requests are signed with it."""
        return self.expires_at is None or now < self.expires_at


#: The rules of an endpoint to which nobody gave any.
_NO_RULES: Final[View] = {
    "rate": None,
    "in_flight_max": None,
    "order": "none",
    "block_seconds": None,
    "payload": "full",
    "format": "standard-webhooks",
    "batch": None,
    "success": "200-299",
    "sources": [],
    "filter": None,
    "transform": None,
    "disable_after_days": 30,
}


@dataclass(slots=True)
class Endpoint:
    """An endpoint; ``order`` counts all of them."""

    order: int
    environment: str
    tenant: str
    url: str
    events: list[str]
    retry: str
    created_at: int
    updated_at: int
    secrets: list[Secret]
    state: str = "active"
    reason: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    description: str = ""
    timeout_ms: int = 60_000
    connect_timeout_ms: int = 5_000
    id: str | None = None
    gone: bool = False  #: it answered 410; it will be disabled before the next quiet moment
    health: Health = field(default_factory=Health)

    def disable(self, now: int, reason: str = "gone") -> None:
        """It does not want to be called any more, or does not answer for too long."""
        self.state, self.reason, self.updated_at = "disabled", reason, now

    def resumed(self, before: str, reason: str | None, *, ticket: int) -> None:
        """It is active again; before, it was in another state for that reason. ``ticket``: of the next request."""
        if before == "disabled" and reason in {"gone", "failing"}:
            self.health.forgive()
            self.health.recover(ticket)
        elif before != "active":
            self.health.forgive()

    def takes(self, event_type: str) -> bool:
        """Whether it wants events of this type."""
        return any(
            event_type.startswith(pattern[:-1]) if pattern.endswith("*") else event_type == pattern
            for pattern in self.events
        )

    def view(self, *, reveal: bool = True) -> View:
        """As the API shows it, but for its health, which is of the moment."""
        return {
            "id": self.id,
            "tenant": self.tenant,
            "url": self.url,
            "events": self.events,
            "active": self.state == "active",
            "state": self.state,
            "state_reason": self.reason,
            "description": self.description,
            "headers": self.headers if reveal else dict.fromkeys(self.headers, "***"),
            "retry": self.retry,
            "connect_timeout_ms": self.connect_timeout_ms,
            "timeout_ms": self.timeout_ms,
            **_NO_RULES,
            "secrets": [
                {"created_at": shown_time(s.created_at), "expires_at": shown_time(s.expires_at)} for s in self.secrets
            ],
            "created_at": shown_time(self.created_at),
            "updated_at": shown_time(self.updated_at),
        }


@dataclass(slots=True, frozen=True)
class Item:
    """What a publisher says of an event."""

    type: str
    data: bytes
    tenant: str = "default"
    id: str | None = None
    occurred_at: int | None = None
    ordering_key: str | None = None

    def body(self) -> bytes:
        """As JSON, the data as it is."""
        fields = {"type": self.type, "tenant": self.tenant, "id": self.id, "ordering_key": self.ordering_key}
        fields["occurred_at"] = shown_time(self.occurred_at)
        members = [f'"{name}":"{value}"'.encode() for name, value in fields.items() if value is not None]
        return b"{" + b",".join([*members, b'"data":' + self.data]) + b"}"


@dataclass(slots=True)
class Event:
    """An accepted event; ``order`` counts all of them. ``data`` is None where the node makes it."""

    order: int
    environment: str
    tenant: str
    type: str
    data: bytes | None
    accepted_at: int
    occurred_at: int | None
    ordering_key: str | None
    id: str | None
    owed: list[Endpoint]

    def view(self) -> View:
        """As lists show it."""
        return {
            "id": self.id,
            "type": self.type,
            "tenant": self.tenant,
            "accepted_at": shown_time(self.accepted_at),
            "occurred_at": shown_time(self.occurred_at),
            "ordering_key": self.ordering_key,
            "deliveries": len(self.owed),
        }


@dataclass(slots=True)
class Attempt:
    """One request and how it ended."""

    started_at: int
    outcome: str
    status: int | None


@dataclass(slots=True)
class Delivery:
    """One event owed to one endpoint."""

    event: Event
    endpoint: Endpoint
    opened_at: int
    due: tuple[int, int]  #: due at some time from the first to the last of these; exact once it was seen
    lane: str
    status: str = "waiting"
    round: int = 1
    failures: int = 0  #: of this round
    attempts: list[Attempt] = field(default_factory=list)
    settled_at: int | None = None
    reason: str | None = None
    id: str | None = None
    ticket: int | None = None  #: of the request on its way
    sent: int = 0  #: ticket of the latest request
    past: list["Delivery"] = field(default_factory=list)  #: what it was in this step, before each answer

    @property
    def is_open(self) -> bool:
        """Whether it is still owed."""
        return self.status in OPEN

    def answered(self, attempt: Attempt, *, is_current: bool, spends: bool, now: int, retry_after: str | None) -> None:
        """A request ended. One that began before the delivery was settled or re-opened is only noted.

        ``spends``: if it failed, that is one of the attempts of its schedule.
        """
        self.past.append(copy.copy(self))
        self.attempts = [*self.attempts, attempt]
        if not is_current:
            return
        if attempt.outcome == "success":
            self.settle("delivered", now)
            return
        if not spends:
            self.status = "retrying"
            return
        delays = DELAYS_S[self.endpoint.retry]
        is_spent = self.failures >= len(delays)
        self.failures += 1
        if attempt.status != 410:  # noqa: PLR2004 - Gone is said plainly
            if is_spent:
                self.settle("exhausted", now, "attempts_spent")
                return
            if now - self.opened_at > SPAN_MS:
                self.settle("exhausted", now, "span_spent")
                return
        delay = 1_000 * (HELD_DELAY_S if is_spent else delays[self.failures - 1])
        if retry_after is not None and attempt.status in (429, 503):
            delay = max(delay, 1_000 * min(int(retry_after), RETRY_AFTER_S_MAX))
        self.status, self.lane = "retrying", "retry"
        self.due = (now + delay, now + delay + delay // 10)

    def settle(self, status: str, now: int, reason: str | None = None) -> None:
        """Nothing more is owed."""
        self.status, self.reason, self.settled_at = status, reason, now

    def view(self) -> View:
        """As lists show it; the time of the next attempt is left out."""
        last = self.attempts[-1] if self.attempts else None
        return {
            "id": self.id,
            "event": self.event.id,
            "event_type": self.event.type,
            "endpoint": self.endpoint.id,
            "tenant": self.event.tenant,
            "status": self.status,
            "lane": self.lane,
            "round": self.round,
            "attempt_count": len(self.attempts),
            "opened_at": shown_time(self.opened_at),
            "settled_at": shown_time(self.settled_at),
            "reason": self.reason,
            "last_outcome": last.outcome if last else None,
            "last_response_status": last.status if last else None,
        }


@dataclass(slots=True)
class ApiKey:
    """An API key."""

    order: int
    environment: str
    scope: str
    name: str
    created_at: int
    id: str | None = None
    text: str | None = None
    is_revoked: bool = False

    def view(self) -> View:
        """As the API shows it."""
        return {
            "id": self.id,
            "prefix": None if self.text is None else self.text[: len(f"ph_{self.environment}_xxxx")],
            "environment": self.environment,
            "scope": self.scope,
            "name": self.name,
            "created_at": shown_time(self.created_at),
        }


@dataclass(slots=True)
class Tenant:
    """A tenant."""

    id: str
    name: str
    created_at: int

    def view(self) -> View:
        """As the API shows it."""
        rules = {"weight": 1, "rate": None, "in_flight_max": None, "fresh_seconds": None}
        return {"id": self.id, "name": self.name, **rules, "created_at": shown_time(self.created_at)}
