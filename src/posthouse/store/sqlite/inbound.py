"""The inbound facet. What its calls do stands in ``taking``, ``passing``, ``deduping``, ``quarantining`` and others."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import apsw

from posthouse.core.inbound import Incident, IncidentKind, Quarantined, Resolution, Rhythm
from posthouse.core.model import Environment
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
from posthouse.store.shared.reading import Handed
from posthouse.store.sqlite import deduping, incidents, quarantining, requests
from posthouse.store.sqlite.gathering import Gatherer
from posthouse.store.sqlite.passing import pass_on
from posthouse.store.sqlite.readers import Readers, in_snapshot
from posthouse.store.sqlite.source_audit import audit
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.taking import take
from posthouse.store.sqlite.writer import Steps, Writer

_POSTPONE: Final = SQL["postpone_inbox_item"]


class SqliteInbound:
    """The inbound facet."""

    def __init__(self, writer: Writer, readers: Readers, local: apsw.Connection) -> None:
        """``local`` is a reading connection of the loop's own thread: long reads must not hold up what waits."""
        self._writer = writer
        self._readers = readers
        self._local = local
        self._takes = Gatherer(writer, take)
        self._passes = Gatherer(writer, pass_on)

    # -- the way in ----------------------------------------------------------------------------

    async def take(self, arrivals: Sequence[Arrival]) -> None:
        """Store all requests in one transaction; see the protocol."""
        await self._takes.submit(arrivals)

    async def waiting(self) -> dict[int, int]:
        """When the first item of each source's inbox is due; see the protocol."""
        return await self._readers.read(requests.heads)

    async def fetch(
        self, source_key: int, *, now: int, limit: int, bytes_max: int, after: tuple[int, int] | None = None
    ) -> InboxPage:
        """The first due items of a source's inbox; see the protocol."""
        fetch = partial(requests.fetch, source_key=source_key, now=now, limit=limit, bytes_max=bytes_max, after=after)
        return in_snapshot(self._local, fetch)

    async def pass_on(self, readings: Sequence[ReadRequest], *, now: int) -> list[PassResult]:
        """Take items out of the inbox and store what was found in them; see the protocol."""
        results, start = await self._passes.submit([Handed(reading, now) for reading in readings])
        return results[start : start + len(readings)]

    async def postpone(self, request_key: int, position: int, *, attempts: int, due_at: int) -> None:
        """Write when an item is looked at again; see the protocol."""
        values = (request_key, position, attempts, due_at)
        await self._writer.submit(lambda connection: _postpone(connection, values))

    async def restore_dedupe(self, *, now: int, limit: int) -> bool:
        """Build what recognises repetitions anew; see the protocol."""
        if await self._readers.read(deduping.is_whole):
            return True
        return await self._writer.submit(lambda connection: deduping.restore(connection, now, limit))

    async def prune_dedupe(self, *, before: int, limit: int) -> int:
        """Forget old digests; see the protocol."""
        return await self._writer.submit(lambda connection: deduping.prune(connection, before, limit))

    # -- quarantine ----------------------------------------------------------------------------

    async def quarantine(self, query: QuarantineQuery) -> list[Quarantined]:
        """Entries of the quarantine; see the protocol."""
        return await self._readers.read(lambda connection: quarantining.list_entries(connection, query))

    async def resolve(
        self, entries: Sequence[tuple[int, int]], resolution: Resolution, *, now: int
    ) -> list[tuple[int, int]]:
        """Let entries out of quarantine; see the protocol."""
        return await self._writer.submit(lambda connection: quarantining.resolve(connection, entries, resolution, now))

    async def expired(self, *, before: int, limit: int) -> list[tuple[int, int]]:
        """Refused requests that nobody asked for; see the protocol."""
        return await self._readers.read(lambda connection: quarantining.expired(connection, before, limit))

    async def quarantined_bytes(self) -> dict[int, int]:
        """Bytes of refused requests by source; see the protocol."""
        return await self._readers.read(quarantining.refused_bytes)

    # -- reading -------------------------------------------------------------------------------

    async def requests(self, query: RequestQuery) -> list[RequestRecord]:
        """Requests, newest first; see the protocol."""
        return await self._readers.read(lambda connection: requests.list_requests(connection, query))

    async def request(self, key: int) -> RequestRecord | None:
        """One request with its body and headers; see the protocol."""
        return await self._readers.read(lambda connection: requests.one_request(connection, key))

    async def origin(self, event_key: int) -> Origin | None:
        """Where an event came from; see the protocol."""
        return await self._readers.read(lambda connection: requests.origin(connection, event_key))

    async def audit(self, environment: Environment, tenant: str | None = None) -> list[SourceBooks]:
        """The books of sources, recounted from rows; see the protocol."""
        return await self._readers.read(lambda connection: audit(connection, environment, tenant))

    # -- what may be wrong ---------------------------------------------------------------------

    async def rhythms(self) -> list[Rhythm]:
        """How each source usually speaks; see the protocol."""
        return await self._readers.read(incidents.list_rhythms)

    async def put_rhythms(self, rhythms: Sequence[Rhythm]) -> None:
        """Insert or replace; see the protocol."""
        await self._writer.submit(lambda connection: incidents.put_rhythms(connection, rhythms))

    async def open_incident(self, incident: Incident) -> bool:
        """Record an incident, unless one of its kind is open; see the protocol."""
        return await self._writer.submit(lambda connection: incidents.open_incident(connection, incident))

    async def close_incident(self, kind: IncidentKind, source_key: int, *, now: int) -> bool:
        """Close the open incident of this kind of a source; see the protocol."""
        return await self._writer.submit(
            lambda connection: incidents.close_incidents(connection, kind, source_key, now)
        )

    async def incidents(self, query: IncidentQuery) -> list[Incident]:
        """Incidents, newest first; see the protocol."""
        return await self._readers.read(lambda connection: incidents.list_incidents(connection, query))


def _postpone(connection: apsw.Connection, values: tuple[int, ...]) -> Steps[None]:
    connection.execute(_POSTPONE, values)
    yield 1
