"""The feed: one writes at a time, so the next row is the next commit."""

from collections.abc import Iterable
from functools import partial
from itertools import takewhile
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.ids import first_key_at
from posthouse.core.limits import FEED_CONSUMERS_MAX
from posthouse.core.model import Environment
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
from posthouse.store.sqlite.readers import Readers
from posthouse.store.sqlite.rows import ENVIRONMENTS, event_of, rows_of, value_of
from posthouse.store.sqlite.statements import SQL
from posthouse.store.sqlite.writer import Steps, Writer

_BEFORE: Final = SQL["feed_commit_before"]
_COMMITS: Final = SQL["feed_commits"]
_CONSUMER: Final = SQL["feed_consumer"]
_CONSUMERS: Final = SQL["feed_consumers"]
_COUNT_CONSUMERS: Final = SQL["count_feed_consumers"]
_DELETE_COMMITS: Final = SQL["delete_feed_commits"]
_DELETE_CONSUMER: Final = SQL["delete_feed_consumer"]
_END: Final = SQL["feed_end"]
_EVENTS: Final = SQL["feed_events"]
_FIRST_COMMITS: Final = SQL["first_feed_commits"]
_FLOOR: Final = SQL["feed_floor"]
_HEADS: Final = SQL["feed_heads"]
_INSERT_COMMIT: Final = SQL["insert_feed_commit"]
_PUT_CONSUMER: Final = SQL["put_feed_consumer"]
_RAISE_FLOOR: Final = SQL["raise_feed_floor"]
_SIZES: Final = SQL["feed_sizes"]

_KEYS: Final = msgspec.json.Decoder(list[int])
_encode = msgspec.json.Encoder().encode


def write_commit(connection: apsw.Connection, keys: Iterable[int]) -> None:
    """Write down that these events are accepted by this transaction."""
    for part in feeding.parts_of(keys):
        connection.execute(_INSERT_COMMIT, (part[0], part[-1], len(part), _encode(part).decode()))


