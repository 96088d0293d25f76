"""What happens in one simulated history, before it happens: one number in, one value out.

A plan is pure data. Everything that it leaves open (which event, how long an answer takes) is drawn
while the history runs, from generators that the same number seeds.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from random import Random
from typing import Final

from posthouse.core.failpoints import OF_DATABASES, Failpoint
from posthouse.core.jobs import JobKind, JobMode
from posthouse.core.rules import DEFAULT_RULES, Rules, TenantRules
from posthouse.testing.disk import Call, DiskError, FileKind
from posthouse.testing.simulation.database.plans import DatabaseFault

API_PORT: Final = 8400
HOOK_PORT: Final = 8080
KEY_HOST: Final = "na.myconnectwise.net"  #: where the keys of one sender stand
KEY_ADDRESS: Final = "203.0.116.1"
KEY_PORT: Final = 80


def api_address(node: int) -> str:
    """Where a node listens."""
    return f"203.0.115.{node + 1}"


#: Failpoints of histories with sources, of a first start, of a stop, of a long log; and those that a history comes to
#: all the time.
RECEIVING: Final = tuple(point for point in Failpoint if point.startswith(("receive.", "inbox.")))
MIGRATING: Final = tuple(point for point in Failpoint if point.startswith("migrate."))
STOPPING: Final = (Failpoint.LEASE_RELEASING, Failpoint.LEASE_RELEASED)
CHECKPOINTING: Final = tuple(point for point in Failpoint if point.startswith("checkpoint."))
RUNNING: Final = tuple(
    point for point in Failpoint if point not in {*RECEIVING, *MIGRATING, *STOPPING, *CHECKPOINTING, *OF_DATABASES}
)


class Mood(StrEnum):
    """How a receiver answers while it is in it, or how some of its answers are."""

    FINE = "fine"  #: 200, quickly
    EMPTY = "empty"  #: 204
    CHUNKED = "chunked"  #: 200 in chunks
    INTERIM = "interim"  #: 100 and 103 before the 200
    SLOW = "slow"  #: 200, close to the limit
    LATE = "late"  #: 200, after the limit
    ERROR = "error"  #: 500 or 503
    BUSY = "busy"  #: 429 with Retry-After
    ELSEWHERE = "elsewhere"  #: 302
    GONE = "gone"  #: 410
    HANG = "hang"  #: takes the request, says nothing
    SLAM = "slam"  #: resets before it has read anything
    DROP = "drop"  #: resets after it has read everything
    CUT_HEAD = "cut_head"  #: closes in the middle of the headers
    CUT_BODY = "cut_body"  #: closes in the middle of the body of a 200
    DRIP = "drip"  #: 200, byte by byte, longer than the limit
    HUGE = "huge"  #: 200 with more body than is read
    GARBAGE = "garbage"  #: no HTTP
    ONCE = "once"  #: 200, then closes the connection that it promised to keep
    TWICE = "twice"  #: 200, and at once or later another answer that nobody asked for
    DEAF = "deaf"  #: 200, and nothing more on that connection: half-open
    PICKY = "picky"  #: 422 if one of the events is of a kind that it does not like, else 200
    PARTIAL = "partial"  #: 200, and of a batch it names those that it did not take


#: Moods in which an answer is success, quickly; nothing that a healthy receiver would not do.
GOOD: Final = (Mood.FINE, Mood.EMPTY, Mood.CHUNKED, Mood.INTERIM)
BAD: Final = tuple(mood for mood in Mood if mood not in {*GOOD, Mood.GONE, Mood.PICKY, Mood.PARTIAL})


@dataclass(frozen=True, slots=True)
class Phase:
    """From ``at`` on, this share of the requests is answered so; the rest well."""

    at: float
    mood: Mood
    share: float


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A receiver: one address, one name."""

    number: int
    name: str
    address: str
    phases: tuple[Phase, ...]
    dead: bool  #: its last phase never ends, not even when everything heals

    @property
    def faulty(self) -> bool:
        """Whether it ever answers in another way than well."""
        return bool(self.phases)


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """An endpoint that an operator creates."""

    number: int
    host: int
    by_address: bool  #: its URL holds the address and not the name
    tenant: str
    events: tuple[str, ...]
    retry: str
    timeout_ms: int
    connect_timeout_ms: int
    own_secret: bool  #: the operator brings the secret
    born_at: float
    managed: bool  #: operators change it later
    rules: Rules = DEFAULT_RULES

    def url(self, host: HostPlan) -> str:
        """Where it leads."""
        return f"http://{host.address if self.by_address else host.name}:{HOOK_PORT}/hook/{self.number}"


