"""The feed: every accepted event once, in commit order, to whoever goes on from a position."""

from collections.abc import Iterable
from typing import Any

import pytest

from posthouse.core.ids import first_key_at
from posthouse.core.limits import FEED_CONSUMERS_MAX
from posthouse.core.model import Environment
from posthouse.store.protocol import (
    FEED_START,
    AcceptRequest,
    FeedBehind,
    FeedConsumer,
    FeedGone,
    FeedLag,
    FeedPage,
    FeedPosition,
    FeedQuery,
    Lost,
    Store,
    TooManyConsumers,
)
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import DAY_MS, NOW, Values

LIVE = FeedQuery(environment=Environment.LIVE)


async def page(
    store: Store, position: FeedPosition | None = None, *, query: FeedQuery = LIVE, limit: int = 1_000
) -> FeedPage:
    """What follows a position."""
    found = await store.feed.read(query, position, limit=limit)
    assert isinstance(found, FeedPage)
    return found


async def walk(store: Store, position: FeedPosition | None = None, **how: Any) -> list[int]:
    """The keys of all events behind a position, page by page."""
    keys: list[int] = []
    while True:
        found = await page(store, position, **how)
        keys += [item.event.key for item in found.events]
        if found.is_end:
            return keys
        position = found.position


async def publish(scene: Scene, *sizes: int, values: Values | None = None, **fields: Any) -> list[list[int]]:
    """Accept requests one after the other, each of so many events; their keys."""
    commits = []
    for size in sizes:
        news = [(values or scene.values).new_event(7, **fields) for _ in range(size)]
        assert isinstance(await scene.accept(*news), tuple)
        commits.append([new.event.key for new in news])
    return commits


def flat(commits: Iterable[list[int]]) -> list[int]:
    """All keys."""
    return [key for commit in commits for key in commit]


async def put(scene: Scene, position: FeedPosition, name: str = "a", **how: Any) -> Any:
    """Acknowledge a position."""
    return await scene.store.feed.acknowledge(Environment.LIVE, name, position, now=NOW, **how)