class SqliteFeed:
    """The feed facet."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def read(self, query: FeedQuery, position: FeedPosition | None, *, limit: int) -> FeedPage | FeedGone:
        """What follows a position; see the protocol."""
        return await self._readers.read(partial(_read, query=query, position=position, limit=limit))

    async def start(self) -> FeedPosition:
        """Ahead of the first event that is kept; see the protocol."""
        return await self._readers.read(lambda connection: feeding.start_of(_floor(connection)))

    async def end(self) -> FeedPosition:
        """Behind everything; see the protocol."""
        return await self._readers.read(_end)

    async def lag(self, query: FeedQuery, position: FeedPosition) -> FeedLag | FeedGone:
        """How many wanted events follow a position; see the protocol."""
        return await self._readers.read(partial(_lag, query=query, position=position))

    async def consumers(self, environment: Environment) -> list[FeedConsumer]:
        """All consumers; see the protocol."""
        rows = await self._readers.read(lambda connection: rows_of(connection, _CONSUMERS, (environment,)))
        return [_consumer(row) for row in rows]

    async def consumer(self, environment: Environment, name: str) -> FeedConsumer | None:
        """The consumer of that name; see the protocol."""
        return await self._readers.read(partial(_find, environment=environment, name=name))

    async def acknowledge(
        self, environment: Environment, name: str, position: FeedPosition, *, now: int, back: bool = False
    ) -> FeedAck:
        """Put a consumer to a position; see the protocol."""
        return await self._writer.submit(
            partial(_acknowledge, consumer=FeedConsumer(environment, name, position, now, now), back=back)
        )

    async def remove(self, environment: Environment, name: str) -> bool:
        """Forget a consumer; see the protocol."""
        return await self._writer.submit(partial(_remove, environment=environment, name=name))

    async def forget(self, *, before: int, limit: int) -> int:
        """Let go of the first commits; see the protocol."""
        return await self._writer.submit(partial(_forget, before=first_key_at(before), limit=limit))


def _floor(connection: apsw.Connection) -> Floor:
    return Floor(*rows_of(connection, _FLOOR)[0])


def _end(connection: apsw.Connection) -> FeedPosition:
    found = rows_of(connection, _END)
    return FeedPosition(found[0][0], found[0][1], found[0][3]) if found else feeding.start_of(_floor(connection))


def _walk(connection: apsw.Connection, position: FeedPosition, floor: Floor) -> Walk | FeedGone:
    sizes = rows_of(connection, _SIZES, (position.place, feeding.WALK_COMMITS))
    last = feeding.last_of(sizes, feeding.WALK_EVENTS + position.taken)
    rows = [] if last is None else rows_of(connection, _COMMITS, (position.place, last))
    commits = [Commit(place, first_key, _KEYS.decode(keys)) for place, first_key, keys in rows]
    walk = feeding.walk_from(position, commits, floor)
    return _gone(connection, walk, position, floor) if isinstance(walk, Lost) else walk


def _gone(connection: apsw.Connection, reason: Lost, position: FeedPosition, floor: Floor) -> FeedGone:
    before = rows_of(connection, _BEFORE, (feeding.surely_seen(position), feeding.SEARCH_COMMITS))
    found = FeedPosition(*before[0]) if before else None
    last = rows_of(connection, _END)
    return feeding.gone(reason, position, found, floor, now_key=last[0][2] if last else floor.last_key)


def _heads(connection: apsw.Connection, query: FeedQuery, walk: Walk) -> list[Head]:
    keys = _encode([step.key for step in walk.steps]).decode()
    return [Head(*row) for row in rows_of(connection, _HEADS, (keys, query.environment, query.tenant))]


def _read(
    connection: apsw.Connection, *, query: FeedQuery, position: FeedPosition | None, limit: int
) -> FeedPage | FeedGone:
    floor = _floor(connection)
    walk = _walk(connection, feeding.start_of(floor) if position is None else position, floor)
    if isinstance(walk, FeedGone):
        return walk
    choice = feeding.choose(query, walk, _heads(connection, query, walk), limit=limit)
    keys = _encode([step.key for step in choice.steps]).decode()
    events = [event_of(row) for row in rows_of(connection, _EVENTS, (keys,))]
    return feeding.page_of(choice, events, is_end=walk.end == _end(connection))


def _lag(connection: apsw.Connection, *, query: FeedQuery, position: FeedPosition) -> FeedLag | FeedGone:
    walk = _walk(connection, position, _floor(connection))
    if isinstance(walk, FeedGone):
        return walk
    return feeding.lag_of(query, walk, _heads(connection, query, walk), is_end=walk.end == _end(connection))


def _consumer(row: tuple[Any, ...]) -> FeedConsumer:
    environment, name, place, first_key, taken, created_at, acknowledged_at = row
    return FeedConsumer(
        ENVIRONMENTS[environment], name, FeedPosition(place, first_key, taken), created_at, acknowledged_at
    )


def _find(connection: apsw.Connection, *, environment: Environment, name: str) -> FeedConsumer | None:
    found = rows_of(connection, _CONSUMER, (environment, name))
    return _consumer(found[0]) if found else None


def _acknowledge(connection: apsw.Connection, *, consumer: FeedConsumer, back: bool) -> Steps[FeedAck]:
    environment, name, position = consumer.environment, consumer.name, consumer.position
    walk = _walk(connection, position, _floor(connection))
    if isinstance(walk, FeedGone):
        return walk
    now = _find(connection, environment=environment, name=name)
    if now is not None and now.position > position and not back:
        return FeedBehind(now.position)
    if now is None and value_of(connection, _COUNT_CONSUMERS, (environment,)) >= FEED_CONSUMERS_MAX:
        return TooManyConsumers()
    place = (position.place, position.first_key, position.taken)
    connection.execute(_PUT_CONSUMER, (environment, name, *place, consumer.acknowledged_at))
    yield 1
    return consumer if now is None else msgspec.structs.replace(consumer, created_at=now.created_at)


def _remove(connection: apsw.Connection, *, environment: Environment, name: str) -> Steps[bool]:
    before = connection.total_changes()
    connection.execute(_DELETE_CONSUMER, (environment, name))
    yield 1
    return connection.total_changes() > before


def _forget(connection: apsw.Connection, *, before: int, limit: int) -> Steps[int]:
    first = [Floor(*row) for row in rows_of(connection, _FIRST_COMMITS, (limit + 1,))]
    old = list(takewhile(lambda commit: commit.last_key < before, first[:-1]))
    if old:
        connection.execute(_DELETE_COMMITS, (old[-1].place,))
        connection.execute(_RAISE_FLOOR, old[-1])
    yield len(old)
    return len(old)
