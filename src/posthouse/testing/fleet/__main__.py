"""``python -m posthouse.testing.fleet``: let a fleet live through everything, and say what came of it."""

import argparse
import sys
import time
from typing import Final

import msgspec

from posthouse.testing.fleet.fleet import Fleet, Outcome
from posthouse.testing.fleet.population import TAILS, Population, populate
from posthouse.testing.fleet.rules import Rules
from posthouse.testing.fleet.stories import live

_NODES_MIN: Final = 3  #: a third of them dies
_NODES_MAX: Final = 256  #: with more, some have no slot
_HEAD: Final = "moved  least  owned s  moved s  tx/s  busiest s  endpoints  load  longest without a node"


def main(arguments: list[str]) -> int:
    """Do as the arguments say; 0 if every law held."""
    options = _parse(arguments)
    began = time.process_time()
    population = populate(options.endpoints, tenants=options.tenants, tail=options.tail, seed=options.seed)
    _tell_population(population, options)
    rules = Rules(knows_owners=not options.by_names)
    fleet = Fleet(rules, options.seed, population)
    outcomes = []
    print(f"\n{'':52}{_HEAD}")
    for outcome in live(fleet, options.nodes):
        outcomes.append(outcome)
        print(_line(outcome), flush=True)
    doubles = fleet.watch.doubles
    print(f"\n{fleet.world.now:.0f} s of a fleet, {time.process_time() - began:.1f} s of CPU")
    print(f"twice owned at once: {len(doubles)}", *doubles[:20], sep="\n")
    if options.json:
        print(msgspec.json.encode(outcomes).decode())
    return 1 if doubles or not all(outcome.at_rest for outcome in outcomes) else 0


def _tell_population(population: Population, options: argparse.Namespace) -> None:
    slots = len(population.endpoints)
    fullest = max(population.endpoints) * slots / options.endpoints
    busiest = max(population.load) * slots / sum(population.load)
    print(f"{options.endpoints} endpoints of {options.tenants} tenants, tail of their load: {options.tail}")
    print(
        f"the busiest endpoint gets {population.hottest:.2%} of everything, the busiest tenant {population.largest:.2%}"
    )
    print(f"by the mean slot, the fullest has {fullest:.2f} of the endpoints, the busiest {busiest:.2f} of the load")


def _line(outcome: Outcome) -> str:
    gaps = ", ".join(f"{why} {gap:.2f}" for why, gap in outcome.gaps.items())
    moved = f"{outcome.moves:5}  {outcome.least:5}  {outcome.owned_after:7.2f}  {outcome.moved_after:7.2f}"
    asked = f"{outcome.transactions:4.0f}  {outcome.busiest:9}"
    spread = f"{outcome.endpoints:9.2f}  {outcome.load:4.2f}"
    return f"{outcome.name:52}{moved}  {asked}  {spread}  {gaps}{'' if outcome.at_rest else '  NEVER AT REST'}"


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m posthouse.testing.fleet", description=__doc__)
    parser.add_argument("--nodes", type=int, default=64, help=f"how many nodes, {_NODES_MIN} to {_NODES_MAX}")
    parser.add_argument("--endpoints", type=int, default=1_000_000, help="how many endpoints")
    parser.add_argument("--tenants", type=int, default=10_000, help="how many tenants they belong to")
    parser.add_argument("--tail", choices=TAILS, default="heavy", help="how unequal the load of endpoints is")
    parser.add_argument("--seed", type=int, default=1, help="another one is another history")
    parser.add_argument("--by-names", action="store_true", help="nodes assign without knowing the owners")
    parser.add_argument("--json", action="store_true", help="the figures once more, as JSON")
    options = parser.parse_args(arguments)
    if not _NODES_MIN <= options.nodes <= _NODES_MAX:
        parser.error(f"--nodes must be between {_NODES_MIN} and {_NODES_MAX}")
    if not 1 <= options.tenants <= options.endpoints:
        parser.error("--tenants must be between 1 and --endpoints")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
