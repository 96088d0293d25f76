"""Accepting events: the plan is made in memory, then written in as few statements as there are tables."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import apsw
from msgspec.structs import astuple

from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.rules import Order
from posthouse.store.protocol import Accepted, AcceptRequest, AcceptResult, IdentityReused, NewEvent, StaleCatalogue
from posthouse.store.sqlite.discarding import keep_newest
from posthouse.store.sqlite.gathering import Gatherer
from posthouse.store.sqlite.rows import PERIOD_BITS, rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps, Writer

_CATALOGUE_VERSION: Final = SQL["catalogue_version"]
_CLAIM_IDENTITY: Final = SQL["claim_identity"]
_FIND_IDENTITY: Final = SQL["find_identity"]
_INSERT_EVENT: Final = SQL["insert_event"]
_INSERT_OBLIGATION: Final = SQL["insert_obligation"]
_INSERT_ORDERED: Final = SQL["insert_ordered"]
_INSERT_TENANT: Final = SQL["insert_tenant_if_new"]
_NOTE_ENVIRONMENT_PERIOD: Final = SQL["note_environment_period"]
_NOTE_TENANT_PERIOD: Final = SQL["note_tenant_period"]

_Row = tuple[Any, ...]
_Identity = tuple[str, str, str, str]  # environment, kind, value, tenant
_Known = tuple[bytes, int, str, int]  # fingerprint, event key, event id, number of deliveries owed


class SqliteIntake:
    """The intake facet."""

    def __init__(self, writer: Writer) -> None:
        self._gatherer = Gatherer(writer, partial(accept, reach=writer.reach))

    async def accept(self, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
        """Store all requests in one transaction; see the protocol."""
        results, start = await self._gatherer.submit(requests)
        return results[start : start + len(requests)]


def accept(
    connection: apsw.Connection, requests: Sequence[AcceptRequest], *, reach: Reach = pass_by
) -> Steps[list[AcceptResult]]:
    """Decide about every request, then write what was accepted.

    Most identities are new. So they are written first and counted: only if one was there already, or
    if the requests repeat one another, is each of them looked up. The primary key decides either way.
    """
    reach(Failpoint.ACCEPT_BEGUN)
    plan = _Plan(connection, look_up=False)
    results = yield from plan.decide(requests)
    claimed = not plan.repeats and (yield from plan.claim_identities())
    if not claimed:
        plan = _Plan(connection, look_up=True)
        results = yield from plan.decide(requests)
        claimed = yield from plan.claim_identities()
        assert claimed, "every identity was looked up in this very transaction"
    reach(Failpoint.ACCEPT_IDENTIFIED)
    yield from plan.write()
    reach(Failpoint.ACCEPT_WRITTEN)
    return results


class _Plan:
    """The rows that accepted requests will write. A refused request leaves none."""

    def __init__(self, connection: apsw.Connection, *, look_up: bool) -> None:
        self._connection = connection
        self._look_up = look_up  # whether identities in the store are looked at
        self.repeats = 0  # items whose identities were known already
        self._events: list[_Row] = []
        self._obligations: list[_Row] = []
        self._ordered: list[tuple[_Row, Order]] = []  # those that keep their event's ordering key
        self._identities: dict[_Identity, _Known] = {}
        self._tenants: list[_Row] = []

    def decide(self, requests: Sequence[AcceptRequest]) -> Steps[list[AcceptResult]]:
        """What becomes of each request."""
        version: int = value_of(self._connection, _CATALOGUE_VERSION)
        results: list[AcceptResult] = []
        planned = 0
        for request in requests:
            if request.catalogue_version == version:
                results.append(self._add(request))
            else:
                results.append(StaleCatalogue(version))
            planned += len(request.events)
            if planned >= SLICE_ROWS:
                yield planned
                planned = 0
        return results

    def claim_identities(self) -> Steps[bool]:
        """Write the identities; False, and none written, if one of them stands for something already."""
        if not self._identities:
            return True
        connection = self._connection
        connection.execute("SAVEPOINT claim")
        before = connection.total_changes()
        yield from self._write(_CLAIM_IDENTITY, [(*i, known[0], known[1]) for i, known in self._identities.items()])
        claimed = connection.total_changes() - before == len(self._identities)
        if not claimed:
            connection.execute("ROLLBACK TO claim")
        connection.execute("RELEASE claim")
        return claimed

    def write(self) -> Steps[None]:
        """Write everything else."""
        # Columns of insert_event: key 0, environment 2, tenant 3.
        tenant_periods = {(row[2], row[3], row[0] >> PERIOD_BITS) for row in self._events}
        environment_periods = {(environment, period) for environment, _tenant, period in tenant_periods}
        yield from self._write(_INSERT_EVENT, self._events)
        yield from self._write(_INSERT_OBLIGATION, self._obligations)
        if self._ordered:
            yield from self._write_ordered()
        yield from self._write(_NOTE_TENANT_PERIOD, list(tenant_periods))
        yield from self._write(_NOTE_ENVIRONMENT_PERIOD, list(environment_periods))
        yield from self._write(_INSERT_TENANT, self._tenants)

    def _write_ordered(self) -> Steps[None]:
        """In their sequence: each stands behind what is open of its key by then."""
        yield from self._write(_INSERT_ORDERED, [row for row, _order in self._ordered])
        # Columns of insert_ordered: endpoint key 1, due_at 3, ordering key 5.
        latest = {(row[1], row[5]): row[3] for row, order in self._ordered if order is Order.LATEST}
        for (endpoint_key, ordering_key), at in latest.items():
            yield from keep_newest(self._connection, endpoint_key, ordering_key, at)
            yield 1

    def _write(self, statement: str, rows: list[_Row]) -> Steps[None]:
        for start in range(0, len(rows), SLICE_ROWS):
            part = rows[start : start + SLICE_ROWS]
            self._connection.executemany(statement, part)
            yield len(part)

    def _add(self, request: AcceptRequest) -> AcceptResult:
        """Take a request in as a whole, or refuse it as a whole."""
        events, obligations = self._events, self._obligations
        events_before, obligations_before, ordered_before = len(events), len(obligations), len(self._ordered)
        new_identities: list[_Identity] = []
        reused: list[int] = []
        accepted: list[Accepted] = []
        for position, item in enumerate(request.events):
            event, owed = item.event, item.owed
            if item.identities:
                repeat = self._repeat(item)
                if repeat is not None:
                    self.repeats += 1
                    if isinstance(repeat, Accepted):
                        accepted.append(repeat)
                    else:
                        reused.append(position)
                    continue
                known = (item.fingerprint, event.key, event.id, len(owed))
                for kind, value in item.identities:
                    identity = (event.environment.value, kind, value, event.tenant)
                    self._identities[identity] = known
                    new_identities.append(identity)
            key, at, lane = event.key, event.accepted_at, item.lane
            events.append((*astuple(event), f"[{','.join(map(str, owed))}]"))
            if item.orders and event.ordering_key is not None:
                self._owe_in_order(item, event.ordering_key)
            else:
                for endpoint_key in owed:
                    obligations.append((key, endpoint_key, lane, at, at))
            accepted.append(Accepted(key, event.id, len(owed), False))  # noqa: FBT003 - by name it takes twice as long
        if reused:
            del events[events_before:], obligations[obligations_before:], self._ordered[ordered_before:]
            self._forget(new_identities)
            return IdentityReused(tuple(reused))
        for tenant in request.new_tenants:
            self._tenants.append((*astuple(tenant)[:-1], "{}"))  # nobody has set rules for it yet
        return tuple(accepted)

    def _forget(self, identities: Sequence[_Identity]) -> None:
        for identity in identities:
            self._identities.pop(identity, None)

    def _owe_in_order(self, item: NewEvent, ordering_key: str) -> None:
        key, at = item.event.key, item.event.accepted_at
        for endpoint_key, order in zip(item.owed, item.orders, strict=True):
            row = (key, endpoint_key, item.lane, at, at)
            if order is Order.NONE:
                self._obligations.append(row)
            else:
                self._ordered.append(((*row, ordering_key), order))

    def _repeat(self, item: NewEvent) -> Accepted | IdentityReused | None:
        """The event that the item repeats, or None; a refusal if its identities stand for something else."""
        environment, tenant = item.event.environment.value, item.event.tenant
        found: _Known | None = None
        for kind, value in item.identities:
            identity = (environment, kind, value, tenant)
            known = self._identities.get(identity)
            if known is None and self._look_up:
                rows = rows_of(self._connection, _FIND_IDENTITY, identity)
                known = rows[0] if rows else None
            if known is None:
                continue
            if known[0] != item.fingerprint or (found is not None and found[1] != known[1]):
                return IdentityReused(())
            found = known
        return None if found is None else Accepted(found[1], found[2], found[3], duplicate=True)
