"""The inbound facet. What its calls do stands in ``taking``, ``passing``, ``deduping``, ``quarantining`` and others."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import astuple

from posthouse.core.inbound import Incident, IncidentKind, Quarantined, Resolution, Rhythm
from posthouse.core.limits import INBOX_POSTPONED_MS_MAX
from posthouse.core.model import Environment
from posthouse.store.postgres import deduping, incidents, quarantining, requests
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.passing import pass_on
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.source_audit import audit
from posthouse.store.postgres.taking import take
from posthouse.store.postgres.transact import Guards
from posthouse.store.protocol import (
    Arrival,
    InboxPage,
    IncidentQuery,
    Origin,
    PassResult,
    QuarantineQuery,
    ReadRequest,
    RequestQuery,
    RequestRecord,
    SourceBooks,
)
from posthouse.store.shared.gathering import Gatherer
from posthouse.store.shared.reading import Handed

_FRONT: Final = (-1, 0)  # before everything in an inbox
_DEDUPING: Final = Guards(sources=(deduping.GUARD,))


class PostgresInbound:
    """The inbound facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._inbound = lanes.inbound
        self._misc = lanes.misc
        self._readers = readers
        self._takes = Gatherer(lanes.inbound.submit, take)
        self._passes = Gatherer(lanes.inbound.submit, pass_on)

    # -- the way in ----------------------------------------------------------------------------

    async def take(self, arrivals: Sequence[Arrival]) -> None:
        """Store all requests in one transaction; see the protocol."""
        if arrivals:
            await self._takes.submit(arrivals)

    async def waiting(self) -> dict[int, int]:
        """When the first item of each source's inbox is due; see the protocol."""
        return dict(map(tuple, await self._readers.quick("inbox_heads")))

    async def fetch(
        self, source_key: int, *, now: int, limit: int, bytes_max: int, after: tuple[int, int] | None = None
    ) -> InboxPage:
        """The first due items of a source's inbox; see the protocol."""
        latest = now + INBOX_POSTPONED_MS_MAX
        place = after or _FRONT
        rows = await self._readers.quick("fetch_inbox", source_key, *place, now, latest, limit + 1, bytes_max)
        return requests.page_of(rows, latest=latest, limit=limit, bytes_max=bytes_max)

    async def pass_on(self, readings: Sequence[ReadRequest], *, now: int) -> list[PassResult]:
        """Take items out of the inbox and store what was found in them; see the protocol."""
        if not readings:
            return []
        results, start = await self._passes.submit([Handed(reading, now) for reading in readings])
        return results[start : start + len(readings)]

    async def postpone(self, request_key: int, position: int, *, attempts: int, due_at: int) -> None:
        """Write when an item is looked at again; see the protocol."""
        await self._inbound.single("postpone_inbox_item", request_key, position, attempts, due_at)

    async def restore_dedupe(self, *, now: int, limit: int) -> bool:
        """Build what recognises repetitions anew; see the protocol."""
        return await self._misc.transact(lambda t: deduping.restore(t, now, limit), _DEDUPING)

    async def prune_dedupe(self, *, before: int, limit: int) -> int:
        """Forget old digests; see the protocol."""
        return await self._misc.transact(lambda t: deduping.prune(t, before, limit), _DEDUPING)

    # -- quarantine ----------------------------------------------------------------------------

    async def quarantine(self, query: QuarantineQuery) -> list[Quarantined]:
        """Entries of the quarantine; see the protocol."""
        return await self._readers.snapshot(lambda t: quarantining.list_entries(t, query))

    async def resolve(
        self, entries: Sequence[tuple[int, int]], resolution: Resolution, *, now: int
    ) -> list[tuple[int, int]]:
        """Let entries out of quarantine; see the protocol."""
        if not entries:
            return []
        given = quarantining.entry_columns(entries)
        left = await self._misc.single("resolve_quarantined", *given, resolution, now)
        return quarantining.in_their_order(entries, left)

    async def expired(self, *, before: int, limit: int) -> list[tuple[int, int]]:
        """Refused requests that nobody asked for; see the protocol."""
        rows = await self._readers.quick("expired_in_quarantine", before, limit)
        return [(request_key, position) for request_key, position in rows]

    async def quarantined_bytes(self) -> dict[int, int]:
        """Bytes of refused requests by source; see the protocol."""
        return dict(map(tuple, await self._readers.quick("quarantined_bytes")))

    # -- reading -------------------------------------------------------------------------------

    async def requests(self, query: RequestQuery) -> list[RequestRecord]:
        """Requests, newest first; see the protocol."""
        return await self._readers.snapshot(lambda t: requests.list_requests(t, query))

    async def request(self, key: int) -> RequestRecord | None:
        """One request with its body and headers; see the protocol."""
        return await self._readers.snapshot(lambda t: requests.one_request(t, key))

    async def origin(self, event_key: int) -> Origin | None:
        """Where an event came from; see the protocol."""
        rows = await self._readers.quick("origin", event_key)
        return Origin(*rows[0]) if rows else None

    async def audit(self, environment: Environment, tenant: str | None = None) -> list[SourceBooks]:
        """The books of sources, recounted from rows; see the protocol."""
        return await self._readers.snapshot(lambda t: audit(t, environment, tenant), audit=True)

    # -- what may be wrong ---------------------------------------------------------------------

    async def rhythms(self) -> list[Rhythm]:
        """How each source usually speaks; see the protocol."""
        return [incidents.rhythm_of(row) for row in await self._readers.quick("all_rhythms")]

    async def put_rhythms(self, rhythms: Sequence[Rhythm]) -> None:
        """Insert or replace; see the protocol."""
        if rhythms:
            await self._misc.single("put_rhythms", *incidents.rhythm_columns(rhythms))

    async def open_incident(self, incident: Incident) -> bool:
        """Record an incident, unless one of its kind is open; see the protocol."""
        rows = [astuple(incident)]
        guards = Guards(sources=(incident.source_key,))
        return await self._misc.transact(lambda t: incidents.open_incidents(t, rows), guards) > 0

    async def close_incident(self, kind: IncidentKind, source_key: int, *, now: int) -> bool:
        """Close the open incident of this kind of a source; see the protocol."""
        guards = Guards(sources=(source_key,))
        return await self._misc.transact(lambda t: incidents.close_incidents(t, kind, source_key, now), guards)

    async def incidents(self, query: IncidentQuery) -> list[Incident]:
        """Incidents, newest first; see the protocol."""
        return await self._readers.snapshot(lambda t: incidents.list_incidents(t, query))
