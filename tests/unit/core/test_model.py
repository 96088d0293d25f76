from collections import Counter

import msgspec
import pytest

from posthouse.core.ids import EPOCH_MS, next_key
from posthouse.core.model import SLOTS, Endpoint, Environment, Event, Lane, Obligation, slot_of


def keys_made_every(step_ms: int, count: int = 25_600) -> list[int]:
    keys = [0]
    for number in range(count):
        keys.append(next_key(keys[-1], EPOCH_MS + number * step_ms, 1))
    return keys[1:]


@pytest.mark.parametrize("step_ms", [0, 1, 7, 100, 1_000, 1_024, 60_000, 65_536, 3_600_000])
def test_slots_spread_evenly_however_endpoints_are_made(step_ms: int) -> None:
    """No slot holds more than double its share, and none is left empty."""
    keys = keys_made_every(step_ms)
    found = Counter(map(slot_of, keys))
    assert len(found) == SLOTS
    assert max(found.values()) <= 2 * len(keys) / SLOTS


def test_the_slot_of_a_key_never_changes() -> None:
    """Stores keep slots: these values hold for ever."""
    assert [slot_of(key) for key in (0, 1, 2, 4_242, 1 << 40, (1 << 63) - 1)] == [0, 158, 60, 179, 74, 225]


def test_slots_lie_within_bounds() -> None:
    assert all(0 <= slot_of(key) < SLOTS for key in (0, 1, (1 << 63) - 1, 12_345_678_901_234))


def test_lanes_sort_live_first() -> None:
    assert sorted(Lane) == [Lane.LIVE, Lane.RETRY, Lane.BACKLOG, Lane.PARKED]


def test_values_are_frozen_and_changed_by_replacing() -> None:
    endpoint = Endpoint(key=1, environment=Environment.LIVE, tenant="default", url="https://example.com")
    with pytest.raises(AttributeError):
        endpoint.url = "https://example.org"  # type: ignore[misc] # that it fails is the law
    assert msgspec.structs.replace(endpoint, url="https://example.org").url == "https://example.org"
    assert endpoint.events == ("*",)


def test_a_new_obligation_has_no_attempts_in_its_first_round() -> None:
    obligation = Obligation(1, 2, Lane.LIVE, due_at=5, opened_at=5)
    assert (obligation.attempts, obligation.round, obligation.last_number) == (0, 1, 0)


def test_equal_events_are_equal_values() -> None:
    event = Event(key=1, id="evt_1", environment=Environment.TEST, tenant="t", type="a.b", accepted_at=1, data=b"{}")
    assert event == msgspec.structs.replace(event)
