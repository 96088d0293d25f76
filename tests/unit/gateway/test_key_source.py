"""Keys only grow, whatever the clock does and whatever was in the store before."""

from posthouse.core.ids import EPOCH_MS, next_key
from posthouse.gateway.key_source import KeySource
from posthouse.testing.manual_clock import ManualClock


def test_keys_are_greater_than_the_floor_also_when_the_clock_was_set_back() -> None:
    """Else a node that restarts on a wrong clock would name a new event like an old one."""
    clock = ManualClock(EPOCH_MS + 1_000)
    floor = next_key(0, EPOCH_MS + 3_600_000, 7)
    source = KeySource(clock, node=1, floor=floor)
    keys = [source() for _ in range(10)]
    assert keys == sorted(set(keys))
    assert keys[0] > floor


def test_keys_can_be_raised_above_those_of_another_node() -> None:
    source = KeySource(ManualClock(EPOCH_MS + 1_000), node=1, floor=0)
    ahead = next_key(0, EPOCH_MS + 3_600_000, 7)
    before = source()
    source.raise_to(ahead)
    assert before < ahead < source()
    source.raise_to(before)
    assert source() > ahead


def test_keys_grow_while_the_clock_steps_about() -> None:
    clock = ManualClock()
    source = KeySource(clock, node=1, floor=0)
    last = 0
    for step in (0, -3_600_000, 1, 7_200_000, -1):
        clock.step(step)
        key = source()
        assert key > last
        last = key
