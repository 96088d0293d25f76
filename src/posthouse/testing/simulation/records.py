"""What the outside saw: requests and answers of clients, requests at receivers, faults. Checkers see nothing else.

All times are seconds of the loop's virtual time.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from posthouse.core.rules import DEFAULT_RULES, Rules
from posthouse.testing.simulation.database.failover import Failover
from posthouse.testing.simulation.plan import JobPlan, Mood, SourcePlan, SourceVerb


class Outcome(StrEnum):
    """What a client knows of a request."""

    PENDING = "pending"  #: nothing yet
    DONE = "done"  #: answered 2xx
    REFUSED = "refused"  #: answered; nothing was done
    UNKNOWN = "unknown"  #: no answer, or one that says nothing: it may have been done
    UNSENT = "unsent"  #: it never left


@dataclass(slots=True, eq=False)
class Call:
    """One request to the API, and its answer."""

    method: str
    path: str
    sent_at: float
    body: bytes = b""
    key: str | None = None  #: Idempotency-Key
    patience: float = 0.0  #: seconds after which the client gave it up
    ended_at: float | None = None
    outcome: Outcome = Outcome.PENDING
    status: int | None = None
    code: str | None = None  #: of the problem
    answer: Any = None  #: decoded JSON
    node: int = 0  #: that was asked

    @property
    def may_have_worked(self) -> bool:
        """Whether it was done, or may have been."""
        return self.outcome in {Outcome.DONE, Outcome.UNKNOWN, Outcome.PENDING}


@dataclass(slots=True, eq=False)
class Publication:
    """One event as its publisher means it, however often it was sent."""

    nonce: int  #: in its data; no two have the same
    tenant: str
    type: str
    data: bytes
    id: str | None
    named: bool  #: an id or an Idempotency-Key makes repeats recognisable
    occurred_ms: int | None
    calls: list[Call] = field(default_factory=list)
    positions: list[int | None] = field(default_factory=list)  #: in the batch of each call
    forbidden: bool = False  #: it must be refused: its identity stands for another event, or it is malformed
    ordering_key: str | None = None

    def answers(self) -> list[tuple[Call, dict[str, Any]]]:
        """The calls that were answered 2xx, with what the answer says of this event."""
        found = []
        for call, position in zip(self.calls, self.positions, strict=True):
            if call.outcome is Outcome.DONE:
                found.append((call, call.answer if position is None else call.answer["events"][position]))
        return found


class Change(StrEnum):
    """What a request about an endpoint changes."""

    CREATE = "create"
    SUBSCRIBE = "subscribe"
    STATE = "state"
    ROTATE = "rotate"
    DELETE = "delete"
    ORDER = "order"
    RATE = "rate"
    OTHER = "other"


@dataclass(slots=True, eq=False)
class EndpointCall:
    """A request that changes an endpoint."""

    change: Change
    value: Any  #: patterns, state, (secret, overlap in ms), order or rate
    call: Call


@dataclass(slots=True, eq=False)
class SecretRecord:
    """A signing secret as its operator knows it."""

    value: str
    since: float  #: not used before; loop time
    sure_at: float | None = None  #: surely the newest from then on, until another is asked for
    until_ms: int | None = None  #: surely expired when the wall clock shows this …
    until_asked_at: float = 0.0  #: … and it is later than this


@dataclass(slots=True, eq=False)
class EndpointRecord:
    """An endpoint as its operators know it."""

    number: int
    host: int
    tenant: str
    timeout_ms: int
    retry: str
    id: str | None = None
    key: int | None = None
    calls: list[EndpointCall] = field(default_factory=list)
    secrets: list[SecretRecord] = field(default_factory=list)
    secrets_complete: bool = True  #: False: one was made whose value no answer told
    rules: Rules = DEFAULT_RULES  #: as it was created


@dataclass(slots=True, eq=False)
class DeliveryCall:
    """An operator's request about one delivery."""

    verb: str
    delivery: tuple[int, int]
    call: Call


@dataclass(slots=True, eq=False)
class TenantCall:
    """An operator's request about the rules of a tenant: all of those that have a value, or None."""

    tenant: str
    rules: dict[str, Any]
    call: Call


@dataclass(slots=True, eq=False)
class JobRecord:
    """A bulk job as its operators know it."""

    plan: JobPlan
    calls: list[Call] = field(default_factory=list)  #: that create it
    cancels: list[Call] = field(default_factory=list)
    id: str | None = None

    @property
    def may_work(self) -> bool:
        """Whether it may have changed anything."""
        return not self.plan.dry_run and any(call.may_have_worked for call in self.calls)


@dataclass(frozen=True, slots=True)
class Meant:
    """One event of a request as its sender means it, worked out by another hand than the presets'."""

    type: str
    data: bytes
    identity: str  #: two events of a source are the same if theirs are
    window_ms: int  #: for so long
    occurred_ms: int | None = None
    ordering_key: str | None = None
    contradicts: bool = False  #: its type cannot be right


@dataclass(slots=True, eq=False)
class Letter:
    """A request as its sender means it, however often it was posted: each time with the same bytes."""

    source: int
    query: str  #: behind the URL of the source, with the question mark
    headers: tuple[tuple[str, str], ...]
    body: bytes  #: no two letters have the same
    items: tuple[Meant, ...] = ()
    secret: str = ""  #: by which it is signed
    forged: bool = False  #: by somebody who knows no secret of the source
    readable: bool = True
    beat: bool = False  #: it says only that its sender is alive
    posts: list[Call] = field(default_factory=list)  #: DONE: acknowledged, in the code of its sender