@dataclass(frozen=True, slots=True)
class PublisherPlan:
    """A client that publishes."""

    number: int
    tenant: str
    pause: float  #: seconds between two requests, on average
    batch_share: float
    batch_max: int
    named_share: float  #: events with an id of their own, or requests with an Idempotency-Key
    odd_share: float  #: requests that must be refused, and repeats of what was acknowledged
    data_bytes: int  #: of filler in an event, at most
    patience: float  #: seconds after which it gives a request up
    ordering_keys: int = 0  #: so many that its events share
    keyed_share: float = 0.0  #: events with one of them


class Verb(StrEnum):
    """What an operator does."""

    PAUSE = "pause"
    RESUME = "resume"
    SUBSCRIBE = "subscribe"
    LIMIT = "limit"
    ROTATE = "rotate"
    DELETE = "delete"
    TEST = "test"
    RETRY = "retry"
    CANCEL = "cancel"
    LOOK = "look"
    AUDIT = "audit"
    ORDER = "order"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class Act:
    """Something that an operator does, to one endpoint if it is about one."""

    at: float
    verb: Verb
    endpoint: int


@dataclass(frozen=True, slots=True)
class TenantPlan:
    """From ``at`` on a tenant has these rules."""

    at: float
    tenant: str
    rules: TenantRules


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A bulk job that an operator starts, and what is decided about it later."""

    number: int
    at: float
    kind: JobKind
    endpoint: int | None  #: its deliveries only
    tenant: str | None  #: its deliveries only
    states: tuple[str, ...]
    mode: JobMode
    dry_run: bool
    rate: str | None
    paused_for: float | None  #: seconds, soon after its start; None: it is not paused
    cancelled_after: float | None  #: seconds after its start


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """A source that an operator creates, and the sender that posts to it."""

    number: int
    provider: str
    tenant: str
    pause: float  #: seconds between two requests, on average
    batch_max: int  #: events of one request, where its sender puts several into one
    repeat_share: float  #: requests or events that come once more, although they were taken
    forged_share: float  #: requests of somebody else
    odd_share: float  #: requests that cannot be read, or with an event whose type cannot be right
    refuses: bool  #: while it is paused, what comes is refused; else it is held
    burst: int = 0  #: requests that come at once in the middle, more than a node holds in memory


class SourceVerb(StrEnum):
    """What an operator does about a source."""

    PAUSE = "pause"
    RESUME = "resume"
    ROTATE = "rotate"
    RELEASE = "release"
    DISCARD = "discard"
    REVERIFY = "reverify"


@dataclass(frozen=True, slots=True)
class SourceAct:
    """Something that an operator does about a source."""

    at: float
    verb: SourceVerb
    source: int


@dataclass(frozen=True, slots=True)
class KeyFault:
    """The host with the keys gives none for a while."""

    at: float
    seconds: float
    hangs: bool  #: it says nothing; else it answers with an error


@dataclass(frozen=True, slots=True)
class DedupeLoss:
    """What recognises repetitions of what came in is lost, which the store survives: it is only a copy."""

    at: float
    drops: bool  #: the table itself is gone; else what is in it


class Wire(StrEnum):
    """What is wrong with the network."""

    SLOW = "slow"  #: every byte takes longer
    LOSSY = "lossy"  #: bytes come late, because they were sent again
    RESETS = "resets"  #: connections break
    REFUSED = "refused"  #: one address takes no connection
    BLACK_HOLE = "black_hole"  #: one address swallows everything
    NO_NAME = "no_name"  #: one name cannot be looked up
    SLOW_NAME = "slow_name"  #: looking one name up takes long
    CRUMBS = "crumbs"  #: everything comes in small pieces


@dataclass(frozen=True, slots=True)
class WireFault:
    """The network is worse for a while."""

    at: float
    seconds: float
    wire: Wire
    host: int | None  #: for those of one address or name; None: the node's API


class Plate(StrEnum):
    """What is wrong with the disk."""

    CALL = "call"  #: a call fails
    FULL = "full"  #: nothing can grow for a while
    SLOW = "slow"  #: syncs take long for a while


@dataclass(frozen=True, slots=True)
class DiskFault:
    """The disk is worse for a while, or for one call."""

    at: float
    plate: Plate
    seconds: float = 0.0
    call: Call = Call.WRITE
    file: FileKind | None = None
    error: DiskError = DiskError.IO
    nth: int = 1


class Trigger(StrEnum):
    """What a crash waits for."""

    TIME = "time"
    FAILPOINT = "failpoint"  #: the n-th time that it is reached
    DISK = "disk"  #: the n-th side (before, after) of a call of the disk
    START = "start"  #: the same, counted from the next start


@dataclass(frozen=True, slots=True)
class CrashPlan:
    """The end of a life, from ``at`` on as soon as its trigger is met."""

    at: float
    power: bool  #: the machine loses power; else only the process dies
    trigger: Trigger
    nth: int = 1
    point: Failpoint | None = None
    pause: float = 0.5  #: seconds until the next start
    node: int = 0


@dataclass(frozen=True, slots=True)
class FreezePlan:
    """The process stands still, as after SIGSTOP, or goes on (``seconds`` 0); a rival may take its slots."""

    at: float
    seconds: float
    rival: bool
    patient: bool  #: the rival waits until the leases have run out
    slots: int  #: how many of the 256 it takes
    holds: float  #: seconds that it keeps them
    releases: bool  #: it gives them back; else its lease runs out
    slow: bool = False  #: the disk is slow when the process goes on, so that it cannot soon find out what happened
    node: int = 0


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The wall clock steps."""

    at: float
    ms: int


