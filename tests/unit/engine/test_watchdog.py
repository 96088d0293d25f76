"""The watchdog: what does not move is said once, and nothing that moves, waits or was asleep is ever said."""

import random

import pytest

from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.limits import STUCK_MS
from posthouse.core.model import Lane
from posthouse.engine import watchdog as watchdog_module
from posthouse.engine.watchdog import Mark, Queue, Watchdog
from posthouse.telemetry import Log
from posthouse.testing.manual_clock import ManualClock

SWEEP_MS = 5_000
QUEUE: Queue = (7, Lane.LIVE)
OTHER: Queue = (7, Lane.RETRY)


class Bench:
    """A watchdog, its clock, and what it logged."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.dog = Watchdog(self.clock)
        self.due_at = self.clock.now_ms()
        self.said: list[tuple[str, str, str]] = []

    def look(self, *queues: Queue, event: int = 0, free: bool = True, after_ms: int = SWEEP_MS) -> list[Queue]:
        """Let time pass, then show these queues."""
        self.clock.advance(after_ms)
        return list(self.dog.look(dict.fromkeys(queues, Mark(self.due_at, event)), free=free))

    def make_stuck(self, *queues: Queue) -> None:
        found = [self.look(*queues) for _ in range(3)]
        assert found == [[], [], list(queues)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench()
    monkeypatch.setattr(
        watchdog_module,
        "log",
        lambda event, *, endpoint, lane, seconds: bench.said.append((event.name, endpoint, lane)),
    )
    return bench


def test_what_is_due_and_does_not_move_for_ten_seconds_is_stuck(bench: Bench) -> None:
    bench.make_stuck(QUEUE)
    assert set(bench.dog.stuck) == {QUEUE}
    assert bench.dog.seconds == pytest.approx(STUCK_MS / 1_000)
    bench.clock.advance(60_000)
    assert bench.dog.seconds == pytest.approx(STUCK_MS / 1_000 + 60)


def test_it_is_said_once_and_once_more_when_it_moves(bench: Bench) -> None:
    bench.make_stuck(QUEUE)
    for _ in range(5):
        assert bench.look(QUEUE) == []
    assert bench.look() == []
    endpoint = make_id(ENDPOINT, 7)
    assert bench.said == [("QUEUE_STUCK", endpoint, "live"), ("QUEUE_MOVES", endpoint, "live")]
    assert (bench.dog.stuck, bench.dog.seconds) == ({}, 0)


def test_lanes_of_an_endpoint_are_apart(bench: Bench) -> None:
    bench.make_stuck(QUEUE)
    bench.look(QUEUE, OTHER)
    bench.look(QUEUE, OTHER)
    assert set(bench.dog.stuck) == {QUEUE}
    assert bench.look(QUEUE, OTHER) == [OTHER]


def test_a_queue_that_delivers_is_not_stuck_although_more_is_always_due(bench: Bench) -> None:
    """A batch shares one due time: it is another event that stands first after each one that left."""
    for event in range(20):
        assert bench.look(QUEUE, event=event) == []
    assert bench.dog.stuck == {}


def test_one_delivery_that_is_tried_again_and_again_is_not_stuck(bench: Bench) -> None:
    """Each attempt gives it a later time, also where it is the only one of its queue."""
    for _ in range(20):
        assert bench.look(QUEUE) == []
        assert bench.look(QUEUE) == []
        bench.due_at += 1
    assert bench.dog.stuck == {}


def test_another_head_moves_a_stuck_queue(bench: Bench) -> None:
    bench.make_stuck(QUEUE)
    bench.look(QUEUE, event=1)
    assert bench.dog.stuck == {}
    assert [event for event, *_ in bench.said] == ["QUEUE_STUCK", "QUEUE_MOVES"]


def test_what_was_held_in_between_begins_anew(bench: Bench) -> None:
    for _ in range(10):
        assert bench.look(QUEUE) == []
        assert bench.look(QUEUE) == []
        assert bench.look() == [], "paused, in flight, waiting for a commit, not due"


def test_a_node_that_was_full_makes_nothing_stuck(bench: Bench) -> None:
    for _ in range(10):
        assert bench.look(QUEUE, free=False) == []
    assert bench.look(QUEUE) == []
    assert bench.dog.stuck == {}


def test_a_node_that_is_full_does_not_hide_what_is_stuck_already(bench: Bench) -> None:
    bench.make_stuck(QUEUE)
    assert bench.look(QUEUE, free=False) == []
    assert set(bench.dog.stuck) == {QUEUE}


def test_a_wall_clock_that_is_set_forward_makes_nothing_stuck(bench: Bench) -> None:
    """A laptop slept: everything looks overdue at once, and must be given the time to move."""
    bench.look(QUEUE, after_ms=0)
    bench.clock.step(8 * 3_600_000)
    assert bench.look(QUEUE, after_ms=100) == []
    assert bench.look(QUEUE) == []
    assert bench.dog.stuck == {}


def test_a_process_that_stood_still_makes_nothing_stuck(bench: Bench) -> None:
    """It was stopped for an hour; what it saw before proves nothing about the time since it goes on."""
    bench.look(QUEUE)
    assert bench.look(QUEUE, after_ms=3_600_000) == []
    assert bench.dog.stuck == {}


def test_looks_that_follow_each_other_quickly_make_nothing_stuck(bench: Bench) -> None:
    for _ in range(50):
        assert bench.look(QUEUE, after_ms=100) == []


def test_a_wall_clock_that_says_it_is_not_overdue_yet_is_believed(bench: Bench) -> None:
    bench.look(QUEUE)
    bench.clock.step(-20_000)
    assert [bench.look(QUEUE) for _ in range(3)] == [[], [], []]


def test_the_log_names_a_bounded_number_and_the_gauge_counts_all(bench: Bench) -> None:
    queues = [(key, Lane.LIVE) for key in range(1_000)]
    bench.make_stuck(*queues)
    assert len(bench.dog.stuck) == 1_000
    assert len(bench.said) == watchdog_module.TOLD_MAX
    bench.look()
    assert len(bench.said) == 2 * watchdog_module.TOLD_MAX, "each that was named is named when it moves"


def test_at_the_end_nothing_is_stuck(bench: Bench) -> None:
    bench.make_stuck(QUEUE)
    bench.dog.end()
    assert (bench.dog.stuck, bench.dog.seconds) == ({}, 0)


@pytest.mark.parametrize("seed", range(20))
def test_stuck_is_exactly_what_did_not_move_while_it_could(bench: Bench, seed: int) -> None:
    """Against a model that remembers everything."""
    chance = random.Random(seed)
    unmoved: dict[Queue, list[float]] = {}  # when it was seen unmoved and the node was free
    expected: set[Queue] = set()
    event = 0
    for _ in range(200):
        free = chance.random() < 0.8
        queues = [queue for queue in (QUEUE, OTHER, (8, Lane.LIVE)) if chance.random() < 0.9]
        if chance.random() < 0.1:
            event += 1
            unmoved.clear()
            expected.clear()
        bench.look(*queues, event=event, free=free, after_ms=chance.choice((100, 4_000, 6_000, 20_000)))
        now = bench.clock.monotonic()
        for queue in (QUEUE, OTHER, (8, Lane.LIVE)):
            if queue not in queues:
                unmoved.pop(queue, None)
                expected.discard(queue)
            elif queue not in expected:
                times = unmoved.setdefault(queue, [])
                if not free:
                    times.clear()
                times.append(now)
                if len(times) >= 3 and now - times[0] >= STUCK_MS / 1_000:
                    expected.add(queue)
        assert set(bench.dog.stuck) == expected
    assert any(event == Log.QUEUE_STUCK.name for event, *_ in bench.said)
