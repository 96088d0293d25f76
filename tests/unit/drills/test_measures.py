"""What drills measure about time and order."""

import pytest

from posthouse.drills.measures import Place, Sequences, latencies, least_share, most_within, percentile, sequences
from posthouse.drills.publisher import Sent
from posthouse.drills.receivers import Inbox, Seen, Step


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.99, 0.0),
        ([3.0], 0.99, 3.0),
        ([2.0, 1.0], 0.5, 1.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 1.0, 100.0),
        ([float(n) for n in range(1, 102)], 0.99, 100.0),
    ],
)
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_a_latency_goes_from_the_202_to_the_first_200_at_each_receiver() -> None:
    sent = {
        "a-1": Sent("drill.a", b"", accepted_at=10.0),
        "a-2": Sent("drill.a", b"", accepted_at=11.0),
        "a-3": Sent("drill.a", b"", accepted_at=12.0),  # never handled at one of them
        "a-4": Sent("drill.a", b"", accepted_at=20.0),  # too late
        "a-5": Sent("drill.a", b""),  # no 202
        "b-1": Sent("drill.b", b"", accepted_at=12.0),
    }
    everything, only_a = Inbox("/all", "", ["*"]), Inbox("/a", "", ["drill.a"])
    everything.seen = {
        "a-1": Seen(b"", 2, 0, 2, answered_at=13.0),
        "a-2": Seen(b"", 1, 0, 1, answered_at=10.9),  # before its 202 had arrived
        "a-3": Seen(b"", 1, 0, 1, answered_at=12.25),
        "b-1": Seen(b"", 1, 0, 1, answered_at=12.5),
    }
    everything.repeated = {"a-1": [10.5]}
    only_a.seen = {"a-1": Seen(b"", 1, 0, 1, answered_at=12.0), "a-2": Seen(b"", 1, 0, 1, answered_at=12.0)}
    only_a.seen["a-3"] = Seen(b"", 3)
    found = latencies(sent, [everything, only_a], since=10.0, until=20.0, now=30.0, prefix="a-")
    assert sorted(found) == [0.0, 0.25, 0.5, 1.0, 2.0, 18.0]
    assert latencies(sent, [everything], since=0.0, until=20.0, now=30.0, prefix="b-") == [0.5]


@pytest.mark.parametrize(
    ("times", "expected"),
    [([], 0), ([5.0], 1), ([0.0, 1.0], 1), ([0.0, 0.999], 2), ([0.0, 0.5, 0.9, 1.4, 1.45, 1.6, 9.0], 4)],
)
def test_the_most_within_a_second(times: list[float], expected: int) -> None:
    assert most_within(times, 1.0) == expected


def test_the_least_share_is_that_of_the_worst_whole_step() -> None:
    part, others = [0.5, 1.5, 2.1, 2.2, 2.3, 9.0], [0.1, 1.1, 1.2, 1.3, 2.5, 3.5, 3.6]
    assert least_share(part, others, since=0.0, until=3.9, every=1.0) == 0.25
    assert least_share(part, others, since=0.0, until=0.9, every=1.0) == 1.0
    assert least_share(part, others, since=0.0, until=4.0, every=1.0) == 0.0
    assert least_share([], [], since=0.0, until=1.0, every=1.0) == 0.0


# -- order --------------------------------------------------------------------------------------


def place_of(event: str) -> Place | None:
    """``a3`` is the third of key a."""
    return None if event.startswith("-") else (event[0], int(event[1:]))


def trace(*steps: str) -> list[Step]:
    """``a1?`` is a request, ``a1`` a 200, ``a1!`` a failure."""
    statuses: dict[str, int | None] = {"?": None, "!": 500}
    return [Step(float(at), step.rstrip("?!"), statuses.get(step[-1], 200)) for at, step in enumerate(steps)]


def seen(*steps: str, gapless: bool = True) -> Sequences:
    return sequences(trace(*steps), place_of, gapless=gapless)


def test_in_order_with_failures_and_other_keys_between() -> None:
    found = seen("a1?", "a1!", "b1?", "b1", "a1?", "a1", "-x?", "-x", "a2?", "a2", "b2?", "b2")
    assert found == Sequences(handled=4, last={"a": 2, "b": 2})


def test_a_request_before_an_earlier_one_was_handled_overtakes_it() -> None:
    found = seen("a1?", "a2?", "a1", "a2")
    assert (found.overtakings, found.inversions) == (1, 0)


def test_a_gap_is_an_overtaking_only_where_each_is_to_be_handled() -> None:
    assert seen("a1?", "a1", "a3?", "a3").overtakings == 1
    assert seen("a1?", "a1", "a3?", "a3", gapless=False) == Sequences(handled=2, last={"a": 3})


def test_what_is_handled_after_a_later_one_is_inverted() -> None:
    for gapless in (True, False):
        found = seen("a2?", "a2", "a1?", "a1", gapless=gapless)
        assert (found.inversions, found.handled, found.last) == (1, 2, {"a": 1})


def test_a_repeat_is_no_inversion_but_it_is_the_last_state() -> None:
    found = seen("a1?", "a1", "a2?", "a2", "a1?", "a1")
    assert (found.inversions, found.overtakings, found.handled) == (0, 0, 2)
    assert found.last == {"a": 1}
