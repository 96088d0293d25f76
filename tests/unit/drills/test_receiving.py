"""What a sender was told that it is taken, against what arrived of it: known by what it says."""

from collections.abc import Callable
from typing import Any

import pytest

from posthouse.drills.forgetful import per_second, second_events
from posthouse.drills.http_client import Answer
from posthouse.drills.receivers import Inbox, Seen
from posthouse.drills.receiving import (
    SourceBooks,
    Stopwatch,
    answer_rules,
    first_handled,
    reckon_received,
    source_rules,
    transits,
)
from posthouse.drills.reckoning import Reckoning
from posthouse.drills.repeated import handled_by_record, record_of
from posthouse.drills.senders.books import Entry, Fate
from posthouse.drills.senders.wire import Failure, Request


def scene() -> tuple[dict[str, Entry], Inbox]:
    """Two events that were taken and handled, one that was sent and is not taken, one that was not sent yet."""
    entries = {
        "one": Entry("a", b"one", first_sent_at=1_001_000, fate=Fate.DELIVERED),
        "two": Entry("b", b"two", first_sent_at=1_002_000, fate=Fate.DELIVERED),
        "three": Entry("b", b"three", first_sent_at=1_003_000, fate=Fate.RETRYING),
        "four": Entry("b"),
    }
    inbox = Inbox("/all", "", ["*"])
    inbox.seen = {
        "evt_1": Seen(b"one", 1, 0, 1, answered_at=1.5),
        "evt_2": Seen(b"two", 1, 0, 1, answered_at=2.25),
    }
    return entries, inbox


def reckoned(**found: Any) -> Reckoning:
    return Reckoning(**{"owed": 2, "delivered": 2, **found})


def test_all_is_well() -> None:
    entries, inbox = scene()
    assert reckon_received(entries.values(), [inbox]) == reckoned()


def test_what_was_not_acknowledged_may_arrive_or_not() -> None:
    entries, inbox = scene()
    inbox.seen["evt_3"] = Seen(b"three", 1, 0, 1)
    assert reckon_received(entries.values(), [inbox]) == reckoned()


@pytest.mark.parametrize("seen", [None, Seen(b"two", 1, 0, 0)])
def test_what_never_came_or_was_never_answered_is_lost(seen: Seen | None) -> None:
    entries, inbox = scene()
    del inbox.seen["evt_2"]
    if seen is not None:
        inbox.seen["evt_9"] = seen
    assert reckon_received(entries.values(), [inbox]) == reckoned(delivered=1, lost=1)


def spoil_by_stranger(inbox: Inbox) -> None:
    inbox.seen["evt_9"] = Seen(b"what nobody said", 1, 0, 1)


def spoil_by_second_event(inbox: Inbox) -> None:
    inbox.seen["evt_9"] = Seen(b"one", 1, 0, 2)


def spoil_by_second_delivery(inbox: Inbox) -> None:
    inbox.seen["evt_1"].answered = 2


def spoil_by_forgery(inbox: Inbox) -> None:
    inbox.forged = 1


def spoil_by_change(inbox: Inbox) -> None:
    inbox.altered = 1


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (spoil_by_stranger, {"altered": 1}),
        (spoil_by_second_event, {"duplicates": 2, "duplicates_max": 2}),
        (spoil_by_second_delivery, {"duplicates": 1, "duplicates_max": 1}),
        (spoil_by_forgery, {"forged": 1}),
        (spoil_by_change, {"altered": 1}),
    ],
)
def test_each_fault_has_its_count(spoil: Callable[[Inbox], None], found: dict[str, int]) -> None:
    entries, inbox = scene()
    spoil(inbox)
    assert reckon_received(entries.values(), [inbox]) == reckoned(**found)


def test_what_comes_where_nobody_asked_for_it_is_misrouted_and_strays_are_too() -> None:
    entries, inbox = scene()
    only_a = Inbox("/a", "", ["a"])
    only_a.seen = dict(inbox.seen)
    found = reckon_received(entries.values(), [inbox, only_a], strays=1)
    assert found == Reckoning(owed=3, delivered=3, misrouted=2)


