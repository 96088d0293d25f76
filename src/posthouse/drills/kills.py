"""D15: the process is killed at random instants under load. What was acknowledged is on disk, and arrives."""

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT
from posthouse.drills.drill import Drill
from posthouse.drills.events import outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.plan import RATE
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then

#: Endpoint → the types that it asks for. Every event is owed to two of them.
ENDPOINTS: Final[Mapping[str, Sequence[str]]] = {"all": ["*"], "a": ["drill.a"], "b": ["drill.b", "drill.c"]}
TYPES: Final = ("drill.a", "drill.b", "drill.c")
PER_EVENT: Final = 2

KILLS: Final = 100
LIFE_SECONDS_MIN: Final = 0.02
LIFE_SECONDS_MAX: Final = 2.5  #: a process lives at most so long before it is killed; its leases are renewed after 2 s
LAST_SECONDS: Final = 4.5  #: load after the last restart: over two renewals of the leases, without a kill
RESTART_SECONDS_MAX: Final = 30.0
UNSETTLED_SECONDS_MAX: Final = 0.5  #: an outcome is durable so soon after it is known, also on a busy machine

WATCH_SECONDS: Final = 60  #: for the operator to kill a node that is not the drill's own
WATCH_SECONDS_MIN: Final = 5
INTERRUPTION_GAP_SECONDS: Final = 1.0  #: requests cut off with a longer pause between them were cut by two kills


class Kills(Drill):
    """D15."""

    number = "D15"
    title = "A node that is killed over and over loses nothing that it acknowledged"

    def given(self) -> list[str]:
        """A node under load."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        return [
            f"{node}, and three endpoints; every event is owed to two of them",
            f"{RATE:g} events a second, each published again with the same id until it has its 202",
        ]

    def when(self) -> list[str]:
        """Kills."""
        if self.is_own:
            kills = self.plan.scaled(KILLS)
            return [f"SIGKILL ends the process at {kills} random instants, and it is started again each time"]
        seconds = self.plan.scaled(WATCH_SECONDS, least=WATCH_SECONDS_MIN)
        return [f"you kill your node as often as you like within {seconds} s, and start it again each time"]

    def left_out(self) -> list[str]:
        """Who kills a node that is somebody else's."""
        return [] if self.is_own else ["the kills: only you can end the processes of your node"]

    def run(self, ground: Ground) -> Findings:
        """Publish, kill, start again, and see what is there."""
        for name, types in ENDPOINTS.items():
            ground.add_endpoint(name, types)
        publisher = ground.publish(outgoing(TYPES, seed=self.plan.seed))
        restarts: list[float] = []
        if self.is_own:
            killed_at = self._kill(ground, restarts)
        else:
            self._watch(ground)
        ground.do("waiting until all is delivered", 0.9)
        publisher.stop()
        ground.until_published()
        books = ground.settle()
        if not self.is_own:
            killed_at = _interruptions_of(ground)
        ground.do("comparing with what is on disk", 0.95)
        missing = ground.missing()
        found = ground.reckon()
        again = unexplained([times for box in ground.inboxes for times in box.repeated.values()], killed_at)
        in_flight = IN_FLIGHT_PER_ENDPOINT * len(ENDPOINTS) + RATE * PER_EVENT * UNSETTLED_SECONDS_MAX
        what = "kill" if self.is_own else "interruption"
        then = [
            Then(f"{what}s", len(killed_at), "≥", self.plan.scaled(KILLS) if self.is_own else 1),
            Then(f"publish requests that lost their answer by a {what}", len(publisher.cut_off), "≥", 1),
            Then("acknowledged events that are not on disk", len(missing), "=", 0),
            *common_rules(found, books),
            Then(f"second deliveries of what was not on its way at a {what}", again, "=", 0),
            Then("second deliveries in all", found.duplicates, "≤", round(len(killed_at) * in_flight)),
        ]
        if restarts:
            then.append(Then("longest restart", round(max(restarts), 2), "≤", RESTART_SECONDS_MAX, "s"))
        figures: dict[str, float | str] = {
            "events": len(publisher.sent),
            "acknowledged": len(publisher.accepted),
            "owed": found.owed,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
            "unanswered": len(publisher.cut_off),
            "repeats_recognised": publisher.repeats,
        }
        return Findings(then=then, figures=figures)

    def _kill(self, ground: Ground, restarts: list[float]) -> list[float]:
        """Kill and start again; when each kill was."""
        chance = random.Random(f"{self.plan.seed}-instants")  # noqa: S311 - the same instants for the same seed
        killed_at: list[float] = []
        kills = self.plan.scaled(KILLS)
        for number in range(1, kills + 1):
            ground.do(f"kill {number} of {kills}", 0.85 * (number - 1) / kills, to=0.85 * number / kills, seconds=2.5)
            ground.pause(chance.uniform(LIFE_SECONDS_MIN, LIFE_SECONDS_MAX))
            ground.node.kill()
            killed_at.append(time.monotonic())
            ground.node.start()
            restarts.append(time.monotonic() - killed_at[-1])
            at_s = ground.seconds_at(killed_at[-1])
            ground.mark(Kind.FAULT, f"kill {number}", at_s=at_s, until_s=ground.now_s)
        ground.do("no more kills; two renewals of the leases", 0.85, to=0.9, seconds=LAST_SECONDS)
        ground.mark(Kind.RECOVERY, "no more kills")
        ground.pause(LAST_SECONDS)
        return killed_at

    def _watch(self, ground: Ground) -> None:
        """Let the operator kill the node."""
        seconds = self.plan.scaled(WATCH_SECONDS, least=WATCH_SECONDS_MIN)
        for passed in range(seconds):
            ground.do(f"kill your node now, as often as you like: {seconds - passed} s left", 0.85 * passed / seconds)
            ground.pause(1.0)
        ground.mark(Kind.RECOVERY, "no more kills")


def _interruptions_of(ground: Ground) -> list[float]:
    """When the publisher lost the node; each is marked."""
    found = interruptions(ground.publisher.cut_off)
    for number, at in enumerate(found, 1):
        ground.mark(Kind.FAULT, f"interruption {number}", at_s=ground.seconds_at(at))
    return found


def interruptions(cut_off: Iterable[float]) -> list[float]:
    """When a node went away: the first of the requests that lost their answer together. Times in order, monotonic."""
    found: list[float] = []
    before = float("-inf")
    for at in cut_off:
        if at - before > INTERRUPTION_GAP_SECONDS:
            found.append(at)
        before = at
    return found


def unexplained(repeated: Iterable[Sequence[float]], killed_at: Sequence[float]) -> int:
    """How many deliveries came once more although no kill was near when they had been answered."""
    return sum(
        not any(abs(kill - answered) < UNSETTLED_SECONDS_MAX for kill in killed_at)
        for times in repeated
        for answered in times
    )