class TestFeed:
    """Every promise of the feed facet."""

    async def test_an_empty_store_is_at_its_end(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await page(scene.store) == FeedPage((), FEED_START, is_end=True)
        assert await scene.store.feed.end() == FEED_START

    async def test_events_come_in_the_order_of_their_commits(self, stores: Stores) -> None:
        """Also where their keys say otherwise: clocks of two nodes differ."""
        scene = await stores.open()
        news = [scene.values.new_event(7) for _ in range(20)]
        news = [news[7 * n % len(news)] for n in range(len(news))]
        for new in news:
            assert isinstance(await scene.accept(new), tuple)
        assert await walk(scene.store) == [new.event.key for new in news]
        assert await walk(scene.store, limit=3) == [new.event.key for new in news]

    async def test_a_page_holds_the_whole_event(self, stores: Stores) -> None:
        scene = await stores.open()
        new = scene.values.new_event(7, ordering_key="k", occurred_at=NOW - 5)
        await scene.accept(new)
        (item,) = (await page(scene.store)).events
        assert item.event == new.event
        assert item.position == await scene.store.feed.end()

    async def test_any_position_goes_on_behind_its_event(self, stores: Stores) -> None:
        """Within a transaction too, whatever is committed meanwhile, and after the store was opened again."""
        scene = await stores.open()
        keys = flat(await publish(scene, 3, 1, 5))
        items = (await page(scene.store)).events
        assert [item.event.key for item in items] == keys
        keys += flat(await publish(scene, 2))
        scene = await stores.open()
        keys += flat(await publish(scene, 2))
        for count, item in enumerate(items, 1):
            assert await walk(scene.store, item.position, limit=2) == keys[count:]

    async def test_what_comes_through_a_source_is_in_it(self, stores: Stores) -> None:
        scene = await stores.open()
        await publish(scene, 1)
        passed = await scene.bring_in(scene.values.read_event("a", 7), scene.values.read_event("b", 8))
        await publish(scene, 1)
        keys = await walk(scene.store)
        assert len(keys) == 4
        assert set(keys[1:3]) == set(await scene.events()) - {keys[0], keys[3]}
        assert len(passed.events) == 2

    async def test_what_was_not_accepted_is_not_in_it(self, stores: Stores) -> None:
        scene = await stores.open()
        twice = [scene.values.new_event(7, identities=(("id", "a"),), fingerprint=b"f", id="a") for _ in range(2)]
        for new in twice:
            await scene.accept(new)
        stale = scene.values.new_event(7)
        await scene.store.intake.accept([AcceptRequest(events=(stale,), catalogue_version=99)])
        assert await walk(scene.store) == [twice[0].event.key]

    async def test_other_environments_tenants_and_types_are_left_out(self, stores: Stores) -> None:
        """And passed by: whoever waits for few events does not look at the others again."""
        scene = await stores.open()
        wanted = flat(await publish(scene, 2, type="order.paid", tenant="acme"))
        others: tuple[dict[str, Any], ...] = (
            {"type": "order.paid", "tenant": "other"},
            {"type": "invoice.paid", "tenant": "acme"},
            {"type": "order.paid", "tenant": "acme", "environment": Environment.TEST},
        )
        for other in others:
            await publish(scene, 2, **other)
        query = FeedQuery(environment=Environment.LIVE, tenant="acme", types=("x", "order.*"))
        found = await page(scene.store, query=query)
        assert [item.event.key for item in found.events] == wanted
        assert found.position == await scene.store.feed.end()
        assert await walk(scene.store, query=query, limit=1) == wanted
        assert len(await walk(scene.store, query=FeedQuery(environment=Environment.LIVE, tenant="acme"))) == 4

    async def test_a_page_that_is_full_ends_ahead_of_what_it_does_not_hold(self, stores: Stores) -> None:
        """The filter moves the position only past what was looked at."""
        scene = await stores.open()
        first = flat(await publish(scene, 2, type="a"))
        await publish(scene, 3, type="b")
        second = flat(await publish(scene, 2, type="a"))
        query = FeedQuery(environment=Environment.LIVE, types=("a",))
        found = await page(scene.store, query=query, limit=2)
        assert [item.event.key for item in found.events] == first
        assert not found.is_end
        assert await walk(scene.store, found.position, query=query) == second
        assert await walk(scene.store, found.position) == second  # the others were passed by

    async def test_a_page_is_bounded_by_its_bytes(self, stores: Stores) -> None:
        """But always has an event, if there is one."""
        scene = await stores.open()
        keys = flat(await publish(scene, *[1] * 6, data=b'"' + b"x" * 1_000_000 + b'"'))
        found = await page(scene.store)
        assert 1 <= len(found.events) <= 4
        assert await walk(scene.store) == keys

    async def test_more_events_than_one_read_looks_at(self, stores: Stores) -> None:
        scene = await stores.open()
        keys = flat(await publish(scene, 2_500, 1, 9_000, 10_001, 2))
        few = FeedQuery(environment=Environment.LIVE, types=("nothing.so",))
        assert (await page(scene.store, query=few)).is_end is False
        assert await walk(scene.store, query=few) == []
        assert await walk(scene.store) == keys

    @pytest.mark.parametrize(
        "wrong",
        [
            FeedPosition(1 << 60, 1, 1),
            FeedPosition(1, 1, 1),
            FeedPosition(0, 1, 0),
        ],
    )
    async def test_a_position_of_another_store_is_refused(self, stores: Stores, wrong: FeedPosition) -> None:
        scene = await stores.open()
        keys = flat(await publish(scene, 2, 2))
        found = await scene.store.feed.read(LIVE, wrong, limit=10)
        assert isinstance(found, FeedGone)
        assert found.reason is Lost.UNKNOWN
        assert await walk(scene.store, found.fresh) == keys
        assert isinstance(await scene.store.feed.lag(LIVE, wrong), FeedGone)
        assert isinstance(await put(scene, wrong), FeedGone)

    async def test_a_position_of_a_time_that_was_taken_back_is_refused(self, stores: Stores) -> None:
        """The place is there again, with other events. The fresh position is not far ahead of what was seen."""
        scene = await stores.open()
        await publish(scene, 2, accepted_at=NOW - DAY_MS)
        new = flat(await publish(scene, 2))
        end = await scene.store.feed.end()
        found = await scene.store.feed.read(LIVE, FeedPosition(end.place, end.first_key + 1, 1), limit=10)
        assert isinstance(found, FeedGone)
        assert found.reason is Lost.UNKNOWN
        assert found.until < NOW - DAY_MS + 60_000
        assert await walk(scene.store, found.fresh) == new

    # -- retention ------------------------------------------------------------------------------

    async def test_what_was_let_go_is_said(self, stores: Stores) -> None:
        scene = await stores.open()
        await publish(scene, 1, 2, 2, accepted_at=NOW - DAY_MS)
        positions = [item.position for item in (await page(scene.store)).events]
        kept = flat(await publish(scene, 2))
        assert await scene.store.feed.forget(before=NOW - 60_000, limit=2) == 2
        assert await scene.store.feed.forget(before=NOW - 60_000, limit=2) == 1
        assert await scene.store.feed.forget(before=NOW - 60_000, limit=2) == 0
        for position in positions[:-1]:
            found = await scene.store.feed.read(LIVE, position, limit=10)
            assert isinstance(found, FeedGone)
            assert found.reason is Lost.EXPIRED
            assert found.since <= found.until < NOW - 60_000
            assert await walk(scene.store, found.fresh) == kept
        assert isinstance(await scene.store.feed.read(LIVE, FEED_START, limit=10), FeedGone)
        assert await walk(scene.store, positions[-1]) == kept  # nothing behind it was let go
        assert await walk(scene.store) == kept

    async def test_the_last_commit_is_never_let_go(self, stores: Stores) -> None:
        """What is committed next must stand behind it."""
        scene = await stores.open()
        keys = flat(await publish(scene, 1, 1, 1))
        assert await scene.store.feed.forget(before=NOW + DAY_MS, limit=100) == 2
        assert await walk(scene.store) == keys[2:]
        end = await scene.store.feed.end()
        more = flat(await publish(scene, 1))
        assert await walk(scene.store, end) == more
        assert await walk(scene.store) == [keys[2], *more]

    async def test_of_two_times_in_a_feed_the_first_is_kept_for_the_second(self, stores: Stores) -> None:
        """A commit that is old stays while one ahead of it is not."""
        scene = await stores.open()
        young = flat(await publish(scene, 1))
        old = flat(await publish(scene, 1, values=Values(), accepted_at=NOW - DAY_MS))
        last = flat(await publish(scene, 1))
        assert await scene.store.feed.forget(before=NOW - 60_000, limit=100) == 0
        assert await walk(scene.store) == [*young, *old, *last]

    # -- consumers ------------------------------------------------------------------------------

    async def test_a_consumer_is_where_it_says(self, stores: Stores) -> None:
        scene = await stores.open()
        await publish(scene, 3)
        first, second, _third = [item.position for item in (await page(scene.store)).events]
        made = FeedConsumer(Environment.LIVE, "a", first, NOW, NOW)
        assert await put(scene, first) == made
        assert await scene.store.feed.acknowledge(Environment.LIVE, "a", second, now=NOW + 5) == FeedConsumer(
            Environment.LIVE, "a", second, NOW, NOW + 5
        )
        scene = await stores.open()
        assert (await scene.store.feed.consumer(Environment.LIVE, "a")) == FeedConsumer(
            Environment.LIVE, "a", second, NOW, NOW + 5
        )
        assert await scene.store.feed.consumer(Environment.TEST, "a") is None

    async def test_a_consumer_moves_back_only_if_it_is_asked_to(self, stores: Stores) -> None:
        scene = await stores.open()
        await publish(scene, 2, 1)
        first, second, third = [item.position for item in (await page(scene.store)).events]
        await put(scene, third)
        for earlier in (first, second):
            assert await put(scene, earlier) == FeedBehind(third)
        assert (await scene.store.feed.consumers(Environment.LIVE))[0].position == third
        assert await put(scene, third)
        moved = await put(scene, first, back=True)
        assert isinstance(moved, FeedConsumer)
        assert moved.position == first
        assert (await scene.store.feed.consumers(Environment.LIVE))[0].position == first

    async def test_consumers_are_listed_by_name_and_removed(self, stores: Stores) -> None:
        scene = await stores.open()
        for name in ("b", "a", "B"):
            await put(scene, FEED_START, name)
        listed = await scene.store.feed.consumers(Environment.LIVE)
        assert [consumer.name for consumer in listed] == ["B", "a", "b"]
        assert await scene.store.feed.consumers(Environment.TEST) == []
        assert await scene.store.feed.remove(Environment.LIVE, "a") is True
        assert await scene.store.feed.remove(Environment.TEST, "b") is False
        assert [c.name for c in await scene.store.feed.consumers(Environment.LIVE)] == ["B", "b"]

    async def test_the_number_of_consumers_is_bounded(self, stores: Stores) -> None:
        scene = await stores.open()
        for number in range(FEED_CONSUMERS_MAX):
            assert isinstance(await put(scene, FEED_START, f"c{number}"), FeedConsumer)
        assert await put(scene, FEED_START, "one more") == TooManyConsumers()
        assert isinstance(await put(scene, FEED_START, "c0"), FeedConsumer)
        assert isinstance(await scene.store.feed.acknowledge(Environment.TEST, "c", FEED_START, now=NOW), FeedConsumer)

    async def test_how_far_a_position_is_behind(self, stores: Stores) -> None:
        scene = await stores.open()
        assert await scene.store.feed.lag(LIVE, FEED_START) == FeedLag(0, is_exact=True, oldest_at=None)
        keys = flat(await publish(scene, 2, 1))
        await publish(scene, 4, environment=Environment.TEST)
        first = (await page(scene.store)).events[0].position
        lag = await scene.store.feed.lag(LIVE, first)
        assert isinstance(lag, FeedLag)
        assert (lag.events, lag.is_exact) == (2, True)
        assert lag.oldest_at is not None
        assert first_key_at(lag.oldest_at) <= keys[1]
        assert await scene.store.feed.lag(LIVE, await scene.store.feed.end()) == FeedLag(
            0, is_exact=True, oldest_at=None
        )