def test_the_first_of_several_events_that_say_the_same_counts_for_all() -> None:
    _, inbox = scene()
    inbox.seen["evt_9"] = Seen(b"two", 1, 0, 1, answered_at=2.0)
    inbox.seen["evt_8"] = Seen(b"not answered", 1, 0, 0)
    assert first_handled(inbox) == {b"one": 1.5, b"two": 2.0}


def test_an_event_takes_from_its_first_request_to_its_handling() -> None:
    entries, inbox = scene()
    handled = first_handled(inbox)
    # The monotonic clock was 0 at the Unix second 1,000.
    span = {"epoch": 1_000.0, "since": 0.0, "until": 10.0, "now": 12.0}
    assert transits(entries.values(), handled, **span) == [0.5, 0.25]
    assert transits(entries.values(), {}, **span) == [11.0, 10.0], "not handled: until now"
    assert transits(entries.values(), handled, **{**span, "since": 1.5}) == [0.25]
    assert transits(entries.values(), handled, **{**span, "until": 2.0}) == [0.5]
    assert transits(entries.values(), {b"one": 0.9, b"two": 2.0}, **span) == [0.0, 0.0], "clocks differ a little"


class _Silent:
    async def send(self, request: Request, *, deadline_s: float, connect_s: float | None = None) -> Answer | Failure:
        return Failure.TIMEOUT if deadline_s else Answer(200, body=request.body + f"{connect_s}".encode())


async def test_a_stopwatch_changes_nothing_and_counts_every_request() -> None:
    watch = Stopwatch(_Silent())
    request = Request("http://node.test/in/x", body=b"body ")
    assert await watch.send(request, deadline_s=0.0, connect_s=5.0) == Answer(200, body=b"body 5.0")
    assert await watch.send(request, deadline_s=1.0) is Failure.TIMEOUT
    assert len(watch.seconds) == 2
    assert min(watch.seconds) >= 0


def test_answers_must_come_soon() -> None:
    assert all(then.holds for then in answer_rules([]))
    assert all(then.holds for then in answer_rules([*[0.2] * 99, 3.9]))
    assert [then.holds for then in answer_rules([*[0.2] * 98, 0.3, 0.3])] == [False, True]
    assert [then.holds for then in answer_rules([*[0.2] * 99, 4.1])] == [True, False]


def test_a_source_must_be_done_with_everything() -> None:
    books = dict.fromkeys(SourceBooks.__struct_fields__, 0)
    assert all(then.holds for then in source_rules(SourceBooks(**books)))
    for name in ("waiting", "quarantined", "doubted", "imbalance"):
        assert not all(then.holds for then in source_rules(SourceBooks(**{**books, name: 1}))), name


# -- D11 ----------------------------------------------------------------------------------------


def test_handled_events_are_counted_by_what_they_are_about() -> None:
    _, inbox = scene()
    records = {b"one": "set 1", b"two": "set 1", b"three": "set 2"}
    assert handled_by_record(inbox, records) == {"set 1": 2, "set 2": 0}
    spoil_by_stranger(inbox)
    spoil_by_second_event(inbox)
    assert handled_by_record(inbox, records) == {"set 1": 2, "set 2": 0}
    assert record_of(b'{"id":"set 1","revision":2}') == "set 1"


# -- D26 ----------------------------------------------------------------------------------------


def test_all_but_the_first_event_that_says_something_are_second_ones() -> None:
    _, inbox = scene()
    assert second_events(inbox) == []
    inbox.seen["evt_9"] = Seen(b"two", 1, 0, 1, answered_at=1.0)
    inbox.seen["evt_8"] = Seen(b"two", 1, 0, 1, answered_at=9.0)
    inbox.seen["evt_7"] = Seen(b"two", 1, 0, 0)
    assert second_events(inbox) == [("evt_2", b"two", 2.25), ("evt_8", b"two", 9.0)]


def test_a_rate_is_counted_over_its_span() -> None:
    assert per_second([0.9, 1.0, 1.5, 2.9, 3.0], 1.0, 3.0) == 1.5
    assert per_second([], 1.0, 1.0) == 0.0
