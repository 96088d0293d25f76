"""Accepting events: what becomes of each is decided in memory, then all that was accepted is written."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import apsw

from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.protocol import AcceptRequest, AcceptResult, Overtaken
from posthouse.store.shared.planning import AcceptPlan, Identity, Known, identities_of, orders_of
from posthouse.store.sqlite.gathering import Gatherer
from posthouse.store.sqlite.ordering import newest_open
from posthouse.store.sqlite.planning import write_events, write_rows
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import SLICE_ROWS, Steps, Writer

_CATALOGUE_VERSION: Final = SQL["catalogue_version"]
_CLAIM_IDENTITY: Final = SQL["claim_identity"]
_FIND_IDENTITY: Final = SQL["find_identity"]


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
    version: int = value_of(connection, _CATALOGUE_VERSION)
    places = orders_of(item for request in requests for item in request.events)
    newest = (yield from newest_open(connection, places)) if places else {}
    plan = AcceptPlan(version, {}, newest)
    results = yield from plan.decide(requests)
    # What seems to be overtaken may be a repeat, and a repeat stands nowhere.
    settled = not plan.related and not any(isinstance(result, Overtaken) for result in results)
    claimed = settled and (yield from _claim_identities(connection, plan.identities))
    if not claimed:
        plan = AcceptPlan(version, (yield from _find_identities(connection, requests)), newest)
        results = yield from plan.decide(requests)
        claimed = yield from _claim_identities(connection, plan.identities)
        assert claimed, "every identity was looked up in this very transaction"
    reach(Failpoint.ACCEPT_IDENTIFIED)
    yield from write_events(connection, plan.rows)
    reach(Failpoint.ACCEPT_WRITTEN)
    return results


def _find_identities(connection: apsw.Connection, requests: Sequence[AcceptRequest]) -> Steps[dict[Identity, Known]]:
    """What the identities of these requests stand for already."""
    known: dict[Identity, Known] = {}
    for count, identity in enumerate(identities_of(requests), 1):
        known.update((identity, row) for row in rows_of(connection, _FIND_IDENTITY, identity))
        if count % SLICE_ROWS == 0:
            yield SLICE_ROWS
    return known


def _claim_identities(connection: apsw.Connection, identities: dict[Identity, Known]) -> Steps[bool]:
    """Write the identities; False, and none written, if one of them stands for something already."""
    if not identities:
        return True
    connection.execute("SAVEPOINT claim")
    before = connection.total_changes()
    rows = [(*i, known[0], known[1]) for i, known in identities.items()]
    yield from write_rows(connection, _CLAIM_IDENTITY, rows)
    claimed = connection.total_changes() - before == len(identities)
    if not claimed:
        connection.execute("ROLLBACK TO claim")
    connection.execute("RELEASE claim")
    return claimed
