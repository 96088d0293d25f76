"""What comes in: sources, the requests that are sent to them, and what Posthouse objects to.

Times are Unix milliseconds (UTC). Structs are frozen: what changes is replaced.
"""

from enum import StrEnum
from typing import Final

import msgspec

from posthouse.core.head import headers_of
from posthouse.core.limits import SOURCE_BODY_BYTES_DEFAULT
from posthouse.core.model import Environment, Secret

WHOLE: Final = -1  #: the position that stands for a request as a whole, and not for one event of it


class SourceState(StrEnum):
    """Whether a source takes requests."""

    ACTIVE = "active"  #: requests are kept and passed on
    PAUSED = "paused"  #: an operator holds back what comes; :class:`WhilePaused` says how
    DELETED = "deleted"  #: its URL is unknown now; what it took before is passed on all the same


class WhilePaused(StrEnum):
    """What becomes of requests to a paused source."""

    HOLD = "hold"  #: kept and acknowledged, and passed on when it is resumed
    REFUSE = "refuse"  #: answered with the code that this sender retries; nothing is kept


class SourceRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rules of one source, stored as one JSON document, so that a new rule is no migration."""

    fresh_seconds: int | None = None  #: an older event starts in the backlog lane; None: its tenant's, or the node's
    #: The rhythm in which something is expected: twice as long without a request is silence. None: the preset's
    #: heartbeat, or what is learnt; 0: nothing is expected.
    heartbeat_seconds: int | None = None
    body_bytes_max: int = SOURCE_BODY_BYTES_DEFAULT  #: of one request, as it comes
    while_paused: WhilePaused = WhilePaused.HOLD
    key_hosts: tuple[str, ...] = ()  #: hosts besides the preset's from which its keys may be fetched
    declaration: str | None = None  #: of the provider ``custom``: its preset as JSON (providers.custom_spec)


DEFAULT_SOURCE_RULES: Final = SourceRules()


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An inbound URL with the preset of the one who calls it."""

    key: int
    environment: Environment
    tenant: str
    name: str
    provider: str  #: name of a preset, or ``custom``
    token: str  #: the part of its URL that nobody can guess
    secrets: tuple[Secret, ...] = ()  #: newest first, each as the provider shows it
    state: SourceState = SourceState.ACTIVE
    description: str = ""
    created_at: int = 0
    updated_at: int = 0
    rules: SourceRules = DEFAULT_SOURCE_RULES
    revision: int = 0  #: the catalogue's version that its latest change made; 0: the store does not have it yet

    def secrets_at(self, now: int) -> tuple[str, ...]:
        """The secrets that count at ``now``, newest first."""
        return tuple(secret.value for secret in self.secrets if secret.is_valid(now))


class Verdict(StrEnum):
    """What was found out about the sender of a request before it was answered."""

    GENUINE = "genuine"  #: it knows a secret of the source
    UNPROVEN = "unproven"  #: senders of this kind prove nothing
    PENDING = "pending"  #: to check it, something must be fetched, which never happens before the answer
    REFUSED = "refused"  #: it proves nothing, or the wrong thing


class Objection(StrEnum):
    """Why something is in quarantine: kept, and not passed on."""

    BAD_SIGNATURE = "bad_signature"  #: nobody who knows a secret of the source sent this
    #: The source has no secret yet to check it with.
    NO_SECRET = "no_secret"  # noqa: S105 - the name of an objection
    KEY_UNAVAILABLE = "key_unavailable"  #: the key that it is signed with could not be fetched
    UNREADABLE = "unreadable"  #: what it holds cannot be made out, or no receiver could read it
    TYPE_CONTRADICTION = "type_contradiction"  #: the type that its envelope names cannot be right


#: Objections to who sent it: a corrected secret can make them void.
DOUBTS: Final = frozenset({Objection.BAD_SIGNATURE, Objection.NO_SECRET, Objection.KEY_UNAVAILABLE})


class InboundRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request to a source, byte for byte as it came."""

    key: int
    source_key: int
    received_at: int
    method: str
    url: str  #: by which the sender called, with the query
    head: str  #: its headers as they came (core.head)
    body: bytes
    verdict: Verdict
    status: int  #: that it was answered with

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All headers in their order; names in lower case."""
        return headers_of(self.head)


class Resolution(StrEnum):
    """What became of something that was in quarantine."""

    RELEASED = "released"  #: an operator passed it on all the same
    REVERIFIED = "reverified"  #: it turned out to be genuine
    RECHECKED = "rechecked"  #: who sent it is found out once more, with a key that is fetched anew
    DISCARDED = "discarded"  #: an operator gave it up
    EXPIRED = "expired"  #: refused, and not asked for in time


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is kept and not passed on: a request, or one event of it."""

    request_key: int
    position: int  #: of the event in its request, from 0; WHOLE: the request
    source_key: int
    environment: Environment
    tenant: str
    objection: Objection
    detail: str  #: one sentence
    type: str | None  #: of the event, as far as it was made out
    at: int  #: since when it is here
    acknowledged: bool  #: its sender was told that it is taken: then it never expires
    resolution: Resolution | None = None
    resolved_at: int | None = None


class IncidentKind(StrEnum):
    """What may be wrong with what comes in."""

    SOURCE_SILENT = "source_silent"  #: nothing came for twice as long as usual
    SEQUENCE_GAP = "sequence_gap"  #: numbers of a stream are missing: a hint, no proof
    DEDUPE_UNAVAILABLE = "dedupe_unavailable"  #: repetitions were not recognised for a while; what came was passed on
    QUARANTINE_FULL = "quarantine_full"  #: refused requests of a source were not kept


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Something that may be wrong, since when, and until when."""

    key: int
    environment: Environment
    tenant: str
    kind: IncidentKind
    source_key: int
    opened_at: int
    closed_at: int | None = None
    detail: str = ""  #: one sentence
    stream: str | None = None  #: of a gap
    first: int | None = None  #: number that was missing first
    last: int | None = None
    missing: int | None = None  #: how many of them still are


class Rhythm(msgspec.Struct, frozen=True, kw_only=True):
    """How a source usually speaks, as far as it must outlive the node."""

    source_key: int
    seen_at: int  #: when something came last, to about ten seconds
    seen: int = 0  #: requests so far, about
    pauses: tuple[int, ...] = ()  #: the longest pause of each of the latest days in ms, today's first
    day: int = 0  #: which day is the first of them: days since 1970, UTC
