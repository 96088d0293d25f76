"""Accepting events: what becomes of each is decided in memory, then all that was accepted is written.

Nearly all calls go with one statement, many at a time. It decides in the database by what was locked: a moved
catalogue, or an identity that is known, keeps its request out, and the rest of the batch goes through. Calls with
events that keep order, with new tenants or with very many deliveries go in explicit transactions of their own, and hold
up no others.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Final

from posthouse.core.errors import PosthouseError, StoreUnavailable
from posthouse.core.rules import Order
from posthouse.store.postgres.binding import columns
from posthouse.store.postgres.lane import Lanes, Turn
from posthouse.store.postgres.ordering import newest_open
from posthouse.store.postgres.outcome import Contended, Refused
from posthouse.store.postgres.planning import event_row, obligation_row, periods_of, write_events
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.protocol import AcceptRequest, AcceptResult
from posthouse.store.shared.gathering import Gatherer
from posthouse.store.shared.planning import AcceptPlan, Identity, Known, identities_of, orders_of

TOGETHER_MAX: Final = 10_000  #: rows that are written with one statement, and of a call that goes with others
BYTES_MAX: Final = 8 * 1024 * 1024  #: of events that are written with one statement

_TRIES: Final = 8

_EVENT_COLUMNS: Final = 11
_OBLIGATION_COLUMNS: Final = 7
_IDENTITY_COLUMNS: Final = 8

_Accept = Callable[[Turn, Sequence[AcceptRequest]], Awaitable[list[AcceptResult]]]
_Told = AcceptResult | PosthouseError


class PostgresIntake:
    """The intake facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:  # noqa: ARG002 - every facet is made alike
        lane = lanes.intake
        self._together = Gatherer(lane.submit, partial(_in_parts, accept_together))
        self._apart = Gatherer(lane.submit, partial(_in_parts, accept_apart))

    async def accept(self, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
        """Store all requests in one transaction; see the protocol."""
        if not requests:
            return []
        gatherer = self._together if all(map(_is_plain, requests)) and _size(requests) <= TOGETHER_MAX else self._apart
        told, start = await gatherer.submit(requests)
        results: list[AcceptResult] = []
        for result in told[start : start + len(requests)]:
            if not isinstance(result, PosthouseError):
                results.append(result)
            elif len(requests) == 1:
                raise result
            else:
                raise StoreUnavailable("A part of the call could not be written.", retry_after_s=1) from result
        return results


def _is_plain(request: AcceptRequest) -> bool:
    """Whether it changes nobody's turn, and names no new tenant."""
    if request.new_tenants:
        return False
    return not any(
        item.orders and item.event.ordering_key is not None and any(order is not Order.NONE for order in item.orders)
        for item in request.events
    )


def _size(requests: Sequence[AcceptRequest]) -> int:
    return sum(1 + len(item.owed) for request in requests for item in request.events)


async def _in_parts(accept: _Accept, turn: Turn, requests: Sequence[AcceptRequest]) -> list[_Told]:
    """Accept all, so many together; an error stands in the place of each request that it is about.

    One that the database refuses, or whose identity is on its way at another node, holds up no others for good: then
    each goes by itself.
    """
    told: list[_Told] = []
    for part in _parts(requests):
        try:
            told += await accept(turn, part)
        except PosthouseError as error:
            if isinstance(error, Contended | Refused) and len(part) > 1:
                told += await _each(accept, turn, part)
            else:
                told += [error] * len(part)
    return told


async def _each(accept: _Accept, turn: Turn, requests: Sequence[AcceptRequest]) -> list[_Told]:
    told: list[_Told] = []
    for request in requests:
        try:
            told += await accept(turn, [request])
        except PosthouseError as error:
            told.append(error)
    return told


def _parts(requests: Sequence[AcceptRequest]) -> Iterator[Sequence[AcceptRequest]]:
    """The requests in parts whose arrays are not too large, unless one alone is."""
    start, rows, size = 0, 0, 0
    for end, request in enumerate(requests):
        more_rows = _size([request])
        more_size = sum(len(item.event.data) for item in request.events)
        if end > start and (rows + more_rows > TOGETHER_MAX or size + more_size > BYTES_MAX):
            yield requests[start:end]
            start, rows, size = end, 0, 0
        rows += more_rows
        size += more_size
    yield requests[start:]


# -- many calls with one statement ---------------------------------------------------------------


async def accept_together(turn: Turn, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
    """Decide about every request, and write what was accepted: mostly at the first try.

    What the statement keeps out is decided again by what it says: another version of the catalogue, or what
    identities stand for. Where requests repeat each other, all that is known of them must be known before.
    """
    results: dict[int, AcceptResult] = {}
    left: Sequence[int] = range(len(requests))
    known: dict[Identity, Known] = {}
    version = max(request.catalogue_version for request in requests)
    asked = False  # whether a statement has found this version, and all that is known: then no answer needs another one
    looked = False
    for _ in range(_TRIES):
        plan = AcceptPlan(version, known)
        decided = _at_once(plan, [requests[i] for i in left])
        if plan.related and not looked:
            known |= await _find_identities(turn, requests)
            looked, asked = True, False
            continue
        if asked and not plan.rows.events:  # only repeats and refusals are left
            results.update(zip(left, decided, strict=True))
            break
        found = await _write(turn, version, plan, is_first=not results)
        asked = found[0]["version"] == version
        version = found[0]["version"]
        if not asked:
            continue
        hits = [row for row in found if row["request"] is not None]
        known |= {(r[2], r[3], r[4], r[5]): (r[6], r[7], r[8], r[9]) for r in hits}
        refused = {row["request"] for row in hits}
        kept = [n for n in range(len(left)) if (0 if plan.related else n) not in refused]
        results.update((left[n], decided[n]) for n in kept)
        if len(kept) == len(left):
            break
        left = [i for i in left if i not in results]
    else:
        raise StoreUnavailable("The catalogue changes too often to accept anything by it.", retry_after_s=1)
    return [results[i] for i in range(len(requests))]


async def _find_identities(turn: Turn, requests: Sequence[AcceptRequest]) -> dict[Identity, Known]:
    """What the identities of these requests stand for. It acknowledges nothing by itself: a plain read."""
    found = await turn.single("find_identities", *columns(sorted(identities_of(requests)), 4))
    return {(r[0], r[1], r[2], r[3]): (r[4], r[5], r[6], r[7]) for r in found}


async def _write(turn: Turn, version: int, plan: AcceptPlan, *, is_first: bool) -> list[Any]:
    """What the statement says; ``is_first``: nothing was written before it that a refusal would make a lie of."""
    try:
        found = await turn.single("accept", turn.number, version, *_bind(plan))
    except Refused as error:
        if is_first:
            raise
        raise StoreUnavailable("A part of what came together could not be written.", retry_after_s=1) from error
    if not found:
        raise StoreUnavailable("This node has no place in the catalogue.")
    return found


def _at_once(plan: AcceptPlan, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
    """What a plan decides, with no places for other work between: a batch is bounded."""
    steps = plan.decide(requests)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            results: list[AcceptResult] = end.value
            return results


def _bind(plan: AcceptPlan) -> list[list[Any]]:
    """The arrays of the statement. Requests that are related to one another go in or stay out together."""
    rows = plan.rows
    events: list[int] = []
    obligations: list[int] = []
    identities: list[int] = []
    before = (0, 0, 0, 0)
    for n, end in enumerate(plan.ends):
        number = 0 if plan.related else n
        events.extend(repeat(number, end[0] - before[0]))
        obligations.extend(repeat(number, end[1] - before[1]))
        identities.extend(repeat(number, end[3] - before[3]))
        before = end
    claims = sorted(zip(plan.identities.items(), identities, strict=True), key=lambda claim: claim[0][0])
    event_columns = columns([event_row(item) for item in rows.events], _EVENT_COLUMNS - 1)
    *owed_columns, slots = columns([obligation_row(row) for row in rows.obligations], _OBLIGATION_COLUMNS - 1)
    claim_columns = columns([(*identity, *known) for (identity, known), _number in claims], _IDENTITY_COLUMNS)
    numbers = [number for _claim, number in claims]
    return [events, *event_columns, obligations, *owed_columns, numbers, *claim_columns, slots, *periods_of(rows)]


# -- calls of their own --------------------------------------------------------------------------


async def accept_apart(turn: Turn, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
    """Decide about every request, then write what was accepted, in one explicit transaction.

    An identity that another node claims meanwhile fails it: run again, it finds the identity.
    """
    orders = orders_of(item for request in requests for item in request.events)
    changes = any(request.new_tenants for request in requests)
    return await turn.transact(lambda t: accept_in(t, requests), Guards(catalogue=changes, orders=orders))


async def accept_in(t: Transaction, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
    """Decide and write within a transaction that holds the catalogue, and the ordering keys of the events."""
    if t.version is None:
        raise StoreUnavailable("This node has no place in the catalogue.")
    known: dict[Identity, Known] = {}
    identities = sorted(identities_of(requests))
    if identities:
        found = await t.rows("find_identities", *columns(identities, 4))
        known = {(r[0], r[1], r[2], r[3]): (r[4], r[5], r[6], r[7]) for r in found}
    newest = await newest_open(t, orders_of(item for request in requests for item in request.events))
    plan = AcceptPlan(t.version, known, newest)
    results = _at_once(plan, requests)
    if plan.identities:
        claims = [(*identity, *claimed) for identity, claimed in sorted(plan.identities.items())]
        await t.count("claim_identities", *columns(claims, _IDENTITY_COLUMNS))
    await write_events(t, plan.rows)
    return results
