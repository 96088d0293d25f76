"""Counting numbers in memory: as if each number that comes late were looked up in what is stored."""

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.gaps import STEPS_MIN, Stream
from posthouse.store.shared.streams import Counted, Counting, Filled, OpenGap
from posthouse.testing.conformance.scene import Scene
from posthouse.testing.conformance.values import NOW, SOURCE, Values

#: What readings say: each the numbers of two streams.
readings = st.lists(
    st.lists(st.tuples(st.sampled_from("st"), st.integers(1, 60)), min_size=1, max_size=12), min_size=1, max_size=8
)


def counted(values: Values, numbers: list[tuple[str, int]], now: int) -> Counted:
    """What a reading that holds these numbers says."""
    scene = Scene.__new__(Scene)
    scene.values = values
    events = [values.read_event(f"{n}", stream=stream, sequence=n) for stream, n in numbers]
    by_stream: dict[str, list[int]] = {}
    for stream, number in numbers:
        by_stream.setdefault(stream, []).append(number)
    return Counted(scene.reading(values.request(), *events), now, by_stream)


@given(readings=readings)
def test_it_is_the_same_whether_readings_come_together_or_one_by_one(readings: list[list[tuple[str, int]]]) -> None:
    """Written and read again between any two of them, or counted on at once."""
    values = Values()
    start = counted(values, [(s, n) for s in "st" for n in range(1, STEPS_MIN + 2)], NOW)
    given_ = [start, *(counted(values, numbers, NOW + i) for i, numbers in enumerate(readings, 1))]

    together = Counting({}, ())
    for one in given_:
        together.count_on(one)

    stored: dict[int, tuple[OpenGap, int | None]] = {}
    kept: Counting = Counting({}, ())
    for one in given_:
        kept = Counting(kept.streams, [gap for gap, closed_at in stored.values() if closed_at is None])
        kept.count_on(one)
        for key, missing, closed_at in kept.filled.values():
            stored[key] = (stored[key][0]._replace(missing=missing), closed_at)
        for i in kept.opened:
            gap = OpenGap(i.key, i.source_key, i.stream or "", i.first or 0, i.last or 0, i.missing or 0)
            stored[i.key] = (gap, i.closed_at)

    assert together.streams == kept.streams
    assert {i.key: (i.first, i.last, i.missing, i.closed_at) for i in together.opened} == {
        gap.key: (gap.first, gap.last, gap.missing, closed_at) for gap, closed_at in stored.values()
    }


def test_numbers_fill_only_the_gap_that_holds_them() -> None:
    values = Values()
    gaps = [OpenGap(1, SOURCE, "s", 5, 6, 2), OpenGap(2, SOURCE, "s", 9, 9, 1), OpenGap(3, 6, "s", 5, 6, 2)]
    counting = Counting({(SOURCE, "s"): Stream(20, STEPS_MIN)}, gaps)
    counting.count_on(counted(values, [("s", n) for n in (4, 5, 7, 9, 10)], NOW))
    assert list(counting.filled.values()) == [Filled(1, 1, None), Filled(2, 0, NOW)]
    assert counting.opened == ()
