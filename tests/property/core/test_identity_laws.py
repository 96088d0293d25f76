from hypothesis import given
from hypothesis import strategies as st

from posthouse.core import ids
from posthouse.core.model import SLOTS, slot_of

KEYS = st.integers(0, ids.KEY_MAX)
TIMES = st.integers(ids.EPOCH_MS, ids.EPOCH_MS + (1 << 40))
NODES = st.integers(0, ids.NODES_MAX - 1)


@given(KEYS)
def test_a_key_survives_its_text(key: int) -> None:
    assert ids.decode_key(ids.encode_key(key)) == key
    assert ids.parse_id(ids.EVENT, ids.make_id(ids.EVENT, key)) == key


@given(KEYS, KEYS)
def test_texts_sort_like_their_keys(one: int, other: int) -> None:
    assert (ids.encode_key(one) < ids.encode_key(other)) == (one < other)


@given(KEYS, KEYS)
def test_a_delivery_id_survives_its_text(event_key: int, endpoint_key: int) -> None:
    assert ids.parse_delivery_id(ids.delivery_id(event_key, endpoint_key)) == (event_key, endpoint_key)


@given(st.text(max_size=40))
def test_any_text_parses_to_a_key_that_makes_it_or_to_none(text: str) -> None:
    key = ids.decode_key(text)
    assert key is None or ids.encode_key(key) == text
    pair = ids.parse_delivery_id(text)
    assert pair is None or ids.delivery_id(*pair) == text


@given(KEYS.map(lambda key: key // 2), TIMES, NODES)
def test_the_next_key_is_greater_and_of_its_node(last: int, now_ms: int, node: int) -> None:
    key = ids.next_key(last, now_ms, node)
    assert last < key <= ids.KEY_MAX
    assert key >> ids.SEQUENCE_BITS & (ids.NODES_MAX - 1) == node


@given(st.lists(TIMES, min_size=1, max_size=20), NODES, NODES)
def test_two_nodes_never_make_the_same_key(times: list[int], one: int, other: int) -> None:
    """Even if both start from the greatest key in the store, whoever made that."""
    if one == other:
        return
    made: dict[int, set[int]] = {one: set(), other: set()}
    floor = ids.next_key(0, max(times), one)
    for node, keys in made.items():
        last = floor
        for now_ms in times:
            last = ids.next_key(last, now_ms, node)
            keys.add(last)
    assert not made[one] & made[other]


@given(KEYS)
def test_a_slot_is_within_bounds(key: int) -> None:
    assert 0 <= slot_of(key) < SLOTS
