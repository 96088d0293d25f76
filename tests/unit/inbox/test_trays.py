"""Trays, case by case; tests/property/inbound plays all of them in any order."""

import pytest

from posthouse.core.inbound import WHOLE, Verdict
from posthouse.core.limits import INBOX_WINDOW_ITEMS_MAX
from posthouse.inbox.trays import Tray, Trays
from posthouse.store.protocol import InboxItem
from posthouse.testing.conformance.values import Values

SOURCE = 5


@pytest.fixture
def trays() -> Trays:
    return Trays()


@pytest.fixture
def tray(trays: Trays) -> Tray:
    return trays.of(SOURCE)


@pytest.fixture(scope="module")
def items() -> list[InboxItem]:
    """Items of one source, oldest first."""
    values = Values()
    requests = [values.request(SOURCE, verdict=Verdict.GENUINE) for _ in range(INBOX_WINDOW_ITEMS_MAX + 2)]
    return [InboxItem(request, WHOLE, None, 0, request.received_at) for request in requests]


def taken(trays: Trays) -> list[InboxItem]:
    """All that can be taken."""
    found = []
    while (one := trays.take(provable=True)) is not None:
        found.append(one[1])
    return found


def asked(trays: Trays) -> Tray:
    """The one tray for which the store is asked, as an inbox does it."""
    (tray,) = trays.hungry()
    tray.is_reading = True
    return tray


def test_what_comes_while_the_store_is_asked_is_asked_for_again(
    trays: Trays, tray: Tray, items: list[InboxItem]
) -> None:
    tray.more = True
    asked(trays)
    trays.offer(tray, items[1])
    trays.fill(tray, items[:1], more=False)
    assert taken(trays) == items[:1]
    assert asked(trays) is tray
    trays.fill(tray, items[:2], more=False)
    assert taken(trays) == items[1:2]
    assert trays.hungry() == []


def test_a_new_request_does_not_overtake_what_waits_in_the_store(
    trays: Trays, tray: Tray, items: list[InboxItem]
) -> None:
    """Also while the store is not asked for it yet."""
    tray.more = True
    asked(trays)
    trays.fill(tray, (), more=True)
    tray.is_resting = True
    trays.offer(tray, items[1])
    assert (taken(trays), trays.hungry()) == ([], [])
    tray.is_resting = False
    assert asked(trays) is tray


def test_what_is_in_hand_is_not_taken_again(trays: Trays, tray: Tray, items: list[InboxItem]) -> None:
    trays.offer(tray, items[0])
    assert taken(trays) == items[:1]
    tray.more = True
    asked(trays)
    trays.fill(tray, items[:2], more=False)
    assert taken(trays) == items[1:2]
    trays.let_go(tray, items[0])
    tray.more = True
    asked(trays)
    trays.fill(tray, items[:1], more=False)
    assert taken(trays) == items[:1], "it was left to the store"


def test_a_tray_has_a_bound(trays: Trays, tray: Tray, items: list[InboxItem]) -> None:
    for item in items:
        trays.offer(tray, item)
    assert (trays.items, tray.more) == (INBOX_WINDOW_ITEMS_MAX, True)
    assert taken(trays) == items[:INBOX_WINDOW_ITEMS_MAX]
    assert trays.hungry() == [tray]


def test_a_source_that_is_held_while_the_store_is_asked_goes_on_later(
    trays: Trays, tray: Tray, items: list[InboxItem]
) -> None:
    """What the store said meanwhile is not kept: nobody would take it."""
    tray.more = True
    asked(trays)
    trays.hold(tray, held=True)
    trays.fill(tray, items[:2], more=False)
    assert (taken(trays), trays.hungry()) == ([], [])
    trays.hold(tray, held=False)
    assert asked(trays) is tray
    trays.fill(tray, items[:2], more=False)
    assert taken(trays) == items[:2]


def test_a_tray_that_has_its_turn_yet_is_not_forgotten(trays: Trays, tray: Tray, items: list[InboxItem]) -> None:
    """Another one in its place would never be asked."""
    trays.offer(tray, items[0])
    assert trays.take(provable=True) == (tray, items[0])
    trays.let_go(tray, items[0])
    trays.offer(trays.of(SOURCE), items[1])
    assert taken(trays) == items[1:2]


def test_what_is_passed_on_leaves_nothing_behind(trays: Trays, tray: Tray, items: list[InboxItem]) -> None:
    trays.offer(tray, items[0])
    assert taken(trays) == items[:1]
    trays.let_go(tray, items[0])
    assert trays.of(SOURCE) is not tray
    assert (trays.items, trays.bytes) == (0, 0)
