"""However nodes come and go: shares stay equal, as little moves as can be, and what is begun is brought to its end."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.assignment import assigned, reassigned, slots_of, to_give_up
from posthouse.core.model import SLOTS

names = st.sampled_from([f"node-{number}" for number in range(90)])
fleets = st.sets(names, min_size=1, max_size=80)
changes = st.lists(st.tuples(st.sets(names, max_size=30), st.sets(names, max_size=30)), max_size=6)


def least(nodes: set[str], owners: Sequence[str | None]) -> int:
    """How many slots have to change hands so that no two nodes differ by more than one."""
    counts = Counter(owner for owner in owners if owner in nodes)
    share, over = divmod(SLOTS, len(nodes))
    held = sorted((counts[name] for name in nodes), reverse=True)
    kept = sum(min(count, share + (place < over)) for place, count in enumerate(held))
    return SLOTS - kept


@given(fleet=fleets, steps=changes)
def test_shares_are_equal_and_as_little_moves_as_can_be(
    fleet: set[str], steps: list[tuple[set[str], set[str]]]
) -> None:
    owners: tuple[str | None, ...] = (None,) * SLOTS
    for come, go in [(fleet, set[str]()), *steps]:
        fleet = (fleet | come) - go or fleet
        found = reassigned(fleet, owners)
        counts = Counter(found)
        assert set(counts) <= fleet
        assert max(counts.values()) - min(counts[name] for name in fleet) <= 1
        moved = sum(old != new for old, new in zip(owners, found, strict=True))
        assert moved == least(fleet, owners)
        owners = found


@given(fleet=fleets, owners=st.lists(st.one_of(st.none(), names), min_size=SLOTS, max_size=SLOTS), seed=st.integers())
def test_whatever_part_is_carried_out_it_stays_the_same(fleet: set[str], owners: list[str | None], seed: int) -> None:
    """Slots are given up a few at a time, and taken whenever the others come by."""
    chance = Random(seed)
    found = reassigned(fleet, owners)
    for name in chance.choices(sorted(fleet), k=12):
        mine = slots_of(name, fleet, owners)
        for slot in [slot for slot in mine if owners[slot] not in fleet and chance.random() < 0.7]:
            owners[slot] = name
        for slot in to_give_up({s for s, owner in enumerate(owners) if owner == name}, mine, most=3):
            owners[slot] = None
        assert reassigned(fleet, owners) == found


@given(fleet=fleets, owners=st.lists(st.one_of(st.none(), names), min_size=SLOTS, max_size=SLOTS), seed=st.randoms())
def test_everybody_comes_to_the_same(fleet: set[str], owners: list[str | None], seed: Random) -> None:
    shuffled = sorted(fleet)
    seed.shuffle(shuffled)
    assert reassigned([*shuffled, *shuffled], owners) == reassigned(fleet, owners)


@given(fleet=fleets, gone=names)
def test_without_owners_nobody_has_more_than_its_share_and_one(fleet: set[str], gone: str) -> None:
    for nodes in (fleet, fleet - {gone} or fleet):
        assert max(Counter(assigned(nodes)).values()) <= -(-SLOTS // len(nodes)) + 1
