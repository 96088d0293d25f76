from itertools import pairwise

import pytest

from posthouse.core import ids

NOW = ids.EPOCH_MS + 123_456_789


def test_keys_of_one_node_grow_when_the_clock_stands_still_or_steps_back() -> None:
    keys = [0]
    for now in [NOW] * 5_000 + [NOW - 60_000] * 5_000 + [NOW + 10]:
        keys.append(ids.next_key(keys[-1], now, 3))
    assert all(a < b for a, b in pairwise(keys))


def test_every_key_carries_the_number_of_its_node() -> None:
    """Two live nodes never make the same key, also when one continues after a key of the other."""
    key = ids.next_key(0, NOW, 7)
    for _ in range(10_000):
        key = ids.next_key(key, NOW, 2)
        assert key >> ids.SEQUENCE_BITS & (ids.NODES_MAX - 1) == 2


def test_more_than_4096_keys_in_a_millisecond_borrow_from_the_next() -> None:
    first = key = ids.next_key(0, NOW, 1)
    for _ in range(4_096):
        key = ids.next_key(key, NOW, 1)
    assert ids.time_of(first) == NOW
    assert ids.time_of(key) == NOW + 1


def test_keys_stay_positive_before_the_epoch() -> None:
    assert ids.next_key(0, 0, 5) > 0


def test_the_time_of_a_key_is_when_it_was_made() -> None:
    assert ids.time_of(ids.next_key(0, NOW, ids.NODES_MAX - 1)) == NOW


def test_first_key_at_parts_the_keys_by_time() -> None:
    """No key made earlier is as large, no key made at that time or later is smaller."""
    assert ids.next_key(0, NOW - 1, ids.NODES_MAX - 1) < ids.first_key_at(NOW) <= ids.next_key(0, NOW, 0)
    assert ids.first_key_at(0) == 0


def test_an_id_is_a_prefix_and_thirteen_characters() -> None:
    assert ids.make_id(ids.EVENT, 0) == "evt_0000000000000"
    assert ids.make_id(ids.ENDPOINT, ids.KEY_MAX) == "ep_7zzzzzzzzzzzz"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "evt_",
        "evt_000000000000",
        "evt_00000000000000",
        "evt_000000000000I",
        "evt_000000000000i",
        "evt_000000000000A",
        "evt_8000000000000",
        "evt_000000000000\u0660",
        "ep_0000000000000",
        " evt_0000000000000",
    ],
)
def test_what_is_no_event_id_parses_to_none(text: str) -> None:
    assert ids.parse_id(ids.EVENT, text) is None


def test_a_delivery_id_is_its_event_and_its_endpoint() -> None:
    assert ids.parse_delivery_id(ids.delivery_id(5, 9)) == (5, 9)


@pytest.mark.parametrize("text", ["", "dlv_", "dlv_" + "0" * 25, "dlv_" + "0" * 27, "0" * 26, "dlv_" + "8" * 26])
def test_what_is_no_delivery_id_parses_to_none(text: str) -> None:
    assert ids.parse_delivery_id(text) is None


def test_attempt_ids_are_distinct_and_sort_by_number() -> None:
    made = [ids.attempt_id(5, 9, number) for number in range(1, 2_000)]
    assert made == sorted(set(made))
    assert all(text.startswith("att_") for text in made)
