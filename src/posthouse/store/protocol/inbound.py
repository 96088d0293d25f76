"""What comes in: kept before anything is done with it, and passed on in one transaction that a crash repeats.

A request is in exactly one place: in the *inbox* (kept, not yet read), read (a row of *readings*), or in quarantine.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from posthouse.core.inbound import (
    InboundRequest,
    Incident,
    IncidentKind,
    Objection,
    Quarantined,
    Resolution,
    Rhythm,
    Verdict,
)
from posthouse.core.model import Environment, Tenant
from posthouse.store.protocol.intake import Accepted, NewEvent, Overtaken, StaleCatalogue


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A request to keep."""

    request: InboundRequest
    environment: Environment
    tenant: str
    objection: Objection | None = None  #: with one it is refused, and goes to quarantine instead of the inbox
    detail: str = ""  #: of the objection


class InboxItem(msgspec.Struct, frozen=True, gc=False):
    """A request that is kept and not passed on yet, or one event of it that left quarantine."""

    request: InboundRequest
    position: int  #: core.inbound.WHOLE, or of the one event that is meant
    waived: Objection | None  #: what an operator, or a second look, has set aside
    attempts: int  #: to fetch what is needed to check it
    due_at: int  #: not before this time


class InboxPage(msgspec.Struct, frozen=True):
    """The head of a source's inbox."""

    items: tuple[InboxItem, ...]  #: due ones, by (request key, position)
    more: bool  #: True: more due ones stand behind these
    next_due_at: int | None  #: when the first one that is not due yet becomes due, if any


class ReadEvent(msgspec.Struct, frozen=True, gc=False):
    """One event that was found in a request."""

    new: NewEvent  #: without identities: what makes it a repetition is ``digest``
    position: int
    digest: bytes  #: 16 bytes: what stands for the event within its source
    window_ms: int  #: for so long the same digest means the same event; 0: it never does
    stream: str | None = None
    sequence: int | None = None


class Doubt(msgspec.Struct, frozen=True, gc=False):
    """What is not passed on, and why."""

    position: int  #: of an event, or WHOLE
    objection: Objection
    detail: str
    type: str | None = None


class ReadRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was found in one item of the inbox."""

    item: InboxItem
    environment: Environment
    tenant: str
    catalogue_version: int  #: that the events were routed by
    events: tuple[ReadEvent, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    is_heartbeat: bool = False
    delivery: str | None = None  #: the sender's own id of the request
    new_tenants: tuple[Tenant, ...] = ()
    #: Keys for incidents that this reading may open, as many as ``events`` with a sequence, plus one.
    incident_keys: tuple[int, ...] = ()


class PassedOn(msgspec.Struct, frozen=True, gc=False):
    """What became of a :class:`ReadRequest`: it is durable now, and out of the inbox."""

    #: For each of its events, in their order. A repetition has the key and id of the first one, and owes nothing.
    events: tuple[Accepted, ...]
    unchecked: bool = False  #: repetitions could not be recognised: all its events were passed on, and marked


class Gone(msgspec.Struct, frozen=True):
    """Nothing was stored: the item is no longer in the inbox."""


PassResult = PassedOn | StaleCatalogue | Gone | Overtaken


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the ledger shows it."""

    request: InboundRequest  #: in lists without its body and headers
    body_bytes: int
    waiting: bool  #: it is in the inbox
    read_at: int | None = None
    events: int = 0  #: new ones
    duplicates: int = 0  #: events that had come before
    quarantined: int = 0  #: events, or 1 for the request itself
    is_heartbeat: bool = False
    delivery: str | None = None
    #: Of a single request: (position, event key, event id, whether it is a repetition).
    found: tuple[tuple[int, int, str, bool], ...] = ()


class RequestQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests to list, newest first. None: any."""

    environment: Environment
    tenant: str | None = None
    source_key: int | None = None
    verdict: Verdict | None = None
    since: int | None = None
    until: int | None = None
    after: int | None = None  #: key of the last one seen
    limit: int = 50


class QuarantineQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of the quarantine to list, by (request key, position). None: any."""

    environment: Environment
    tenant: str | None = None
    source_key: int | None = None
    objections: tuple[Objection, ...] = ()  #: empty: any
    resolved: bool = False  #: those that left it, instead of those that are in it
    oldest_first: bool = False
    after: tuple[int, int] | None = None  #: (request key, position) of the last one seen
    limit: int = 50


class IncidentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which incidents to list, newest first. None: any."""

    environment: Environment
    tenant: str | None = None
    source_key: int | None = None
    kind: IncidentKind | None = None
    is_open: bool | None = None
    after: int | None = None
    limit: int = 50


class Origin(msgspec.Struct, frozen=True):
    """Where an event came from, if it came in through a source."""

    source_key: int
    request_key: int
    position: int
    repeats: int  #: how often it came again
    unchecked: bool  #: it may be a repetition itself: they could not be recognised when it came


class SourceBooks(msgspec.Struct, frozen=True, kw_only=True):
    """The books of one source, recounted from rows."""

    source_key: int
    environment: Environment
    tenant: str
    received: int  #: requests that are kept
    waiting: int  #: of these in the inbox
    read: int
    quarantined: int  #: requests in quarantine, or given up there
    events: int  #: found and new
    duplicates: int  #: found and known
    doubted: int  #: events in quarantine, or given up there
    #: Requests that are nowhere or in two places, and events that a reading counts and no row holds, or the reverse.
    imbalance: int


class InboundFacet(Protocol):
    """Requests to sources, from the first byte that is kept to the events that they hold."""

    # -- the way in ----------------------------------------------------------------------------

    async def take(self, arrivals: Sequence[Arrival]) -> None:
        """Store all requests in one transaction, each in the inbox or, with an objection, in quarantine."""
        ...

    async def waiting(self) -> dict[int, int]:
        """Source key → when the first item of its inbox is due, of all sources with some; costs by sources."""
        ...

    async def fetch(
        self, source_key: int, *, now: int, limit: int, bytes_max: int, after: tuple[int, int] | None = None
    ) -> InboxPage:
        """The first due items of a source's inbox, at most ``bytes_max`` of bodies (but at least one).

        Nothing is postponed for longer than ``INBOX_POSTPONED_MS_MAX``. What is due later was written by a wall clock
        that was set back since, and is due.
        """
        ...

    async def pass_on(self, readings: Sequence[ReadRequest], *, now: int) -> list[PassResult]:
        """Take the items out of the inbox and store all that was found in them, in one transaction.

        Per reading: its item must still be in the inbox, and the catalogue's version the one that it was routed by.
        An event whose digest stands for another one of its source, received less than ``window_ms`` ago, is a
        repetition: it is noted, and nothing else; two events of one call count as well. All others are stored with
        what they owe, as ``Intake.accept`` does, with their origin; a reading of which an event is overtaken
        is refused as there. Doubts go to quarantine, acknowledged. Numbers of streams are counted on (core.gaps); a gap
        opens an incident, and numbers that come late shrink it.

        If repetitions cannot be recognised (what recognises them is missing or incomplete), every event is stored and
        marked ``unchecked``; an incident says so until :meth:`restore_dedupe` is done.
        """
        ...

    async def postpone(self, request_key: int, position: int, *, attempts: int, due_at: int) -> None:
        """Write when an item is looked at again; nothing if it is no longer in the inbox."""
        ...

    async def restore_dedupe(self, *, now: int, limit: int) -> bool:
        """Build what recognises repetitions anew from the origins of events, ``limit`` rows a call; True: it is whole.

        Closes the incident when it is done. True at once if nothing is missing.
        """
        ...

    async def prune_dedupe(self, *, before: int, limit: int) -> int:
        """Forget up to ``limit`` digests of events that were received before ``before``; how many it were."""
        ...

    # -- quarantine ----------------------------------------------------------------------------

    async def quarantine(self, query: QuarantineQuery) -> list[Quarantined]:
        """Entries of the quarantine."""
        ...

    async def resolve(
        self, entries: Sequence[tuple[int, int]], resolution: Resolution, *, now: int
    ) -> list[tuple[int, int]]:
        """Let entries, (request key, position), out of quarantine; returns those that were in it.

        RELEASED and REVERIFIED put them back in the inbox, due at once, with the objection set aside; RECHECKED as if
        there had been none, so that they are checked once more. DISCARDED and
        EXPIRED do not; EXPIRED also deletes a refused request.
        """
        ...

    async def expired(self, *, before: int, limit: int) -> list[tuple[int, int]]:
        """Entries in quarantine since before ``before`` that were never acknowledged, oldest first."""
        ...

    async def quarantined_bytes(self) -> dict[int, int]:
        """Source key → bytes of the bodies of its refused requests in quarantine."""
        ...

    # -- reading -------------------------------------------------------------------------------

    async def requests(self, query: RequestQuery) -> list[RequestRecord]:
        """Requests, newest first."""
        ...

    async def request(self, key: int) -> RequestRecord | None:
        """One request with its body and headers."""
        ...

    async def origin(self, event_key: int) -> Origin | None:
        """Where an event came from; None: it was published."""
        ...

    async def audit(self, environment: Environment, tenant: str | None = None) -> list[SourceBooks]:
        """Recount the books of sources from rows, in one snapshot."""
        ...

    # -- what may be wrong ---------------------------------------------------------------------

    async def rhythms(self) -> list[Rhythm]:
        """How each source usually speaks."""
        ...

    async def put_rhythms(self, rhythms: Sequence[Rhythm]) -> None:
        """Insert or replace."""
        ...

    async def open_incident(self, incident: Incident) -> bool:
        """Record an incident, unless one of its kind is open for its source; whether it was recorded."""
        ...

    async def close_incident(self, kind: IncidentKind, source_key: int, *, now: int) -> bool:
        """Close the open incident of this kind of a source; whether there was one."""
        ...

    async def incidents(self, query: IncidentQuery) -> list[Incident]:
        """Incidents, newest first."""
        ...
