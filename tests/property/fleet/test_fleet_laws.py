"""Whatever nodes do, in any order: never two owners at once, and in the end equal shares for all."""

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.model import SLOTS
from posthouse.testing.fleet.fleet import Fleet
from posthouse.testing.fleet.population import Population
from posthouse.testing.fleet.rules import Rules

EVEN = Population([1] * SLOTS, [1.0] * SLOTS, hottest=1 / SLOTS, largest=1.0)
QUIET = Rules(slow=0.0, hint_lost=0.0)  #: every call and hint arrives soon
ROUGH = Rules(slow=0.1, slow_for=8.0, hint_lost=0.3, drift=0.01)
DEATH_SECONDS_MAX = 15.0
HAND_OVER_SECONDS_MAX = 1.0

seeds = st.integers(0, 1 << 32)
ACTS: dict[str, Callable[[Fleet, float], object]] = {
    "join": lambda fleet, _: fleet.join(),
    "leave": lambda fleet, _: fleet.leave(fleet.some(1)[0]),
    "kill": lambda fleet, _: fleet.kill(fleet.some(1)),
    "kill some": lambda fleet, _: fleet.kill(fleet.some(len(fleet.watch.living) // 3)),
    "pause": lambda fleet, seconds: fleet.pause(fleet.some(1), seconds),
    "pause half": lambda fleet, seconds: fleet.pause(fleet.some(len(fleet.watch.living) // 2), seconds),
    "hold the store": lambda fleet, seconds: fleet.hold_store(seconds),
}
acts = st.tuples(st.sampled_from(sorted(ACTS)), st.floats(0.1, 30.0), st.floats(0.0, 20.0))


def act(fleet: Fleet, name: str, seconds: float) -> None:
    """Do it, if somebody is left then."""
    if len(fleet.watch.living) > 1 or name in {"join", "hold the store"}:
        ACTS[name](fleet, seconds)


@settings(max_examples=25, deadline=None)
@given(nodes=st.integers(1, 12), seed=seeds, history=st.lists(acts, max_size=8))
def test_never_two_owners_at_once_and_in_the_end_all_is_owned(
    nodes: int, seed: int, history: list[tuple[str, float, float]]
) -> None:
    fleet = Fleet(ROUGH, seed, EVEN)
    fleet.join(nodes, within=5.0)
    for name, seconds, wait in history:
        act(fleet, name, seconds)
        fleet.world.run(wait)
    outcome = fleet.phase("the end", lambda: None)
    assert fleet.watch.doubles == []
    assert outcome.at_rest
    shares = Counter(fleet.watch.serving)
    assert max(shares.values()) - min(shares[member] for member in fleet.watch.living) <= 1


@settings(max_examples=25, deadline=None)
@given(nodes=st.integers(2, 12), seed=seeds, names=st.lists(st.sampled_from(["join", "leave", "kill"]), max_size=4))
def test_as_little_moves_as_can_be_and_nobody_waits_long(nodes: int, seed: int, names: list[str]) -> None:
    """One thing after the other, each once the fleet is at rest."""
    fleet = Fleet(QUIET, seed, EVEN)
    fleet.phase("all start", lambda: fleet.join(nodes, within=1.0))
    for name in names:
        outcome = fleet.phase(name, lambda name=name: act(fleet, name, 0.0))  # type: ignore[misc]  # bound now
        assert outcome.at_rest
        assert outcome.moves == outcome.least
        assert outcome.gaps.get("hand-over", 0.0) <= HAND_OVER_SECONDS_MAX
        assert outcome.gaps.get("death", 0.0) <= DEATH_SECONDS_MAX
    assert fleet.watch.doubles == []


@settings(max_examples=10, deadline=None)
@given(nodes=st.integers(2, 12), seed=seeds, seconds=st.floats(0.1, 120.0))
def test_nothing_moves_because_the_store_was_away(nodes: int, seed: int, seconds: float) -> None:
    """Nobody could look meanwhile, so nobody takes another one for dead."""
    fleet = Fleet(QUIET, seed, EVEN)
    fleet.phase("all start", lambda: fleet.join(nodes, within=1.0))
    outcome = fleet.phase("it is away", lambda: fleet.hold_store(seconds))
    assert (outcome.moves, outcome.at_rest, fleet.watch.doubles) == (0, True, [])
