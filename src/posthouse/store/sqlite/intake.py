"""Accepting events: what becomes of each is decided in memory, then all that was accepted is written."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import apsw

from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.protocol import Accepted, AcceptRequest, AcceptResult, IdentityReused, NewEvent, StaleCatalogue
from posthouse.store.sqlite.gathering import Gatherer
from posthouse.store.sqlite.planning import EventRows, write_rows
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps, Writer

_CATALOGUE_VERSION: Final = SQL["catalogue_version"]
_CLAIM_IDENTITY: Final = SQL["claim_identity"]
_FIND_IDENTITY: Final = SQL["find_identity"]

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
    yield from plan.rows.write(connection)
    reach(Failpoint.ACCEPT_WRITTEN)
    return results


class _Plan:
    """What accepted requests will write. A refused request leaves nothing."""

    def __init__(self, connection: apsw.Connection, *, look_up: bool) -> None:
        self._connection = connection
        self._look_up = look_up  # whether identities in the store are looked at
        self.repeats = 0  # items whose identities were known already
        self.rows = EventRows()
        self._identities: dict[_Identity, _Known] = {}

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
        rows = [(*i, known[0], known[1]) for i, known in self._identities.items()]
        yield from write_rows(connection, _CLAIM_IDENTITY, rows)
        claimed = connection.total_changes() - before == len(self._identities)
        if not claimed:
            connection.execute("ROLLBACK TO claim")
        connection.execute("RELEASE claim")
        return claimed

    def _add(self, request: AcceptRequest) -> AcceptResult:
        """Take a request in as a whole, or refuse it as a whole."""
        add = self.rows.add
        before = self.rows.mark()
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
            add(item)
            accepted.append(Accepted(event.key, event.id, len(owed), False))  # noqa: FBT003 - by name it takes twice as long
        if reused:
            self.rows.take_back(before)
            self._forget(new_identities)
            return IdentityReused(tuple(reused))
        self.rows.add_tenants(request.new_tenants)
        return tuple(accepted)

    def _forget(self, identities: Sequence[_Identity]) -> None:
        for identity in identities:
            self._identities.pop(identity, None)

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
