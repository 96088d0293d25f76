"""Crash the database under a node, again and again: it comes back by itself, and nothing acknowledged is missing.

Usage: ``python tests/rigs/pg_restart_rig.py --restarts 20``
"""

import argparse
import sys
import time
from collections import deque
from typing import Final

from posthouse.drills.drill import Drill
from posthouse.drills.events import outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.index import play
from posthouse.drills.plan import Plan
from posthouse.drills.report import Findings, Report, Then
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.durable import durable_server

RATE: Final = 200.0
WELL_SECONDS: Final = 1.5
DOWN_SECONDS: Final = 1.0
BACK_SECONDS_MAX: Final = 10.0  #: from the server's first answer to the full rate, without an operator
FULL: Final = 0.9  #: of the rate, over a second
TYPE: Final = "drill.restart"


class Restarts(Drill):
    """The database crashes ``plan.scale`` times."""

    number = "rig"
    title = "A node whose database crashes goes on by itself and loses nothing"

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        super().__init__(plan)
        self._cluster = cluster

    def given(self) -> list[str]:
        """A node on a database."""
        return [f"a node on a database, and {RATE:g} events a second"]

    def when(self) -> list[str]:
        """Crashes."""
        return [f"the database crashes {self.plan.scale:g} times and is away for {DOWN_SECONDS:g} s each time"]

    def run(self, ground: Ground) -> Findings:
        """Publish, crash, wait for the full rate, and compare."""
        ground.add_endpoint("all", [TYPE])
        publisher = ground.publish(outgoing([TYPE], seed=self.plan.seed), rate=RATE)
        recoveries = []
        for _ in range(round(self.plan.scale)):
            ground.pause(WELL_SECONDS)
            self._cluster.crash()
            ground.pause(DOWN_SECONDS)
            self._cluster.begin()
            recoveries.append(_until_full(ground))
        publisher.stop()
        ground.until_published()
        books = ground.settle()
        on_disk = {event["id"] for page in ground.pages("/v1/events") for event in page}
        acknowledged = {event for event, sent in publisher.sent.items() if sent.accepted_at is not None}
        found = ground.reckon()
        then = [
            Then("longest way back to the full rate", round(max(recoveries), 2), "≤", BACK_SECONDS_MAX, "s"),
            Then("answers that asked for a repeat", publisher.refused, "≥", round(self.plan.scale)),
            Then("requests that lost their answer", len(publisher.cut_off), "=", 0),
            Then("acknowledged events that are not on disk", len(acknowledged - on_disk), "=", 0),
            Then("events on disk that nobody published", len(on_disk - publisher.sent.keys()), "=", 0),
            *common_rules(found, books),
        ]
        return Findings(then=then, figures={"events": len(publisher.sent), "duplicates": found.duplicates})


def _until_full(ground: Ground) -> float:
    """Seconds until as much is accepted and delivered in a second as is published."""
    started = time.monotonic()
    seen: deque[tuple[float, int, int]] = deque()

    def is_full() -> bool:
        now = time.monotonic()
        seen.append((now, ground.publisher.acknowledged, ground.receivers.delivered))
        while now - seen[0][0] > 1:
            seen.popleft()
        wanted = FULL * RATE
        return seen[-1][1] - seen[0][1] >= wanted and seen[-1][2] - seen[0][2] >= wanted

    ground.holds_within(is_full, seconds_max=2 * BACK_SECONDS_MAX)
    return time.monotonic() - started


def run(*, restarts: int, seed: int) -> Report:
    """Play it on a server of its own."""
    with durable_server() as (cluster, database):
        plan = Plan(scale=restarts, seed=seed, database=cluster.dsn(database))
        return play(Restarts(plan, cluster), lambda _look: None)


def main() -> int:
    """Run as the command line says; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = run(restarts=options.restarts, seed=options.seed)
    for then in report.findings.then:
        print(f"{'ok   ' if then.holds else 'WRONG'} {then.text}: {then.measured} {then.relation} {then.bound}")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
