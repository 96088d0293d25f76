"""What arrived against what was promised: each way of breaking the promise has its own count."""

from typing import Any

import pytest

from posthouse.drills.publisher import Sent
from posthouse.drills.receivers import Inbox, Seen
from posthouse.drills.reckoning import Reckoning, reckon


def scene() -> tuple[dict[str, Sent], Inbox, Inbox]:
    """Two events, both owed to /all and the first also to /a; all arrived."""
    sent = {
        "evt-1": Sent("drill.a", b"one", accepted_at=1.0),
        "evt-2": Sent("drill.b", b"two", accepted_at=2.0),
    }
    everything, only_a = Inbox("/all", "", ["*"]), Inbox("/a", "", ["drill.a"])
    everything.seen = {"evt-1": Seen(b"one", 1, 0, 1), "evt-2": Seen(b"two", 1, 0, 1)}
    only_a.seen = {"evt-1": Seen(b"one", 1, 0, 1)}
    return sent, everything, only_a


def reckoned(**found: Any) -> Reckoning:
    return Reckoning(**{"owed": 3, "delivered": 3, **found})


def test_all_is_well() -> None:
    sent, *inboxes = scene()
    assert reckon(sent, inboxes) == reckoned()


@pytest.mark.parametrize("seen", [None, Seen(b"two", 1, 0, 0)])
def test_what_never_came_or_was_never_answered_is_lost(seen: Seen | None) -> None:
    sent, everything, only_a = scene()
    del everything.seen["evt-2"]
    if seen is not None:
        everything.seen["evt-2"] = seen
    assert reckon(sent, [everything, only_a]) == reckoned(delivered=2, lost=1)


def test_what_has_no_202_is_owed_to_nobody_and_may_arrive() -> None:
    sent, *inboxes = scene()
    sent["evt-2"].accepted_at = None
    assert reckon(sent, inboxes) == reckoned(owed=2, delivered=2)


def test_a_type_that_nobody_asked_for_and_an_event_that_nobody_published_are_misrouted() -> None:
    sent, everything, only_a = scene()
    only_a.seen["evt-2"] = Seen(b"two", 1, 0, 1)
    everything.seen["evt-9"] = Seen(b"nine", 1, 0, 1)
    assert reckon(sent, [everything, only_a], strays=2) == reckoned(misrouted=4)


def test_other_bytes_are_altered_whether_in_the_first_request_or_in_a_later_one() -> None:
    sent, everything, only_a = scene()
    everything.seen["evt-1"].digest = b"other"
    only_a.altered = 1
    assert reckon(sent, [everything, only_a]) == reckoned(altered=2)


def test_signatures_and_duplicates_are_counted() -> None:
    sent, everything, only_a = scene()
    only_a.forged = 1
    everything.seen["evt-1"].answered = 3
    everything.seen["evt-2"].answered = 2
    assert reckon(sent, [everything, only_a]) == reckoned(forged=1, duplicates=3, duplicates_max=2)


def test_what_is_parked_is_not_lost_and_what_is_said_to_be_parked_and_came_is_delivered() -> None:
    sent, everything, only_a = scene()
    del everything.seen["evt-2"]
    assert reckon(sent, [everything, only_a], parked=["evt-2"]) == reckoned(delivered=2, parked=1)
    assert reckon(sent, [everything, only_a], parked=["evt-1", "evt-2"]) == reckoned(delivered=2, parked=1)