@dataclass(frozen=True, slots=True)
class StopPlan:
    """SIGTERM, and a start after a while."""

    at: float
    pause: float
    node: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """One history."""

    seed: int
    profile: str
    seconds: float  #: then everything heals
    in_flight_max: int
    in_flight_per_endpoint: int
    commit_interval_ms: int
    drain_seconds: float
    hosts: tuple[HostPlan, ...]
    endpoints: tuple[EndpointPlan, ...]
    publishers: tuple[PublisherPlan, ...]
    flood: int = 0  #: events that are published at once while an endpoint is held
    burst: int = 0  #: events that nobody wants, published at once
    acts: tuple[Act, ...] = ()
    wire_faults: tuple[WireFault, ...] = ()
    disk_faults: tuple[DiskFault, ...] = ()
    crashes: tuple[CrashPlan, ...] = ()
    freezes: tuple[FreezePlan, ...] = ()
    steps: tuple[StepPlan, ...] = ()
    stops: tuple[StopPlan, ...] = ()
    tenants: tuple[TenantPlan, ...] = ()
    jobs: tuple[JobPlan, ...] = ()
    sources: tuple[SourcePlan, ...] = ()
    source_acts: tuple[SourceAct, ...] = ()
    key_faults: tuple[KeyFault, ...] = ()
    dedupe_losses: tuple[DedupeLoss, ...] = ()
    reads_feed: bool = False  #: somebody reads the feed all the while
    database_faults: tuple[DatabaseFault, ...] = ()
    nodes: int = 0  #: on one database; 0: a single one, whose store is embedded
    outage: float = 0.0  #: seconds between the end of what is published and the healing, in which nothing else happens

    def describe(self) -> str:
        """All of it, a line an item."""
        lines = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                lines += [f"{field.name}:", *(f"  {item}" for item in value)]
            else:
                lines.append(f"{field.name}: {value}")
        return "\n".join(lines)


def generator(seed: int, name: str) -> Random:
    """The chance of one part of a history, independent of all others."""
    return Random(f"{seed}/{name}")  # noqa: S311 - chance that can be repeated is the point
