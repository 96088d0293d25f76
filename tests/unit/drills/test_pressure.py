"""What the drills under pressure publish, demand and compute; what they do is elsewhere."""

from collections import Counter, defaultdict
from itertools import islice

import pytest

from posthouse.drills.flood import Course, Replay, backlog_share
from posthouse.drills.neighbours import ENDPOINTS, FLOOD, Traffic
from posthouse.drills.order import CALM, DELAY_SECONDS_MAX, VERSION, VERSIONS, failing, list_of_events, place_of
from posthouse.drills.outage import tries_within
from posthouse.drills.receiving import Entrance
from posthouse.drills.senders.books import Fate

# -- order --------------------------------------------------------------------------------------


def test_every_key_gets_every_version_in_order_and_others_come_between() -> None:
    events = list(list_of_events(45))
    versions = defaultdict(list)
    for event in events:
        placed = place_of(event.id)
        assert (placed is None) == event.id.startswith(CALM) == (event.type == CALM)
        if placed is not None:
            versions[placed[0]].append(placed[1])
            assert event.ordering_key == placed[0]
    assert len(versions) == 45
    assert all(found == list(range(1, VERSIONS + 1)) for found in versions.values())
    assert len({event.id for event in events}) == len(events) == 4 * 45 * VERSIONS
    assert len({event.ordering_key for event in events if event.type == CALM}) == 45


def test_a_fifth_of_the_versions_fail_alike_each_time_and_nothing_else_does() -> None:
    one, other = failing("1-/fifo"), failing("1-/fifo")
    replies = {f"{VERSION}-{n}-1": [one(f"{VERSION}-{n}-1") for _ in range(3)] for n in range(2_000)}
    for event in reversed(replies):
        assert [other(event) for _ in range(3)] == replies[event], "whatever the order of the requests"
    flat = [reply for found in replies.values() for reply in found]
    assert sum(reply.status == 500 for reply in flat) / len(flat) == pytest.approx(0.2, abs=0.02)
    assert all(0 <= reply.delay_s < DELAY_SECONDS_MAX for reply in flat)
    assert {one(f"{CALM}-{n}-1").status for n in range(500)} == {200}
    elsewhere = failing("1-/latest")
    assert [elsewhere(event) for event in replies] != [found[0] for found in replies.values()]


# -- neighbours ---------------------------------------------------------------------------------


def test_a_flood_is_a_hundred_times_as_much_for_one_endpoint_and_evenly_spread() -> None:
    types = [f"drill.{number}" for number in range(ENDPOINTS)]
    traffic = Traffic(types, seed=1)
    events = traffic.events()
    assert traffic.rate == ENDPOINTS
    assert [event.type for event in islice(events, ENDPOINTS)] == types
    traffic.floods = True
    assert traffic.rate == ENDPOINTS + FLOOD - 1
    flood = list(islice(events, 20 * (ENDPOINTS + FLOOD - 1)))
    counts = Counter(event.type for event in flood)
    assert counts[types[0]] == pytest.approx(20 * FLOOD, abs=2)
    assert {counts[name] for name in types[1:]} == {20}
    firsts = Counter(event.type for event in flood[: len(flood) // 2])
    assert firsts[types[0]] == pytest.approx(10 * FLOOD, abs=2)
    assert len({event.id for event in flood}) == len(flood)


# -- outage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("down_s", "probes"), [(0.5, 0), (1, 1), (3, 2), (7, 3), (31, 5), (61, 6), (121, 8)])
def test_a_down_endpoint_should_get_few_requests(down_s: float, probes: int) -> None:
    assert tries_within(down_s) == 21 + probes


# -- flood --------------------------------------------------------------------------------------


def test_the_backlog_is_measured_while_it_may_drain() -> None:
    course = Course(began_at=100.0, parked_at=104.0, drained_at=110.0, ended_at=116.0)
    busy = [*(100 + n / 10 for n in range(40)), *(112 + n / 10 for n in range(40))]
    fresh = [100 + n / 2 for n in range(32)]
    assert backlog_share(busy, fresh, course) == pytest.approx(20 / 24)
    starved = [at for at in busy if not 102 <= at < 104]
    assert backlog_share(starved, fresh, course) == 0.0


def test_a_replay_is_over_when_every_old_record_was_taken_whatever_comes_besides() -> None:
    replay = Replay(Entrance("src_1", "http://127.0.0.1:9/in/token", "a-secret"), 3, seed=1)
    old = list(replay.books.entries)
    replay.books.open("fresh", "TrainingCompleted")
    assert [len(replay.old), len(replay.fresh)] == [3, 1]
    for key in ("fresh", old[0], old[2]):
        replay.books.settle([key], Fate.DELIVERED)
        assert not replay.is_over
    assert replay.books.delivered == 3
    replay.books.settle([old[1]], Fate.DELIVERED)
    assert replay.is_over
