import pytest

from posthouse.core.model import Lane
from posthouse.core.schedule import Ready, plan

LIVE, RETRY, BACKLOG = Lane.LIVE, Lane.RETRY, Lane.BACKLOG


def windows(*rows: tuple[Lane, int, int, int]) -> list[Ready]:
    """Each row: lane, endpoint, available, free."""
    return [
        Ready(window=number, lane=lane, available=available, free=free, endpoint=endpoint)
        for number, (lane, endpoint, available, free) in enumerate(rows)
    ]


def test_nothing_ready_nothing_planned() -> None:
    assert plan([], 10) == []
    assert plan(windows((LIVE, 1, 0, 8)), 10) == []
    assert plan(windows((LIVE, 1, 8, 0)), 10) == []


@pytest.mark.parametrize("capacity", [0, -1])
def test_no_capacity_nothing_planned(capacity: int) -> None:
    assert plan(windows((LIVE, 1, 5, 8)), capacity) == []


def test_a_window_gives_what_it_has_and_its_endpoint_takes() -> None:
    assert plan(windows((LIVE, 1, 5, 8)), 100) == [(0, 5)]
    assert plan(windows((LIVE, 1, 50, 8)), 100) == [(0, 8)]
    assert plan(windows((LIVE, 1, 50, 8)), 3) == [(0, 3)]


def test_windows_of_a_lane_take_turns_in_the_given_order() -> None:
    ready = windows((LIVE, 1, 9, 8), (LIVE, 2, 1, 8), (LIVE, 3, 9, 8))
    assert plan(ready, 6) == [(0, 3), (1, 1), (2, 2)]


def test_live_goes_first_and_the_others_keep_a_fifth() -> None:
    ready = windows((RETRY, 1, 100, 100), (LIVE, 2, 100, 100))
    assert plan(ready, 10) == [(1, 8), (0, 2)]
    assert plan(ready, 11) == [(1, 8), (0, 3)]
    assert plan(ready, 2) == [(1, 1), (0, 1)]


def test_what_one_side_cannot_use_goes_to_the_other() -> None:
    assert plan(windows((LIVE, 1, 3, 8), (RETRY, 2, 100, 100)), 10) == [(0, 3), (1, 7)]
    assert plan(windows((LIVE, 1, 100, 100), (RETRY, 2, 1, 8)), 10) == [(0, 9), (1, 1)]
    assert plan(windows((BACKLOG, 1, 100, 100)), 10) == [(0, 10)]


def test_retry_and_backlog_share_alike() -> None:
    assert plan(windows((RETRY, 1, 9, 8), (BACKLOG, 2, 9, 8)), 6) == [(0, 3), (1, 3)]


def test_of_single_places_each_fifth_goes_to_the_others() -> None:
    ready = windows((LIVE, 1, 9, 8), (RETRY, 2, 9, 8))
    served = [plan(ready, 1, turn)[0][0] for turn in range(10)]
    assert served == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_a_single_place_is_never_left_empty() -> None:
    assert [plan(windows((LIVE, 1, 9, 8)), 1, turn) for turn in range(5)] == [[(0, 1)]] * 5
    assert [plan(windows((RETRY, 1, 9, 8)), 1, turn) for turn in range(5)] == [[(0, 1)]] * 5


def test_lanes_of_one_endpoint_share_its_room() -> None:
    ready = windows((LIVE, 1, 2, 8), (RETRY, 1, 9, 8), (BACKLOG, 1, 9, 8))
    assert plan(ready, 100) == [(0, 2), (1, 3), (2, 3)]


def test_live_work_of_a_busy_endpoint_leaves_a_fifth_of_its_room_to_the_others() -> None:
    """Without that, retries of an endpoint with a steady stream would wait for ever."""
    assert plan(windows((LIVE, 1, 100, 8), (RETRY, 1, 100, 8)), 100) == [(0, 6), (1, 2)]


def test_retries_of_a_busy_endpoint_do_not_take_the_last_place_from_live_work() -> None:
    ready = windows((LIVE, 1, 100, 1), (RETRY, 1, 100, 1))
    assert [plan(ready, 100, turn) for turn in range(5)] == [[(0, 1)]] * 4 + [[(1, 1)]]


def test_a_live_endpoint_at_its_bound_does_not_hold_back_another() -> None:
    ready = windows((LIVE, 1, 100, 1), (LIVE, 2, 100, 8))
    assert plan(ready, 8) == [(0, 1), (1, 7)]


def test_the_plan_depends_on_nothing_but_what_it_sees() -> None:
    ready = windows((LIVE, 1, 9, 8), (RETRY, 2, 9, 8), (BACKLOG, 3, 9, 2))
    assert plan(ready, 13, 7) == plan(list(ready), 13, 7)
    assert ready == windows((LIVE, 1, 9, 8), (RETRY, 2, 9, 8), (BACKLOG, 3, 9, 2))
