"""Who is to own which slot."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.assignment import assigned, reassigned, slots_of, to_give_up
from posthouse.core.model import SLOTS

nodes = st.sets(st.text(min_size=1, max_size=6), min_size=1, max_size=20)


@given(names=nodes)
def test_each_slot_has_one_node_and_nobody_has_more_than_its_share(names: set[str]) -> None:
    found = assigned(names)
    assert len(found) == SLOTS
    assert set(found) <= names
    assert max(Counter(found).values()) <= -(-SLOTS // len(names)) + 1
    assert sorted(slot for name in names for slot in slots_of(name, names)) == list(range(SLOTS))


@given(names=nodes, seed=st.randoms())
def test_everybody_comes_to_the_same(names: set[str], seed: object) -> None:
    shuffled = sorted(names)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assigned([*shuffled, *shuffled]) == assigned(names)


@pytest.mark.parametrize("count", [2, 3, 4, 8, 16, 43, 52, 64, 65, 86, 128, 129])
def test_who_comes_or_goes_moves_little_more_than_its_share(count: int) -> None:
    """Its own, and one in twenty of all: also where an equal share becomes another number."""
    names = [f"node-{n}" for n in range(count)]
    share = -(-SLOTS // count) + 1
    for gone in names[:8]:
        before, after = assigned(names), assigned([name for name in names if name != gone])
        moved = sum(one != other for one, other in zip(before, after, strict=True))
        assert moved <= share + SLOTS // 20


def test_nobody_is_nobody() -> None:
    assert assigned([]) == ()
    assert reassigned([], ["a"] * SLOTS) == ()
    assert slots_of("a", []) == frozenset()


def test_slots_are_given_up_little_by_little() -> None:
    assert to_give_up({1, 2, 3, 9}, {3, 4}, most=2) == [1, 2]
    assert to_give_up({1, 2}, {1, 2, 5}, most=2) == []
