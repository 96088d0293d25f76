"""Open deliveries as the engine asks for them.

How they change is in ``settling``, ``reopening``, ``discarding`` and ``ordering``.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final

import apsw
import msgspec
from msgspec.structs import astuple

from posthouse.core.model import Health, Lane, Obligation, slot_of
from posthouse.core.rules import Order
from posthouse.store.protocol import Backlog, Refill, Settled, Settlement, Work
from posthouse.store.sqlite import discarding, ordering, reopening
from posthouse.store.sqlite.gathering import Gatherer
from posthouse.store.sqlite.readers import Readers, in_snapshot
from posthouse.store.sqlite.rows import LANES, event_of, rows_of, value_of
from posthouse.store.sqlite.settling import settle
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps, Writer

_ALL_HEALTH: Final = SQL["all_health"]
_DELETE_HEALTH: Final = SQL["delete_health"]
_FETCH: Final = SQL["fetch_due"]
_IS_HELD: Final = SQL["is_held"]
_NEXT_DUE_AT: Final = SQL["next_due_at"]
_PUT_HEALTH: Final = SQL["put_health"]
_RETIME: Final = SQL["retime_obligation"]
_SURVEY: Final = SQL["survey"]
_TIMED_AHEAD: Final = SQL["timed_ahead"]

_BEFORE_ALL: Final = -1  # less than any key
_FRONT: Final = (-1, 0)  # before everything in a queue

_BACKLOGS: Final = msgspec.json.Decoder(list[tuple[int, int, int | None, int | None]])
_HEALTH: Final = msgspec.json.Decoder(list[Health])


class SqliteWork:
    """The work facet."""

    def __init__(self, writer: Writer, readers: Readers, local: apsw.Connection) -> None:
        """``local`` is a reading connection of the loop's own thread, for reads that are short by their bounds."""
        self._writer = writer
        self._gatherer = Gatherer(writer, partial(settle, reach=writer.reach))
        self._readers = readers
        self._local = local
        self._walks: dict[int, ordering.Place] = {}  # where the latest step of reordering an endpoint ended

    async def survey(self, slots: Collection[int], *, after: int | None = None, limit: int) -> list[Backlog]:
        """Every (endpoint, lane) with open work, by endpoint; see the protocol."""
        wanted = frozenset(slots)
        behind = _BEFORE_ALL if after is None else after
        found: dict[int, list[Backlog]] = {}
        while len(found) < limit:
            look = partial(value_of, statement=_SURVEY, bindings=(behind, limit))
            rows = _BACKLOGS.decode(await self._readers.read(look))
            if not rows:
                break
            behind = rows[-1][0]
            for endpoint_key, lane, due_at, event_key in rows:
                if due_at is not None and event_key is not None and slot_of(endpoint_key) in wanted:
                    if endpoint_key not in found and len(found) == limit:
                        break
                    backlog = Backlog(endpoint_key, LANES[lane], due_at, event_key)
                    found.setdefault(endpoint_key, []).append(backlog)
        return [backlog for backlogs in found.values() for backlog in backlogs]

    async def fetch(
        self,
        endpoint_key: int,
        lane: Lane,
        *,
        now: int,
        limit: int,
        bytes_max: int,
        after: tuple[int, int] | None = None,
    ) -> Refill:
        """The first due deliveries of a queue; see the protocol."""
        place = (endpoint_key, lane, now, *(after or _FRONT), limit + 1)
        return in_snapshot(self._local, lambda connection: _fetch(connection, place, bytes_max))

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Write the outcomes of attempts; see the protocol."""
        settled, start = await self._gatherer.submit(settlements)
        end = start + len(settlements)
        return Settled(
            tuple(i - start for i in settled.fenced if start <= i < end),
            tuple(i - start for i in settled.superseded if start <= i < end),
        )

    async def supersede(self, deliveries: Sequence[tuple[int, int]], *, now: int) -> list[tuple[int, int]]:
        """Discard what is out of date; see the protocol."""
        return await self._writer.submit(lambda connection: discarding.supersede(connection, deliveries, now))

    async def retry(self, event_key: int, endpoint_key: int, *, now: int) -> Obligation | None:
        """Make a delivery due now; see the protocol."""
        return await self._writer.submit(lambda connection: _retry(connection, event_key, endpoint_key, now))

    async def retime(
        self, slots: Collection[int], *, now: int, after: tuple[int, int], limit: int
    ) -> list[tuple[int, int]]:
        """Set due times anew that a clock ahead of ``now`` has set; see the protocol."""
        wanted = frozenset(slots)
        kept: list[tuple[int, ...]] = []
        while not kept:  # else it would look like the end, where all of a part are in other slots
            bindings = {"now": now, "event": after[0], "endpoint": after[1], "limit": limit}
            rows = await self._readers.read(partial(rows_of, statement=_TIMED_AHEAD, bindings=bindings))
            if not rows:
                return []
            after = rows[-1][1:3]
            kept = [row for row in rows if slot_of(row[2]) in wanted]
        await self._writer.submit(lambda connection: _retime(connection, kept))
        return [(event_key, endpoint_key) for _due_at, event_key, endpoint_key, *_ in kept]

    async def discard(self, event_key: int, endpoint_key: int, *, reason: str, now: int) -> bool:
        """Discard an open delivery; see the protocol."""
        return await self._writer.submit(lambda connection: _discard(connection, event_key, endpoint_key, reason, now))

    async def discard_endpoint(self, endpoint_key: int, *, reason: str, now: int, limit: int) -> int:
        """Discard open deliveries of an endpoint; see the protocol."""
        return await self._writer.submit(
            lambda connection: discarding.discard_endpoint(connection, endpoint_key, reason, now, limit)
        )

    async def reorder(self, endpoint_key: int, order: Order, *, now: int, limit: int) -> int:
        """Bring open deliveries in line with an order; see the protocol.

        What is not in line is looked for off the loop, from where the latest step ended. Deliveries may have moved to
        before that place, so only a look at all of them in one snapshot that finds nothing is the end.
        """
        if order is Order.NONE:
            return await self._writer.submit(
                lambda connection: ordering.give_up_order(connection, endpoint_key, now, limit)
            )
        while True:
            after = self._walks.pop(endpoint_key, ordering.FIRST_PLACE)
            look = partial(ordering.not_in_order, endpoint_key=endpoint_key, after=after, limit=limit)
            found = await self._readers.read(look)
            if found:
                lane, due_at, event_key, _ordering_key = found[-1]
                self._walks[endpoint_key] = (lane, due_at, event_key)
                keep = partial(ordering.keep_order, endpoint_key=endpoint_key, found=found)
                if changed := await self._writer.submit(keep):
                    return changed
            elif after == ordering.FIRST_PLACE:
                return 0

    async def health(self, slots: Collection[int]) -> list[Health]:
        """Every endpoint in these slots that is not well; see the protocol."""
        wanted = frozenset(slots)
        known = _HEALTH.decode(await self._readers.read(lambda connection: value_of(connection, _ALL_HEALTH)))
        return [health for health in known if slot_of(health.endpoint_key) in wanted]

    async def put_health(self, endpoint_key: int, health: Health | None, *, epoch: int) -> bool:
        """Insert, replace or forget, if the slot is held; see the protocol."""
        return await self._writer.submit(lambda connection: _put_health(connection, endpoint_key, health, epoch))


def _fetch(connection: apsw.Connection, place: tuple[int, ...], bytes_max: int) -> Refill:
    """What follows ``place``: the bindings of the statement, whose limit is one more than what is wanted."""
    endpoint_key, lane_number, now, *_, limit = place
    lane = LANES[lane_number]
    work: list[Work] = []
    size = 0
    more = False
    rows: Iterable[Any] = connection.execute(_FETCH, place)
    for event_key, due_at, opened_at, attempts, round_, last_number, ordering_key, newer, *event in rows:
        size += len(event[5])
        if len(work) == limit - 1 or (work and size > bytes_max):
            more = True  # one row more than asked for was read, to know this
            break
        obligation = Obligation(
            event_key, endpoint_key, lane, due_at, opened_at, attempts, round_, last_number, ordering_key
        )
        work.append(Work(obligation, event_of((event_key, *event)), bool(newer)))
    return Refill(tuple(work), more, value_of(connection, _NEXT_DUE_AT, (endpoint_key, lane, now)))


def _retry(connection: apsw.Connection, event_key: int, endpoint_key: int, now: int) -> Steps[Obligation | None]:
    obligation = reopening.retry(connection, event_key, endpoint_key, now)
    yield 2
    return obligation


def _retime(connection: apsw.Connection, rows: Sequence[tuple[int, ...]]) -> Steps[None]:
    connection.executemany(_RETIME, rows)
    yield len(rows)


def _discard(connection: apsw.Connection, event_key: int, endpoint_key: int, reason: str, now: int) -> Steps[bool]:
    discarded = discarding.discard(connection, [(event_key, endpoint_key)], reason=reason, now=now)
    yield 1
    return bool(discarded)


def _put_health(connection: apsw.Connection, endpoint_key: int, health: Health | None, epoch: int) -> Steps[bool]:
    if not value_of(connection, _IS_HELD, (slot_of(endpoint_key), epoch)):
        yield 0
        return False
    if health is None:
        connection.execute(_DELETE_HEALTH, (endpoint_key,))
    else:
        connection.execute(_PUT_HEALTH, astuple(health))
    yield 1
    return True
