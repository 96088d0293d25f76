"""D13: some endpoints hang, one is flooded, some are black holes. The others do not notice."""

import time
from collections.abc import Iterator, Sequence
from typing import Final

from posthouse.drills.drill import Drill
from posthouse.drills.events import Outgoing, outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.measures import P99, in_ms, latencies, percentile
from posthouse.drills.receivers import Inbox
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then

ENDPOINTS: Final = 200
HANGING: Final = 5
FLOODED: Final = 1
HOLES: Final = 20  #: 10 % of all
FLOOD: Final = 100  #: times as many events as each of the others gets
GENTLE: Final = 1.0  #: events a second for each endpoint
RETRY: Final = "custom:1s,1s,2s,5s,10s,1m,5m,10m,30m,1h"

PHASE_SECONDS: Final = 60.0  #: of each of the three phases; the hanging receivers hang for two of them
PHASE_SECONDS_MIN: Final = 5
SLOWER_MAX: Final = 2.0  #: times the undisturbed p99
FLOOR_MS: Final = 25.0  #: an undisturbed p99 below this counts as this: a machine that is shared has hiccups
P99_MS_MAX: Final = 1_000.0
LAST_SECONDS: Final = 1.0  #: for the last events of a phase to arrive in
BACK_SECONDS_MAX: Final = 90.0  #: until those that hung have all they are owed: a probe comes every half minute


class Traffic:
    """Events for every endpoint in turn, and a flood for one of them while it is wanted."""

    def __init__(self, types: Sequence[str], *, seed: int) -> None:
        self._gentle = outgoing(types, seed=seed, prefix="gentle")
        self._flood = outgoing(types[:FLOODED], seed=seed + 1, prefix="flood")
        self._types = len(types)
        self.floods = False

    @property
    def rate(self) -> float:
        """Events a second, as it stands."""
        return GENTLE * (self._types + (FLOOD - 1 if self.floods else 0))

    def events(self) -> Iterator[Outgoing]:
        """No end of them; a flood is spread evenly over the others."""
        owed = 0.0
        while True:
            yield next(self._gentle)
            owed = owed + (FLOOD - 1) / self._types if self.floods else 0.0
            while owed >= 1:
                owed -= 1
                yield next(self._flood)


class NoisyNeighbours(Drill):
    """D13."""

    number = "D13"
    title = "Endpoints that hang, are flooded or swallow everything do not slow the others down"

    @property
    def _phase(self) -> int:
        return self.plan.scaled(PHASE_SECONDS, least=PHASE_SECONDS_MIN)

    def given(self) -> list[str]:
        """Many endpoints."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        return [
            f"{node}, and {ENDPOINTS} endpoints that each get {GENTLE:g} event a second, for {self._phase} s at first",
            f"a p99 below {FLOOR_MS:g} ms counts as that: no machine is quite quiet",
        ]

    def when(self) -> list[str]:
        """Bad neighbours."""
        return [
            f"{HANGING} endpoints hang, and {FLOODED} gets {FLOOD} times as many events, for {self._phase} s",
            f"then for {self._phase} s {HOLES} more take connections and requests, and never say a word",
            "then all of them answer again",
        ]

    def run(self, ground: Ground) -> Findings:
        """Publish in three phases, recover, and measure the others in each of them."""
        types = [f"drill.{number}" for number in range(ENDPOINTS)]
        inboxes = [
            ground.add_endpoint(name, [name], behind_hole=number >= ENDPOINTS - HOLES, retry=RETRY)
            for number, name in enumerate(types)
        ]
        flooded, hanging = inboxes[0], inboxes[FLOODED : FLOODED + HANGING]
        others = inboxes[FLOODED + HANGING :]
        traffic = Traffic(types, seed=self.plan.seed)
        publisher = ground.publish(traffic.events(), rate=traffic.rate)
        undisturbed = self._phase_of(ground, "all is well", 0.0)

        ground.mark(Kind.FAULT, f"{HANGING} hang, {FLOODED} is flooded")
        for inbox in hanging:
            inbox.hangs = True
        traffic.floods = True
        publisher.rate = traffic.rate
        beside_hanging = self._phase_of(ground, f"{HANGING} hang, {FLOODED} is flooded", 0.3)

        ground.mark(Kind.FAULT, f"{HOLES} black holes")
        ground.background.call(ground.receivers.swallow)
        beside_holes = self._phase_of(ground, f"{HOLES} more are black holes", 0.6)

        back_at = time.monotonic()
        self._recover(ground, hanging)
        books = ground.settle()
        back_s = round(time.monotonic() - back_at, 1)
        found = ground.reckon()
        silent = others[:-HOLES]
        calm = self._p99(ground, others, undisturbed)
        beside = self._p99(ground, others, beside_hanging), self._p99(ground, silent, beside_holes)
        bound = min(SLOWER_MAX * max(calm, FLOOR_MS), P99_MS_MAX)
        then = [
            Then(f"p99 of the other {len(others)}, undisturbed", calm, "≤", P99_MS_MAX, "ms"),
            Then(f"p99 of the other {len(others)}, beside those that hang and the flood", beside[0], "≤", bound, "ms"),
            Then(f"p99 of the other {len(silent)}, beside the black holes too", beside[1], "≤", bound, "ms"),
            Then("events for the one that is flooded", flooded.delivered, "≥", FLOOD * GENTLE * self._phase),
            Then("all delivered, after they answered again", back_s, "≤", BACK_SECONDS_MAX, "s"),
            Then("deliveries given up", books.exhausted, "=", 0),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "owed": found.owed,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
            "floor_ms": FLOOR_MS,
        }
        return Findings(then=then, figures=figures)

    def _phase_of(self, ground: Ground, doing: str, share: float) -> tuple[float, float]:
        """Let one phase pass, and a moment for its last events to arrive in; when it was, monotonic."""
        ground.do(doing, share, to=share + 0.3, seconds=self._phase)
        since = time.monotonic()
        ground.pause(self._phase)
        until = time.monotonic()
        ground.pause(LAST_SECONDS)
        return since, until

    def _p99(self, ground: Ground, inboxes: Sequence[Inbox], phase: tuple[float, float]) -> float:
        """Of these, from the 202 to the handling in ms, over the events that had their 202 in this phase."""
        since, until = phase
        sent = ground.publisher.sent
        found = latencies(sent, inboxes, since=since, until=until, now=time.monotonic())
        return in_ms(percentile(found, P99))

    def _recover(self, ground: Ground, hanging: Sequence[Inbox]) -> None:
        """Let all of them answer again, and publish no more."""
        ground.do("all answer again", 0.9, to=0.98, seconds=BACK_SECONDS_MAX / 2)
        ground.mark(Kind.RECOVERY, "all answer again")
        ground.publisher.stop()
        for inbox in hanging:
            ground.background.call(inbox.recover)
        ground.background.call(ground.receivers.give_back)
        ground.until_published()
