"""The frozen values that everything else speaks in.

Times are Unix milliseconds (UTC), durations in values carry their unit. Structs are compact and
frozen: what changes is replaced with ``msgspec.structs.replace``.
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from posthouse.core.rules import DEFAULT_RULES, DEFAULT_TENANT_RULES, Rules, TenantRules

SLOTS: int = 256  #: Hash slots of endpoints; fixed when a store is made.


class Environment(StrEnum):
    """Two fully separate worlds in one store, chosen by the API key."""

    LIVE = "live"
    TEST = "test"


class Scope(StrEnum):
    """What an API key may do."""

    ADMIN = "admin"  #: everything in its environment, keys included
    PUBLISH = "publish"  #: publish events, read nothing
    READ = "read"  #: read everything, change nothing


class Lane(IntEnum):
    """Which queue of an endpoint a delivery waits in."""

    LIVE = 0  #: the first attempt of a fresh event
    RETRY = 1  #: later attempts
    BACKLOG = 2  #: old events, and what an operator or a job re-opened
    PARKED = 3  #: put aside by an operator: held until it is drained or promoted


#: The lanes that are sent from; nothing leaves from the parked one.
SENT_LANES: Final = (Lane.LIVE, Lane.RETRY, Lane.BACKLOG)


class EndpointState(StrEnum):
    """Whether an endpoint takes deliveries. What is held is kept, never dropped."""

    ACTIVE = "active"  #: deliveries are attempted
    PAUSED = "paused"  #: an operator holds deliveries back
    DISABLED = "disabled"  #: a rule holds deliveries back (410 Gone, or what is stored cannot be used)
    DELETED = "deleted"  #: gone; its open deliveries were discarded with that reason


class Secret(msgspec.Struct, frozen=True):
    """A signing secret of an endpoint; several are valid while one rotates out."""

    value: str  #: ``whsec_…`` (HMAC) or ``whsk_…`` (ed25519)
    created_at: int
    expires_at: int | None = None  #: None: current

    def is_valid(self, now: int) -> bool:
        """Whether to sign with it at ``now``."""
        return self.expires_at is None or self.expires_at > now


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A URL with the event patterns that it subscribes to."""

    key: int
    environment: Environment
    tenant: str
    url: str
    events: tuple[str, ...] = ("*",)
    state: EndpointState = EndpointState.ACTIVE
    state_reason: str | None = None  #: why it is not active
    description: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    secrets: tuple[Secret, ...] = ()
    retry: str = "three-weeks"  #: a preset's name, or a custom schedule as core.retry writes it
    connect_timeout_ms: int = 5_000
    timeout_ms: int = 60_000
    created_at: int = 0
    updated_at: int = 0
    rules: Rules = DEFAULT_RULES
    revision: int = 0  #: the catalogue's version that its latest change made; 0: the store does not have it yet


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An immutable fact, accepted once."""

    key: int
    id: str  #: the publisher's own id, or ``evt_`` and the key
    environment: Environment
    tenant: str
    type: str
    accepted_at: int
    data: bytes  #: the publisher's JSON, byte for byte
    occurred_at: int | None = None
    ordering_key: str | None = None


class Obligation(msgspec.Struct, frozen=True, gc=False):
    """An open delivery: one event still owed to one endpoint."""

    event_key: int
    endpoint_key: int
    lane: Lane
    due_at: int  #: not attempted before this time
    opened_at: int  #: start of the retry span
    attempts: int = 0  #: attempts of this round so far
    round: int = 1  #: 1 at acceptance, one more each time that an operator re-opens it
    last_number: int = 0  #: number of the latest attempt over all rounds
    #: Its event's ordering key, if the endpoint keeps order. Of those with one key a single one is sent at a time;
    #: the others stand behind it in the store and become due when it is settled.
    ordering_key: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP request and what came of it."""

    number: int  #: from 1, over all rounds
    started_at: int
    outcome: str  #: ``success``, a failure class (transport.protocol.Failure), or core.retry's FAULT or NOT_TAKEN
    status: int | None = None  #: HTTP status, if an answer came
    error: str | None = None  #: one line for people
    peer: str | None = None  #: address and port that was dialled
    dns_us: int | None = None
    connect_us: int | None = None
    tls_us: int | None = None
    first_byte_us: int | None = None
    total_us: int = 0
    reused: bool = False  #: sent on a kept-alive connection
    response_headers: str = ""  #: as received, bounded
    response_body: bytes = b""  #: the first 4 KiB


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key; the secret itself is never stored."""

    key: int
    hash: bytes  #: SHA-256 of the whole key text
    prefix: str  #: the first characters, to recognise it by
    environment: Environment
    scope: Scope
    name: str
    created_at: int
    revoked_at: int | None = None
    revision: int = 0  #: the catalogue's version that its latest change made; 0: the store does not have it yet


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A customer whose endpoints and events belong together."""

    environment: Environment
    id: str
    name: str
    created_at: int
    rules: TenantRules = DEFAULT_TENANT_RULES
    revision: int = 0  #: the catalogue's version that its latest change made; 0: the store does not have it yet


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What must outlive the node of an endpoint that is not well. One that is well has none."""

    endpoint_key: int
    failing_since: int  #: its first failure since its latest success, Unix ms
    opened_at: int | None = None  #: when its breaker opened; None: it answers again and what waited is pulled forward
    probes: int = 0  #: since the breaker opened
    warned: int = 0  #: warnings before it is disabled that were given
    usual_rate: float = 0.0  #: requests a second that it took when it was well; 0: not known


def slot_of(endpoint_key: int) -> int:
    """The hash slot (0..255) of an endpoint, the same for ever (Fibonacci hashing)."""
    return (endpoint_key * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 56
