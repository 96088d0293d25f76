"""The board: what may be sent now, and that its counters equal a recount after any history."""

import random
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from posthouse.core.limits import WINDOW_ITEMS_MAX
from posthouse.core.model import Endpoint, EndpointState, Environment, Event, Lane, Obligation
from posthouse.engine import board as board_module
from posthouse.engine import windows
from posthouse.engine.board import BRISK_MAX, Board
from posthouse.engine.windows import Desk, Window
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Work
from posthouse.testing.manual_clock import ManualClock

CAP = 8
SENDING = (Lane.LIVE, Lane.RETRY, Lane.BACKLOG)


def endpoint(key: int, state: EndpointState = EndpointState.ACTIVE) -> Endpoint:
    return Endpoint(key=key, environment=Environment.LIVE, tenant="default", url="http://127.0.0.1/", state=state)


def work(event_key: int, endpoint_key: int = 1, lane: Lane = Lane.LIVE, size: int = 10) -> Work:
    event = Event(
        key=event_key,
        id=f"e{event_key}",
        environment=Environment.LIVE,
        tenant="default",
        type="t",
        accepted_at=0,
        data=b"x" * size,
    )
    return Work(Obligation(event_key, endpoint_key, lane, 0, 0), event)


def board(*endpoints: Endpoint) -> Board:
    known = {e.key: e for e in endpoints or (endpoint(1),)}
    catalogue = SimpleNamespace(endpoint=known.get, tenant=lambda *_: None)
    made = Board(cast("Catalogue", catalogue), ManualClock(), in_flight_per_endpoint=CAP)
    for key in known:
        desk = made.desk(key)
        assert desk is not None
        desk.prove(proven=True)
    return made


def window(on: Board, endpoint_key: int = 1, lane: Lane = Lane.LIVE) -> Window:
    desk = on.desk(endpoint_key)
    assert desk is not None
    return desk.window(lane)


def send_all(on: Board, capacity: int) -> list[Work]:
    """Do what the engine does with a choice."""
    return [work for chosen in on.turns.choose(capacity) for work in chosen.works]


def land(on: Board, sent: Work, *, brisk: bool = True, proven: bool = True) -> None:
    """A request came back."""
    desk = on.find(sent.obligation.endpoint_key)
    assert desk is not None
    on.land(desk, [sent], brisk=brisk, proven=proven)


def test_new_work_joins_only_while_nothing_older_waits_in_the_store() -> None:
    on = board()
    live = window(on)
    assert on.offer(live, work(1))
    live.more = True
    assert not on.offer(live, work(2))
    live.more = False
    live.refilling = True
    assert not on.offer(live, work(3))
    assert live.more, "what was turned away must be looked for in the store"
    assert [w.obligation.event_key for w in live.buffer] == [1]


def test_a_full_window_leaves_the_rest_to_the_store() -> None:
    on = board()
    live = window(on)
    for key in range(WINDOW_ITEMS_MAX):
        assert on.offer(live, work(key))
    assert not on.offer(live, work(WINDOW_ITEMS_MAX))
    assert live.more


def test_no_endpoint_has_more_than_its_cap_in_flight() -> None:
    on = board()
    live = window(on)
    for key in range(20):
        on.offer(live, work(key))
    first = send_all(on, 100)
    assert [w.obligation.event_key for w in first] == list(range(CAP)), "in order, up to the cap"
    assert send_all(on, 100) == []
    land(on, first[0])
    assert [w.obligation.event_key for w in send_all(on, 100)] == [CAP]


@pytest.mark.parametrize("brisk", [True, False])
def test_a_request_that_came_back_leaves_room_whatever_came_of_it(*, brisk: bool) -> None:
    on = board()
    live = window(on)
    for key in range(CAP):
        on.offer(live, work(key))
    for sent in send_all(on, 100):
        land(on, sent, brisk=brisk)
    assert (live.desk.in_flight, live.desk.in_hand) == (0, dict.fromkeys(range(CAP), False))


def test_the_cap_holds_over_all_lanes_of_an_endpoint() -> None:
    on = board()
    for lane in SENDING:
        for key in range(10):
            on.offer(window(on, lane=lane), work(int(lane) * 100 + key, lane=lane))
    assert len(send_all(on, 100)) == CAP


def test_windows_take_turns_when_capacity_is_short() -> None:
    """No endpoint goes hungry: with capacity for one at a time, each of three is served in turn."""
    on = board(*(endpoint(key) for key in (1, 2, 3)))
    for key in (1, 2, 3):
        for number in range(3):
            on.offer(window(on, key), work(number, key))
    served = [send_all(on, 1)[0].obligation.endpoint_key for _ in range(9)]
    assert sorted(served[:3]) == sorted(served[3:6]) == sorted(served[6:]) == [1, 2, 3]


def test_a_held_endpoint_keeps_nothing_in_memory_and_sends_nothing() -> None:
    on = board()
    live = window(on)
    on.offer(live, work(1))
    on.change(endpoint(1, EndpointState.PAUSED))
    assert (on.items, on.bytes, live.desk.in_hand) == (0, 0, {})
    assert live.more
    assert not on.offer(live, work(2))
    assert send_all(on, 10) == []


