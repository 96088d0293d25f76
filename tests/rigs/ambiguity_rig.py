"""Take answers away that said "durable": the node says 503, and whoever repeats finds out. Nothing is lost or doubled.

Usage: ``python tests/rigs/ambiguity_rig.py --cuts 200``
"""

import argparse
import sys
from typing import Final

from cutting_proxy import CuttingProxy

from posthouse.drills.drill import Drill
from posthouse.drills.events import outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.index import play
from posthouse.drills.plan import Plan
from posthouse.drills.report import Findings, Report, Then
from posthouse.testing.postgres.durable import durable_server

RATE: Final = 200.0
LANES: Final = ("intake", "settle", "pulse")
CUT_SECONDS_MAX: Final = 10.0
BETWEEN_SECONDS: Final = 0.2
TYPE: Final = "drill.ambiguity"


class Ambiguity(Drill):
    """Answers of the database are lost ``plan.scale`` times."""

    number = "rig"
    title = "A node that loses the answers of its database neither loses nor doubles anything"

    def __init__(self, plan: Plan, proxy: CuttingProxy) -> None:
        super().__init__(plan)
        self._proxy = proxy

    def given(self) -> list[str]:
        """A node on a database."""
        return [f"a node on a database, and {RATE:g} events a second"]

    def when(self) -> list[str]:
        """Cuts."""
        return [f"{self.plan.scale:g} times the database's answer to a commit is lost, and its connection"]

    def run(self, ground: Ground) -> Findings:
        """Publish, cut, and compare."""
        ground.add_endpoint("all", [TYPE])
        publisher = ground.publish(outgoing([TYPE], seed=self.plan.seed), rate=RATE)
        ground.until_acknowledged(RATE / 2)
        unknown = 0
        for number in range(round(self.plan.scale)):
            lane = LANES[number % len(LANES)]
            unknown += lane == "intake"
            self._proxy.cut(lane)
            ground.until(lambda: not self._proxy.is_armed, seconds_max=CUT_SECONDS_MAX, what=f"a commit on {lane}")
            ground.pause(BETWEEN_SECONDS)
        publisher.stop()
        ground.until_published()
        books = ground.settle()
        on_disk = [event["id"] for page in ground.pages("/v1/events") for event in page]
        found = ground.reckon()
        then = [
            Then("answers that were lost", self._proxy.lost, "=", round(self.plan.scale)),
            Then("repeats that found their event there", publisher.repeats, "≥", unknown),
            Then("requests that lost their answer", len(publisher.cut_off), "=", 0),
            Then("events twice on disk", len(on_disk) - len(set(on_disk)), "=", 0),
            Then("events on disk but those published", len(publisher.sent.keys() ^ set(on_disk)), "=", 0),
            Then("second deliveries", found.duplicates, "=", 0),
            *common_rules(found, books),
        ]
        return Findings(then=then, figures={"events": len(publisher.sent), "refused": publisher.refused})


def run(*, cuts: int, seed: int) -> Report:
    """Play it on a server of its own."""
    with durable_server() as (cluster, database), CuttingProxy(cluster.port) as proxy:
        address = f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}"
        return play(Ambiguity(Plan(scale=cuts, seed=seed, database=address), proxy), lambda _look: None)


def main() -> int:
    """Run as the command line says; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = run(cuts=options.cuts, seed=options.seed)
    for then in report.findings.then:
        print(f"{'ok   ' if then.holds else 'WRONG'} {then.text}: {then.measured} {then.relation} {then.bound}")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
