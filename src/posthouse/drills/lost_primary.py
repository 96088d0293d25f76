"""D07: the database server that a node writes to is lost with its disk. What was acknowledged is on another one."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Final

from posthouse.drills.drill import Drill
from posthouse.drills.events import outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.kills import ENDPOINTS, TYPES
from posthouse.drills.plan import RATE, DrillFailed, Plan
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.sdk.client import Problem, Unreachable
from posthouse.testing.postgres.cluster import NoPostgres
from posthouse.testing.postgres.replication import Replicas

LOAD_SECONDS: Final = 60.0  #: before the loss
LOAD_SECONDS_MIN: Final = 3
AFTER_SECONDS: Final = 5.0  #: of load behind it
PROBE_SECONDS: Final = 60.0  #: for so long the node's own probe of the database fails
PROBE_SECONDS_MIN: Final = 3
LOOK_SECONDS: Final = 0.5
BACK_SECONDS_MAX: Final = 30.0
DATABASE: Final = "posthouse_drill"
SERVERS: Final = ("a", "b", "c")
STARTED: Final = "SELECT extract(epoch FROM pg_postmaster_start_time())"


class LostPrimary(Drill):
    """D07."""

    number = "D07"
    title = "The database's primary is lost with its disk, and nothing that was acknowledged is"
    needs_own_node = "a database whose primary may be destroyed"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._servers: Replicas | None = None

    def given(self) -> list[str]:
        """A node on three servers."""
        return [
            "three PostgreSQL servers; each commit waits until one of two standbys has it on its disk, too",
            "a node that knows all three, and three endpoints; every event is owed to two of them",
            f"{RATE:g} events a second, each published again with the same id until it has its 202",
        ]

    def when(self) -> list[str]:
        """The loss, and before it a probe that fails."""
        probe = self.plan.scaled(PROBE_SECONDS, least=PROBE_SECONDS_MIN)
        load = self.plan.scaled(LOAD_SECONDS, least=LOAD_SECONDS_MIN)
        return [
            f"for {probe} s the table that the node's readiness probe writes is not there",
            f"after {load} s all processes of the primary are killed and its files are removed",
            "the standby that has received most is promoted, the other one follows it",
        ]

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[Sequence[str]]:
        """Three servers, and how the node is told of them. Raises DrillFailed if there is no PostgreSQL here."""
        try:
            servers = self._servers = Replicas.start(SERVERS)
        except NoPostgres as error:
            raise DrillFailed(str(error)) from error
        try:
            servers.ask(servers.primary, f"CREATE DATABASE {DATABASE}")
            yield ("--database", servers.dsn(DATABASE))
        finally:
            servers.stop()

    def run(self, ground: Ground) -> Findings:
        """Publish, let the probe fail, lose the primary, and see what is there."""
        servers = self._servers
        assert servers is not None, "it is run in its surroundings"
        for name, types in ENDPOINTS.items():
            ground.add_endpoint(name, types)
        publisher = ground.publish(outgoing(TYPES, seed=self.plan.seed))
        process = ground.node.pid
        started = {name: servers.ask(name, STARTED) for name in SERVERS}
        refused, accepted = self._fail_the_probe(ground, servers)
        load = self.plan.scaled(LOAD_SECONDS, least=LOAD_SECONDS_MIN)
        ground.do("load, all is well", 0.4, to=0.7, seconds=load)
        ground.pause(load)
        ground.do("the primary is lost", 0.7, to=0.8, seconds=AFTER_SECONDS)
        lost = servers.lose_primary()
        lost_at = time.monotonic()
        servers.fail_over()
        ground.mark(Kind.FAULT, "primary lost", at_s=ground.seconds_at(lost_at), until_s=ground.now_s)
        ground.pause(AFTER_SECONDS)
        publisher.stop()
        ground.until_published()
        books = ground.settle()
        ground.do("comparing with what is on the other disk", 0.95)
        missing = ground.missing()
        answered = sorted(sent.accepted_at for sent in publisher.sent.values() if sent.accepted_at is not None)
        back_at = next((at for at in answered if at > lost_at), None)
        back = BACK_SECONDS_MAX * 2 if back_at is None else back_at - lost_at
        left = [name for name in SERVERS if name != lost]
        restarts = sum(servers.ask(name, STARTED) != started[name] for name in left)
        found = ground.reckon()
        then = [
            Then("acknowledged events that are not on the other disk", len(missing), "=", 0),
            Then("from the loss to the next 202", round(back, 2), "≤", BACK_SECONDS_MAX, "s"),
            Then("/readyz said no while the probe failed", refused, "≥", 1),
            Then("events acknowledged meanwhile", accepted, "≥", 1),
            Then("servers and nodes that were restarted by it", restarts + (ground.node.pid != process), "=", 0),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "events": len(publisher.sent),
            "acknowledged": len(publisher.accepted),
            "told to come again": publisher.refused,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
        }
        return Findings(then=then, figures=figures)

    def _fail_the_probe(self, ground: Ground, servers: Replicas) -> tuple[int, int]:
        """How often the node was not ready, and how many events were acknowledged meanwhile."""
        seconds = self.plan.scaled(PROBE_SECONDS, least=PROBE_SECONDS_MIN)
        ground.do("the node's probe fails", 0.05, to=0.4, seconds=seconds)
        began, before, refused = ground.now_s, ground.publisher.acknowledged, 0
        servers.ask(servers.primary, "ALTER TABLE posthouse.probe RENAME TO probe_away", database=DATABASE)
        for _ in range(round(seconds / LOOK_SECONDS)):
            refused += not _is_ready(ground)
            ground.pause(LOOK_SECONDS)
        servers.ask(servers.primary, "ALTER TABLE posthouse.probe_away RENAME TO probe", database=DATABASE)
        ground.mark(Kind.FAULT, "probe fails", at_s=began, until_s=ground.now_s)
        return refused, ground.publisher.acknowledged - before


def _is_ready(ground: Ground) -> bool:
    with ground.client(tries=1) as client:
        try:
            client.fetch("/readyz")
        except (Problem, Unreachable):
            return False
    return True
