from collections import defaultdict
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.model import Lane
from posthouse.core.schedule import Ready, plan

CAPACITIES = st.integers(0, 60)
TURNS = st.integers(0, 1_000)


@st.composite
def readiness(draw: st.DrawFn) -> list[Ready]:
    """Windows of a few endpoints, each (endpoint, lane) at most once, in any order."""
    pairs = draw(
        st.lists(st.tuples(st.integers(1, 6), st.sampled_from(list(Lane))), unique=True, min_size=0, max_size=14)
    )
    free = {endpoint: draw(st.integers(0, 10)) for endpoint in sorted({endpoint for endpoint, _ in pairs})}
    return [
        Ready(number, lane, draw(st.integers(0, 20)), free[endpoint], endpoint)
        for number, (endpoint, lane) in enumerate(pairs)
    ]


def share(room: int, turn: int) -> int:
    """A fifth, rounded up; of a single place each fifth turn."""
    return -(-room // 5) if room > 1 else min(room, int(turn % 5 == 4))


def demand(ready: list[Ready]) -> dict[int, dict[bool, int]]:
    """Endpoint → is live → available work."""
    wanted: dict[int, dict[bool, int]] = defaultdict(lambda: {True: 0, False: 0})
    for window in ready:
        wanted[window.endpoint][window.lane is Lane.LIVE] += window.available
    return wanted


def taken(ready: list[Ready], planned: list[tuple[int, int]], *, live: bool) -> int:
    return sum(count for position, count in planned if (ready[position].lane is Lane.LIVE) == live)


@given(readiness(), CAPACITIES, TURNS)
def test_a_plan_never_exceeds_capacity_room_or_work(ready: list[Ready], capacity: int, turn: int) -> None:
    planned = plan(ready, capacity, turn)
    assert sum(count for _, count in planned) <= capacity
    assert len({position for position, _ in planned}) == len(planned)
    by_endpoint: dict[int, int] = defaultdict(int)
    for position, count in planned:
        assert 1 <= count <= ready[position].available
        by_endpoint[ready[position].endpoint] += count
    for window in ready:
        assert by_endpoint[window.endpoint] <= window.free


@given(readiness(), CAPACITIES, TURNS)
def test_no_capacity_stays_unused_while_there_is_work_and_room(ready: list[Ready], capacity: int, turn: int) -> None:
    free = {window.endpoint: window.free for window in ready}
    possible = sum(min(free[e], sum(wanted.values())) for e, wanted in demand(ready).items())
    assert sum(count for _, count in plan(ready, capacity, turn)) == min(capacity, possible)


@given(readiness(), CAPACITIES, TURNS)
def test_the_other_lanes_get_their_fifth(ready: list[Ready], capacity: int, turn: int) -> None:
    """A fifth of the capacity, if they have as much work that their endpoints have room for.

    The room that live work of the same endpoint leaves counts, and at least a fifth of all its room.
    """
    free = {window.endpoint: window.free for window in ready}
    usable = sum(
        min(wanted[False], max(free[e] - wanted[True], share(free[e], turn))) for e, wanted in demand(ready).items()
    )
    assert taken(ready, plan(ready, capacity, turn), live=False) >= min(share(capacity, turn), usable)


@given(readiness(), CAPACITIES, TURNS)
def test_live_gets_all_the_rest(ready: list[Ready], capacity: int, turn: int) -> None:
    """Live work is only held back by the fifth of the capacity and the fifth of its endpoint's room."""
    free = {window.endpoint: window.free for window in ready}
    usable = sum(min(wanted[True], free[e] - share(free[e], turn)) for e, wanted in demand(ready).items())
    assert taken(ready, plan(ready, capacity, turn), live=True) >= min(capacity - share(capacity, turn), usable)


@given(readiness(), st.integers(1, 60))
def test_nothing_starves_in_five_turns(ready: list[Ready], capacity: int) -> None:
    """If live has work that can go, some of it goes in five turns; if the others have, some of theirs."""
    plans = [plan(ready, capacity, turn) for turn in range(5)]
    for live in (True, False):
        possible = any(w.available and w.free for w in ready if (w.lane is Lane.LIVE) == live)
        assert any(taken(ready, planned, live=live) for planned in plans) == possible


@given(
    st.lists(st.tuples(st.sampled_from(list(Lane)), st.integers(0, 20), st.integers(0, 10)), max_size=12),
    CAPACITIES,
    TURNS,
)
def test_equal_windows_get_the_same_or_the_earlier_gets_one_more(
    rows: list[tuple[Lane, int, int]], capacity: int, turn: int
) -> None:
    """Windows of different endpoints in live, or in the others, that could send equally much."""
    ready = [Ready(i, lane, available, free, endpoint=i) for i, (lane, available, free) in enumerate(rows)]
    counts = dict.fromkeys(range(len(ready)), 0) | dict(plan(ready, capacity, turn))
    for one, other in combinations(range(len(ready)), 2):
        if (ready[one].lane is Lane.LIVE) != (ready[other].lane is Lane.LIVE):
            continue
        if min(ready[one].available, ready[one].free) == min(ready[other].available, ready[other].free):
            assert 0 <= counts[one] - counts[other] <= 1


@given(readiness(), CAPACITIES, TURNS)
def test_live_stands_first_and_positions_ascend_within_live_and_the_others(
    ready: list[Ready], capacity: int, turn: int
) -> None:
    order = [(ready[position].lane is not Lane.LIVE, position) for position, _ in plan(ready, capacity, turn)]
    assert order == sorted(order)


@given(st.integers(2, 60), st.integers(1, 400))
def test_turning_the_ring_serves_everyone(capacity: int, windows: int) -> None:
    """If the caller moves what was served to the end, no window waits longer than a round."""
    ring = [Ready(number, Lane.LIVE, 100, 8, endpoint=number) for number in range(windows)]
    served: set[int] = set()
    for _ in range(-(-windows // capacity)):
        chosen = {position for position, _ in plan(ring, capacity)}
        served |= {ring[position].window for position in chosen}
        ring = [w for i, w in enumerate(ring) if i not in chosen] + [w for i, w in enumerate(ring) if i in chosen]
    assert served == set(range(windows))
