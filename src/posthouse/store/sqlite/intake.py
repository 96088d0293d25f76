"""Accepting events: the plan is made in memory, then written in as few statements as there are tables."""

from collections.abc import Sequence
from typing import Any, Final

import apsw
from msgspec.structs import astuple

from posthouse.store.protocol import Accepted, AcceptRequest, AcceptResult, IdentityReused, NewEvent, StaleCatalogue
from posthouse.store.sqlite.rows import PERIOD_BITS, rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps, Writer

_CATALOGUE_VERSION: Final = SQL["catalogue_version"]
_FIND_IDENTITY: Final = SQL["find_identity"]
_INSERT_EVENT: Final = SQL["insert_event"]
_INSERT_IDENTITY: Final = SQL["insert_identity"]
_INSERT_OBLIGATION: Final = SQL["insert_obligation"]
_INSERT_TENANT: Final = SQL["insert_tenant_if_new"]
_NOTE_ENVIRONMENT_PERIOD: Final = SQL["note_environment_period"]
_NOTE_TENANT_PERIOD: Final = SQL["note_tenant_period"]

_Identity = tuple[str, str, str, str]  # environment, kind, value, tenant
_Known = tuple[bytes, int, str, int]  # fingerprint, event key, event id, number of deliveries owed


class SqliteIntake:
    """The intake facet."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def accept(self, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
        """Store all requests in one transaction; see the protocol."""
        return await self._writer.submit(lambda connection: accept(connection, requests))


def accept(connection: apsw.Connection, requests: Sequence[AcceptRequest]) -> Steps[list[AcceptResult]]:
    """Decide about every request, then write what was accepted."""
    version = value_of(connection, _CATALOGUE_VERSION)
    plan = _Plan(connection)
    results: list[AcceptResult] = []
    for request in requests:
        if request.catalogue_version != version:
            results.append(StaleCatalogue(version))
            continue
        results.append(plan.add(request))
        if len(request.events) >= SLICE_ROWS:
            yield len(request.events)
    for statement, rows in plan.writes():
        if len(rows) <= SLICE_ROWS:
            connection.executemany(statement, rows)
            yield len(rows)
            continue
        for start in range(0, len(rows), SLICE_ROWS):
            connection.executemany(statement, rows[start : start + SLICE_ROWS])
            yield SLICE_ROWS
    return results


class _Plan:
    """The rows that accepted requests will write. A refused request leaves none."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._events: list[tuple[Any, ...]] = []
        self._obligations: list[tuple[int, int, int, int, int]] = []
        self._identities: dict[_Identity, _Known] = {}  # of this plan; not in the store yet
        self._tenants: list[tuple[str, str, str, int]] = []

    def add(self, request: AcceptRequest) -> AcceptResult:
        """Take a request in as a whole, or refuse it as a whole."""
        events, obligations = self._events, self._obligations
        events_before, obligations_before = len(events), len(obligations)
        new_identities: list[_Identity] = []
        reused: list[int] = []
        accepted: list[Accepted] = []
        for position, item in enumerate(request.events):
            event, owed = item.event, item.owed
            if item.identities:
                repeat = self._repeat(item)
                if repeat is False:
                    reused.append(position)
                    continue
                if repeat is not None:
                    accepted.append(repeat)
                    continue
                known = (item.fingerprint, event.key, event.id, len(owed))
                for kind, value in item.identities:
                    identity = (event.environment, kind, value, event.tenant)
                    self._identities[identity] = known
                    new_identities.append(identity)
            key, at, lane = event.key, event.accepted_at, item.lane
            events.append((*astuple(event), f"[{','.join(map(str, owed))}]"))
            for endpoint_key in owed:
                obligations.append((key, endpoint_key, lane, at, at))
            accepted.append(Accepted(key, event.id, len(owed), False))  # noqa: FBT003 - positional for speed
        if reused:
            del events[events_before:], obligations[obligations_before:]
            for identity in new_identities:
                self._identities.pop(identity, None)
            return IdentityReused(tuple(reused))
        for tenant in request.new_tenants:
            self._tenants.append((tenant.environment, tenant.id, tenant.name, tenant.created_at))
        return tuple(accepted)

    def writes(self) -> list[tuple[str, Sequence[tuple[Any, ...]]]]:
        """Statements with their rows."""
        identities = [(*identity, known[0], known[1]) for identity, known in self._identities.items()]
        # Columns of insert_event: key 0, environment 2, tenant 3.
        tenant_periods = {(row[2], row[3], row[0] >> PERIOD_BITS) for row in self._events}
        environment_periods = {(environment, period) for environment, _tenant, period in tenant_periods}
        plan: list[tuple[str, Sequence[tuple[Any, ...]]]] = [
            (_INSERT_EVENT, self._events),
            (_INSERT_OBLIGATION, self._obligations),
            (_INSERT_IDENTITY, identities),
            (_NOTE_TENANT_PERIOD, list(tenant_periods)),
            (_NOTE_ENVIRONMENT_PERIOD, list(environment_periods)),
            (_INSERT_TENANT, self._tenants),
        ]
        return [(statement, rows) for statement, rows in plan if rows]

    def _repeat(self, item: NewEvent) -> Accepted | None | bool:
        """The event that this one repeats, or None; False if an identity stands for something else."""
        event = item.event
        found: _Known | None = None
        for kind, value in item.identities:
            identity = (event.environment, kind, value, event.tenant)
            known = self._identities.get(identity)
            if known is None:
                rows = rows_of(self._connection, _FIND_IDENTITY, identity)
                if not rows:
                    continue
                known = rows[0]
            if known[0] != item.fingerprint or (found is not None and found[1] != known[1]):
                return False
            found = known
        if found is None:
            return None
        return Accepted(found[1], found[2], found[3], duplicate=True)