@dataclass(slots=True, eq=False)
class SourceCall:
    """A request that changes a source, or what of it is in quarantine."""

    verb: SourceVerb
    call: Call
    entries: frozenset[tuple[int, int]] = frozenset()  #: request key and position of what it names


@dataclass(slots=True, eq=False)
class SourceRecord:
    """A source as its operators and its sender know it."""

    plan: SourcePlan
    accepted: int  #: the code by which its sender is told that a request is taken
    id: str | None = None
    key: int | None = None
    path: str = ""  #: of its URL
    secrets: list[SecretRecord] = field(default_factory=list)
    calls: list[SourceCall] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    @property
    def secret(self) -> str:
        """By which the sender signs now."""
        return max(self.secrets, key=lambda known: known.since).value


@dataclass(slots=True, eq=False)
class Received:
    """One request as a receiver got it, whole."""

    endpoint: int  #: number, by the path
    host: int  #: number of the receiver
    life: int  #: of the node that opened the connection
    connection: int
    at: float
    event_id: str
    stamp: int  #: webhook-timestamp
    headers: dict[str, str]
    body: bytes
    mood: Mood
    status: int | None = None
    answered_at: float | None = None  #: when the whole answer was written
    succeeded: bool = False  #: the whole answer was a 2xx
    ended_at: float | None = None  #: when the connection was gone
    unasked_at: float | None = None  #: when an answer that nobody asked for was written behind this one's
    hung_up: bool = False  #: by the receiver itself
    torn: bool = False  #: the connection ended in another way than by a close of the other side
    event_ids: tuple[str, ...] = ()  #: of the events in it; several only in a batch
    not_taken: frozenset[str] = frozenset()  #: those of them that the answer names as failed


@dataclass(slots=True, eq=False)
class Life:
    """One process of a node."""

    number: int
    began_at: float
    node: int = 0
    ready_at: float | None = None
    stopping_at: float | None = None
    ended_at: float | None = None
    how: str = ""  #: kill, power, failed, refused, stopped


@dataclass(slots=True, eq=False)
class Trouble:
    """A fault, from when to when."""

    kind: str  #: wire, disk, freeze, rival, step
    at: float
    until: float = float("inf")
    detail: str = ""
    host: int | None = None

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether it was there at any time between two others."""
        return self.at <= end and self.until >= begin


@dataclass(slots=True, eq=False)
class Reign:
    """A rival that held slots, and what the store held of them when it took and when it left them."""

    slots: frozenset[int]
    at: float
    life: int
    until: float | None = None
    lease_until: int | None = None  #: Unix ms; whoever finds the lease over by the wall clock may take the slots
    lease_over_at: float = 0.0  #: when the node's lease was surely over, by true time and by the node's own reckoning
    before: frozenset[tuple[int, int, int]] = frozenset()  #: attempts of its endpoints: event, endpoint, number
    after: frozenset[tuple[int, int, int]] | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A slot changed hands, as the rows say; also because a failover forgot that it had."""

    at: float
    slot: int
    before: str | None  #: names of nodes
    after: str | None
    epoch: int
    given_up: bool  #: by the one who had it


@dataclass(slots=True, eq=False)
class Sample:
    """What the node said of itself at ``GET /metrics``."""

    at: float
    life: int
    values: dict[str, float]


@dataclass(slots=True, eq=False, order=False)
class Finding:
    """A law that was broken."""

    law: str
    message: str
    at: float | None = None

    def __str__(self) -> str:
        when = "" if self.at is None else f" at {self.at:.3f} s"
        return f"{self.law}{when}: {self.message}"


@dataclass(slots=True, eq=False)
class FeedPageRecord:
    """A page of the feed that a reader got, and went on behind."""

    sent_at: float
    ended_at: float
    events: list[tuple[str, str]]  #: tenant and id of each
    more: bool  #: False: nothing was behind it


class Records:
    """Everything that was seen in one history."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.publications: list[Publication] = []
        self.endpoints: list[EndpointRecord] = []
        self.delivery_calls: list[DeliveryCall] = []
        self.tenant_calls: list[TenantCall] = []
        self.jobs: list[JobRecord] = []
        self.sources: list[SourceRecord] = []
        self.received: list[Received] = []
        self.feed: list[FeedPageRecord] = []
        self.lives: list[Life] = []
        self.troubles: list[Trouble] = []
        self.reigns: list[Reign] = []
        self.failovers: list[Failover] = []
        self.joins: list[tuple[float, int, str]] = []  #: to a database: when, which life, and which of its connections
        self.moves: list[Move] = []
        self.names: dict[str, int] = {}  #: of nodes on the register; whose life each is
        self.samples: list[Sample] = []
        self.findings: list[Finding] = []
        self.log: list[tuple[float, int, str, str]] = []  #: time, life, name, detail
        self.timeline: list[tuple[float, str]] = []
        self.counts: Counter[str] = Counter()
        self.held: frozenset[int] = frozenset()  #: endpoints that stay held or dead at the end

    def note(self, at: float, text: str) -> None:
        """Add a line to the timeline of faults."""
        self.timeline.append((at, text))

    def find(self, law: str, message: str, at: float | None = None) -> None:
        """A law was broken."""
        self.findings.append(Finding(law, message, at))
