"""The feed: by the numbers of transactions, up to the first one that is still under way.

A number is given when a transaction begins to write, and one with a lower number may commit later. Whoever read up to
the greatest number that can be seen would never see that one. Below the server's own horizon nothing is under way.
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import Final

import asyncpg
from msgspec.structs import replace

from posthouse.core.ids import first_key_at
from posthouse.core.limits import FEED_CONSUMERS_MAX
from posthouse.core.model import Environment, Event
from posthouse.store.postgres.lane import Lanes
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol.feed import (
    FeedAck,
    FeedBehind,
    FeedConsumer,
    FeedGone,
    FeedLag,
    FeedPage,
    FeedPosition,
    FeedQuery,
    Lost,
    TooManyConsumers,
)
from posthouse.store.shared import feeding
from posthouse.store.shared.feeding import Commit, Floor, Head, Walk

_ENVIRONMENTS: Final[Mapping[str, Environment]] = {member.value: member for member in Environment}


class PostgresFeed:
    """The feed facet."""

    def __init__(self, lanes: Lanes, readers: Readers) -> None:
        self._lane = lanes.misc
        self._readers = readers

    async def read(self, query: FeedQuery, position: FeedPosition | None, *, limit: int) -> FeedPage | FeedGone:
        """What follows a position; see the protocol."""

        async def run(snapshot: Transaction) -> FeedPage | FeedGone:
            floor = await _floor(snapshot)
            walk = await _walk(snapshot, feeding.start_of(floor) if position is None else position, floor)
            if isinstance(walk, FeedGone):
                return walk
            choice = feeding.choose(query, walk, await _heads(snapshot, query, walk), limit=limit)
            keys = [step.key for step in choice.steps]
            events = [_event(row) for row in await snapshot.rows("feed_events", keys)] if keys else []
            return feeding.page_of(choice, events, is_end=walk.end == await _end(snapshot, floor))

        return await self._readers.snapshot(run)

    async def start(self) -> FeedPosition:
        """Ahead of the first event that is kept; see the protocol."""
        (floor,) = await self._readers.quick("feed_floor")
        return feeding.start_of(Floor(*floor))

    async def end(self) -> FeedPosition:
        """Behind everything that can be read; see the protocol."""
        found = await self._readers.quick("feed_end")
        return FeedPosition(found[0]["place"], found[0]["first_key"], found[0]["size"]) if found else await self.start()

    async def lag(self, query: FeedQuery, position: FeedPosition) -> FeedLag | FeedGone:
        """How many wanted events follow a position; see the protocol."""

        async def run(snapshot: Transaction) -> FeedLag | FeedGone:
            floor = await _floor(snapshot)
            walk = await _walk(snapshot, position, floor)
            if isinstance(walk, FeedGone):
                return walk
            heads = await _heads(snapshot, query, walk)
            return feeding.lag_of(query, walk, heads, is_end=walk.end == await _end(snapshot, floor))

        return await self._readers.snapshot(run)

    async def consumers(self, environment: Environment) -> list[FeedConsumer]:
        """All consumers; see the protocol."""
        return [_consumer(row) for row in await self._readers.quick("feed_consumers", environment.value)]

    async def consumer(self, environment: Environment, name: str) -> FeedConsumer | None:
        """The consumer of that name; see the protocol."""
        found = await self._readers.quick("feed_consumer", environment.value, name)
        return _consumer(found[0]) if found else None

    async def acknowledge(
        self, environment: Environment, name: str, position: FeedPosition, *, now: int, back: bool = False
    ) -> FeedAck:
        """Put a consumer to a position; see the protocol."""

        async def run(t: Transaction) -> FeedAck:
            walk = await _walk(t, position, await _floor(t))
            if isinstance(walk, FeedGone):
                return walk
            made = await t.count("make_feed_consumer", environment.value, name, now, FEED_CONSUMERS_MAX)
            found = await t.rows("lock_feed_consumer", environment.value, name)
            if not found:
                return TooManyConsumers()
            consumer = _consumer(found[0])
            if not made and consumer.position > position and not back:
                return FeedBehind(consumer.position)
            place = (position.place, position.first_key, position.taken)
            await t.count("move_feed_consumer", environment.value, name, *place, now)
            return replace(consumer, position=position, acknowledged_at=now)

        return await self._lane.transact(run)

    async def remove(self, environment: Environment, name: str) -> bool:
        """Forget a consumer; see the protocol."""
        return bool(await self._lane.single("delete_feed_consumer", environment.value, name))

    async def forget(self, *, before: int, limit: int) -> int:
        """Let go of the first commits; see the protocol."""
        upto = first_key_at(before)

        async def run(t: Transaction) -> int:
            await t.rows("lock_feed_floor")
            first = [Floor(*row) for row in await t.rows("first_feed_commits", limit + 1)]
            old = list(takewhile(lambda commit: commit.last_key < upto, first[:-1]))
            if old:
                await t.count("delete_feed_commits", old[-1].place)
                await t.count("raise_feed_floor", *old[-1])
            return len(old)

        return await self._lane.transact(run)


async def _floor(t: Transaction) -> Floor:
    (row,) = await t.rows("feed_floor")
    return Floor(*row)


async def _end(t: Transaction, floor: Floor) -> FeedPosition:
    found = await t.rows("feed_end")
    if not found:
        return feeding.start_of(floor)
    return FeedPosition(found[0]["place"], found[0]["first_key"], found[0]["size"])


async def _walk(t: Transaction, position: FeedPosition, floor: Floor) -> Walk | FeedGone:
    sizes = [tuple(row) for row in await t.rows("feed_sizes", position.place, feeding.WALK_COMMITS)]
    last = feeding.last_of(sizes, feeding.WALK_EVENTS + position.taken)
    rows = [] if last is None else await t.rows("feed_commits", position.place, last)
    walk = feeding.walk_from(position, [Commit(*row) for row in rows], floor)
    return await _gone(t, walk, position, floor) if isinstance(walk, Lost) else walk


async def _gone(t: Transaction, reason: Lost, position: FeedPosition, floor: Floor) -> FeedGone:
    before = await t.rows("feed_commit_before", feeding.surely_seen(position), feeding.SEARCH_COMMITS)
    last = await t.rows("feed_end")
    now_key = last[0]["last_key"] if last else floor.last_key
    return feeding.gone(reason, position, FeedPosition(*before[0]) if before else None, floor, now_key=now_key)


async def _heads(t: Transaction, query: FeedQuery, walk: Walk) -> list[Head]:
    keys = [step.key for step in walk.steps]
    return [Head(*row) for row in await t.rows("feed_heads", keys, query.environment.value, query.tenant)]


def _event(row: asyncpg.Record) -> Event:
    key, public_id, environment, tenant, event_type, accepted_at, data, occurred_at, ordering_key = row
    return Event(
        key=key,
        id=public_id,
        environment=_ENVIRONMENTS[environment],
        tenant=tenant,
        type=event_type,
        accepted_at=accepted_at,
        data=data,
        occurred_at=occurred_at,
        ordering_key=ordering_key,
    )


def _consumer(row: asyncpg.Record) -> FeedConsumer:
    environment, name, place, first_key, taken, created_at, acknowledged_at = row
    position = FeedPosition(place, first_key, taken)
    return FeedConsumer(_ENVIRONMENTS[environment], name, position, created_at, acknowledged_at)
