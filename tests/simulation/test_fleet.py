"""64 nodes and a million endpoints live through everything; and a fleet whose rules are broken is found out."""

import pytest

from posthouse.core.model import SLOTS
from posthouse.testing.fleet.__main__ import main
from posthouse.testing.fleet.fleet import Fleet, Outcome
from posthouse.testing.fleet.population import Population, populate
from posthouse.testing.fleet.rules import Fault, Rules
from posthouse.testing.fleet.stories import live, restart

NODES = 64
EVEN = Population([1] * SLOTS, [1.0] * SLOTS, hottest=1 / SLOTS, largest=1.0)
DEATH_SECONDS_MAX = 15.0
HAND_OVER_SECONDS_MAX = 1.0
#: What may move for nothing, of all slots: somebody took a slot for another one's who came a moment later.
STRAY_MAX = 5


@pytest.fixture(scope="module")
def million() -> Population:
    return populate(1_000_000, tenants=10_000, tail="heavy", seed=1)


def lived(rules: Rules, seed: int, population: Population, nodes: int = NODES) -> tuple[Fleet, list[Outcome]]:
    fleet = Fleet(rules, seed, population)
    return fleet, list(live(fleet, nodes))


def test_a_million_endpoints_on_64_nodes_come_through_everything(million: Population) -> None:
    fleet, outcomes = lived(Rules(), 1, million)
    assert fleet.watch.doubles == []
    assert [outcome.name for outcome in outcomes if not outcome.at_rest] == []
    assert max(outcome.gaps.get("death", 0.0) for outcome in outcomes) <= DEATH_SECONDS_MAX
    assert max(outcome.gaps.get("standstill", 0.0) for outcome in outcomes) <= DEATH_SECONDS_MAX
    assert [outcome.name for outcome in outcomes[1:] if outcome.moves > outcome.least + STRAY_MAX] == []
    assert max(outcome.endpoints for outcome in outcomes if outcome.nodes == NODES) <= 1.05


def test_where_every_hint_arrives_a_rolling_restart_pauses_nobody_for_long() -> None:
    fleet = Fleet(Rules(slow=0.0, hint_lost=0.0), 3, EVEN)
    fleet.phase("all start", lambda: fleet.join(NODES, within=1.0))
    outcome = fleet.phase("all are restarted", lambda: restart(fleet))
    assert outcome.gaps["hand-over"] <= HAND_OVER_SECONDS_MAX
    assert (outcome.moves, fleet.watch.doubles) == (outcome.least, [])


def test_who_knows_the_owners_moves_half_as_much() -> None:
    moves = {}
    for knows in (True, False):
        fleet = Fleet(Rules(slow=0.0, hint_lost=0.0, knows_owners=knows), 3, EVEN)
        fleet.phase("all start", lambda fleet=fleet: fleet.join(24, within=1.0))  # type: ignore[misc]  # bound now
        moves[knows] = fleet.phase("all are restarted", lambda fleet=fleet: restart(fleet)).moves  # type: ignore[misc]
    assert moves[True] * 1.5 < moves[False]


@pytest.mark.parametrize("fault", [Fault.VALID_FROM_THE_ANSWER, Fault.BEAT_NOT_COMPARED, Fault.RELEASE_FORGOTTEN])
def test_two_owners_at_once_are_found(fault: Fault) -> None:
    """The network is so bad that it comes to light; with all rules kept it does not matter."""
    bad = Rules(slow=0.1, slow_for=9.0, hint_lost=0.3)
    broken = Rules(slow=0.1, slow_for=9.0, hint_lost=0.3, faults=frozenset({fault}))
    assert [lived(bad, seed, EVEN, nodes=9)[0].watch.doubles for seed in range(4)] == [[]] * 4
    assert any(lived(broken, seed, EVEN, nodes=9)[0].watch.doubles for seed in range(4))


def test_time_in_which_nobody_could_look_counts_against_nobody() -> None:
    moves = {}
    for faults in (frozenset[Fault](), frozenset({Fault.BLIND_TIME_COUNTS})):
        rules = Rules(slow=0.2, slow_for=6.0, faults=faults)  # so they do not all come back in the same moment
        ends = [lived(rules, seed, EVEN, nodes=9)[1][-1] for seed in range(4)]
        moves[bool(faults)] = sum(outcome.moves for outcome in ends)
    assert moves[False] == 0
    assert moves[True] > SLOTS // 8


def test_it_is_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "5", "--endpoints", "1000", "--tenants", "10", "--json"]) == 0
    told = capsys.readouterr().out
    assert "all 5 start" in told
    assert "twice owned at once: 0" in told


def test_a_seed_is_the_same_history_again() -> None:
    assert lived(Rules(), 5, EVEN, nodes=7)[1] == lived(Rules(), 5, EVEN, nodes=7)[1]
    assert lived(Rules(), 5, EVEN, nodes=7)[1] != lived(Rules(), 6, EVEN, nodes=7)[1]