def test_a_deleted_endpoint_is_forgotten() -> None:
    on = board()
    on.offer(window(on), work(1))
    assert on.change(endpoint(1, EndpointState.DELETED)) is None
    assert on.find(1) is None
    assert on.items == 0


def test_a_withdrawn_delivery_is_not_sent() -> None:
    on = board()
    live = window(on)
    on.offer(live, work(1))
    on.offer(live, work(2))
    on.withdraw(live.desk, 1)
    assert [w.obligation.event_key for w in send_all(on, 10)] == [2]


@pytest.mark.parametrize(("brisk", "crowded"), [(True, True), (False, False)])
def test_only_work_that_waits_for_this_node_makes_it_crowded(*, brisk: bool, crowded: bool) -> None:
    """A slow or failing receiver must not slow accepting down."""
    on = board()
    live = window(on)
    on.offer(live, work(10_000))
    land(on, send_all(on, 1)[0], brisk=brisk)
    for key in range(BRISK_MAX + 1):
        on.offer(live, work(key))
    assert (on.room < 0) is crowded


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 200))
def test_counters_equal_a_recount_after_any_history(seed: int, steps: int) -> None:
    chance = random.Random(seed)
    known = {key: endpoint(key) for key in (1, 2, 3)}
    on = board(*known.values())
    in_flight: list[Work] = []
    for number in range(steps):
        key = chance.choice((1, 2, 3))
        lane = chance.choice(SENDING)
        match chance.randrange(7):
            case 0 | 1 | 2:
                on.offer(window(on, key, lane), work(number, key, lane, chance.randrange(100)))
            case 3:
                in_flight += send_all(on, chance.randrange(1, 10))
            case 4 if in_flight:
                item = in_flight.pop(chance.randrange(len(in_flight)))
                land(on, item, brisk=chance.random() < 0.7, proven=chance.random() < 0.7)
            case 5:
                state = chance.choice([EndpointState.ACTIVE, EndpointState.PAUSED])
                on.change(replace(known[key], state=state))
            case _:
                forgotten = window(on, key, lane)
                on.forget(forgotten)
                forgotten.more = chance.random() < 0.5
    windows = [w for key in known if (desk := on.find(key)) for w in desk.windows.values()]
    assert on.items == sum(len(w.buffer) for w in windows)
    assert on.bytes == sum(len(item.event.data) for w in windows for item in w.buffer)
    brisk = sum(len(w.buffer) for w in windows if w.lane is Lane.LIVE and w.desk.is_brisk)
    assert on._brisk == brisk
    for w in windows:
        sendable = bool(w.buffer) and w.desk.in_flight < w.desk.room and not w.desk.is_stopped
        assert w.listed or not sendable, "what may be sent must have its turn"
    desks = [desk for key in known if (desk := on.find(key))]
    assert on.turns.in_flight == len(in_flight) == sum(desk.in_flight for desk in desks)
    assert on.turns._slow == sum(desk.in_flight for desk in desks if not desk.is_proven)


def test_looking_for_idle_endpoints_costs_a_bounded_share_of_each_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand endpoints that all have work must not make each new one look at all the others."""
    monkeypatch.setattr(board_module, "DESKS_MAX", 10)
    looks: list[int] = []

    def look(_: Desk, _now: float) -> bool:
        looks.append(1)
        return False

    monkeypatch.setattr(Desk, "is_idle", look)
    count = 1_000
    on = board(*(endpoint(key) for key in range(count)))
    on._desks.clear()
    looks.clear()
    on._clear_at = 10
    for key in range(count):
        window(on, key)
    assert len(looks) <= 2 * count


def test_idle_endpoints_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "DESKS_MAX", 10)
    on = board(*(endpoint(key) for key in range(100)))
    on._desks.clear()
    on._clear_at = 10
    on.offer(window(on, 0), work(1, 0))
    for key in range(1, 100):
        window(on, key)
        assert len(on._desks) <= 10
    assert on.find(0) is not None, "one that has work is kept"


def test_an_endpoint_is_checked_once_however_often_its_desk_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    monkeypatch.setattr(windows, "flaw_of", lambda e: checked.append(e.key))
    known = {1: endpoint(1)}
    catalogue = SimpleNamespace(endpoint=known.get, tenant=lambda *_: None)
    on = Board(cast("Catalogue", catalogue), ManualClock())

    def make_anew() -> None:
        desk = on.desk(1)
        assert desk is not None
        on.drop(desk)

    make_anew()
    make_anew()
    assert checked == [1]
    known[1] = replace(known[1], url="http://127.0.0.2/")
    make_anew()
    assert checked == [1, 1], "what is stored of it is another thing now"


def test_an_endpoint_with_a_flaw_is_checked_again_each_time() -> None:
    on = board(replace(endpoint(1), url="nowhere"))
    for _ in range(2):
        desk = on.desk(1)
        assert desk is not None
        assert desk.unusable is not None
        assert desk.is_held
        on.drop(desk)
