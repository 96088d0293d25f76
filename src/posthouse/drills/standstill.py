"""D17: half the nodes stand still and another one spins. Their work goes on elsewhere; later they disturb nobody."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT, LEASE_MS
from posthouse.demo.node_process import SERVE
from posthouse.drills.drill import Drill
from posthouse.drills.events import keyed, place_of_keyed
from posthouse.drills.faulty_node import SWITCH_FILE, Switch
from posthouse.drills.fleet import Database, Fleet
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.measures import longest_silence, sequences
from posthouse.drills.plan import Plan
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then

RATE: Final = 200.0  #: events a second
BEFORE_SECONDS: Final = 5.0  #: of load while all is well
STILL_SECONDS: Final = 30.0  #: for so long they stand still; longer than the leases
STILL_SECONDS_MIN: Final = 20
AFTER_SECONDS: Final = 10.0  #: of load after they went on
ENDPOINTS: Final = 24
KEYS: Final = 4  #: ordering keys of each endpoint
TIMEOUT_MS: Final = 2_000  #: of a request: for so long who takes over an endpoint that keeps order lets it rest
OTHERS: Final[Mapping[str, Sequence[str]]] = {
    "frozen-1": SERVE,
    "frozen-2": SERVE,
    "busy": ("posthouse.drills.faulty_node", "busy"),
}
TAKEN_OVER_SECONDS_MAX: Final = LEASE_MS / 1_000 + 5
ALARM_SECONDS_MAX: Final = 15.0
LOOK_SECONDS: Final = 0.25


class Standstill(Drill):
    """D17."""

    number = "D17"
    title = "Half the nodes stand still and one spins; others do their work, and what wakes up changes nothing"
    needs_own_node = "several nodes, whose processes are stopped"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._database: Database | None = None

    def given(self) -> list[str]:
        """Four nodes."""
        return [
            "four nodes on one PostgreSQL database",
            f"{ENDPOINTS} endpoints, {KEYS} ordering keys each; every other one keeps order (fifo)",
            f"a request to them may take {TIMEOUT_MS / 1_000:g} s",
            f"{RATE:g} events a second at the first node, each published again with the same id until it has its 202",
        ]

    def when(self) -> list[str]:
        """They stand still, and go on."""
        seconds = self.plan.scaled(STILL_SECONDS, least=STILL_SECONDS_MIN)
        return [
            f"two nodes get a SIGSTOP, and the event loop of a third spins, for {seconds} s",
            "then they go on with what they were doing",
        ]

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[Sequence[str]]:
        """A database, and how the node is told of it. Raises DrillFailed if there is no PostgreSQL here."""
        with Database.made() as database:
            self._database = database
            yield ("--database", database.dsn)

    def run(self, ground: Ground) -> Findings:
        """Publish, stop three nodes, let them go on, and see what came of it."""
        assert self._database is not None, "it is run in its surroundings"
        for number in range(ENDPOINTS):
            order = "fifo" if number % 2 else "none"
            ground.add_endpoint(f"e{number}", [f"drill.{number}"], order=order, timeout_ms=TIMEOUT_MS).trace = []
        with Fleet(ground, self._database, OTHERS) as fleet:
            ground.do("the nodes take their shares", 0.05, to=0.2, seconds=15.0)
            fleet.until_spread()
            publisher = ground.publish(keyed(ENDPOINTS, KEYS), rate=RATE)
            ground.do("load, all is well", 0.2, to=0.3, seconds=BEFORE_SECONDS)
            ground.pause(BEFORE_SECONDS)
            stopped_at, alarm = self._stand_still(ground, fleet)
            going_on_at = time.monotonic()
            ground.mark(Kind.RECOVERY, "all go on")
            ground.do("all go on", 0.7, to=0.9, seconds=AFTER_SECONDS)
            spread = fleet.until_spread()
            ground.pause(AFTER_SECONDS)
            publisher.stop()
            ground.until_published()
            books = ground.settle()
        found = ground.reckon()
        silences = [longest_silence(inbox.came_at, since=stopped_at, until=going_on_at) for inbox in ground.inboxes]
        free, ordered = silences[::2], silences[1::2]
        seen = [sequences(inbox.trace or (), place_of_keyed, gapless=True) for inbox in ground.inboxes[1::2]]
        then = [
            Then("longest time that an endpoint got nothing", round(max(free), 2), "≤", TAKEN_OVER_SECONDS_MAX, "s"),
            Then(
                "longest time that one that keeps order got nothing",
                round(max(ordered), 2),
                "≤",
                TAKEN_OVER_SECONDS_MAX + TIMEOUT_MS / 1_000,
                "s",
            ),
            Then("until the log had named each of the three", round(alarm, 2), "≤", ALARM_SECONDS_MAX, "s"),
            Then("events handled after a later one of their key", sum(each.inversions for each in seen), "=", 0),
            Then("events sent before an earlier one was handled", sum(each.overtakings for each in seen), "=", 0),
            Then("deliveries made twice", found.duplicates, "≤", ENDPOINTS * IN_FLIGHT_PER_ENDPOINT),
            Then("until all had their shares again", round(spread, 2), "≤", ALARM_SECONDS_MAX * 2, "s"),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "acknowledged": len(publisher.accepted),
            "delivered": found.delivered,
            "duplicates": found.duplicates,
            "silence_mean_s": round(sum(silences) / len(silences), 2),
        }
        return Findings(then=then, figures=figures)

    def _stand_still(self, ground: Ground, fleet: Fleet) -> tuple[float, float]:
        """Stop three nodes for a while: when that was, and after how many seconds the first node's log named them."""
        names = _names_by_process(ground)
        wanted = {names[node.pid] for node in fleet.others.values() if node.pid is not None}
        seconds = self.plan.scaled(STILL_SECONDS, least=STILL_SECONDS_MIN)
        ground.do("three stand still", 0.3, to=0.7, seconds=seconds)
        switch = fleet.others["busy"].data / SWITCH_FILE
        switch.write_text(Switch.BUSY)
        fleet.freeze("frozen-1")
        fleet.freeze("frozen-2")
        stopped_at = time.monotonic()
        ground.mark(Kind.FAULT, "three stand still")
        alarm = seconds * 2.0
        if ground.holds_within(lambda: wanted <= _named_as_dead(ground), seconds_max=seconds, every_s=LOOK_SECONDS):
            alarm = time.monotonic() - stopped_at
            ground.mark(Kind.ALARM, "the log names them")
        ground.pause(max(0.0, stopped_at + seconds - time.monotonic()))
        switch.unlink()
        fleet.thaw("frozen-1")
        fleet.thaw("frozen-2")
        return stopped_at, alarm


def _names_by_process(ground: Ground) -> dict[int, str]:
    with ground.client() as client:
        return {node["process_id"]: node["name"] for node in client.get("/v1/nodes")["data"]}


def _named_as_dead(ground: Ground) -> set[str]:
    """Nodes that the log of the drill's own node says are dead."""
    lines = ground.node.log.read_text("utf-8", errors="replace").splitlines()
    said = [msgspec.json.decode(line) for line in lines if '"node_dead"' in line]
    return {line["node"] for line in said}
