"""D08: who wants which events is known from memory, and that is lost. It is made anew at once, from the rows."""

import random
import time
from typing import Final

from posthouse.drills.drill import Drill
from posthouse.drills.events import outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.plan import RATE
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then

ENDPOINTS: Final = 10_000
ENDPOINTS_MIN: Final = 200
LOSSES: Final = 5
LIFE_SECONDS: Final = (1.0, 4.0)  #: between two losses
LAST_SECONDS: Final = 4.0  #: of load behind the last one
REBUILT_SECONDS_MAX: Final = 10.0


class LostIndex(Drill):
    """D08."""

    number = "D08"
    title = "The index of who wants what is lost under load, and made anew at once"
    needs_own_node = "the index is the memory of its process"

    @property
    def _endpoints(self) -> int:
        return self.plan.scaled(ENDPOINTS, least=ENDPOINTS_MIN)

    def given(self) -> list[str]:
        """Many endpoints."""
        return [
            f"a node with {self._endpoints:,} endpoints, each of which wants a type of its own",
            f"{RATE:g} events a second of these types, each published again with the same id until it has its 202",
        ]

    def when(self) -> list[str]:
        """The loss."""
        return [f"{LOSSES} times the process that has the index in its memory is killed, and started again"]

    def run(self, ground: Ground) -> Findings:
        """Add endpoints, publish, lose the index, and see who got what."""
        types = [f"drill.{number}" for number in range(self._endpoints)]
        for number, event_type in enumerate(types):
            if number % 100 == 0:
                ground.do(f"endpoint {number:,}", 0.5 * number / len(types), to=0.5 * (number + 100) / len(types))
            ground.add_endpoint(event_type, [event_type])
        publisher = ground.publish(outgoing(types, seed=self.plan.seed))
        chance = random.Random(f"{self.plan.seed}-instants")  # noqa: S311 - the same instants for the same seed
        rebuilt: list[float] = []
        for number in range(1, LOSSES + 1):
            ground.do(f"loss {number} of {LOSSES}", 0.5 + 0.4 * (number - 1) / LOSSES)
            ground.pause(chance.uniform(*LIFE_SECONDS))
            ground.node.kill()
            lost_at = time.monotonic()
            ground.node.start()
            rebuilt.append(time.monotonic() - lost_at)
            at_s = ground.seconds_at(lost_at)
            ground.mark(Kind.FAULT, f"index lost {number}", at_s=at_s, until_s=ground.now_s)
        ground.do("waiting until all is delivered", 0.9)
        ground.pause(LAST_SECONDS)
        publisher.stop()
        ground.until_published()
        books = ground.settle()
        found = ground.reckon()
        then = [
            Then("longest time to make the index anew", round(max(rebuilt), 2), "≤", REBUILT_SECONDS_MAX, "s"),
            Then("publish requests that met a loss", len(publisher.cut_off), "≥", 1),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "endpoints": len(types),
            "events": len(publisher.sent),
            "owed": found.owed,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
        }
        return Findings(then=then, figures=figures)
