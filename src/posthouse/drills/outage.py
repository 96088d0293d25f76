"""D10: an endpoint is down for long, and returns. Nothing is given up, and it gets everything soon and gently."""

import time
from typing import Final

from posthouse.core.health import FAILURES_IN_A_ROW, PROBE_SECONDS_MAX, PROBE_SECONDS_MIN, RAMP_FACTOR
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT
from posthouse.drills.drill import Drill
from posthouse.drills.events import outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.measures import most_within
from posthouse.drills.receivers import Inbox, Reply
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then

TYPE: Final = "drill.outage"
USUAL: Final = 100.0  #: events a second while all is well
QUIET: Final = 20.0  #: events a second from the outage on, so that what waited is told from what is new
RETRY: Final = "custom:1h"  #: an attempt of its own comes an hour later, and is the last: only the recovery helps

WELL_SECONDS: Final = 40.0
WELL_SECONDS_MIN: Final = 10
DOWN_SECONDS: Final = 120.0
DOWN_SECONDS_MIN: Final = 10
BACK_SECONDS_MAX: Final = 60.0
PATIENCE_SECONDS: Final = 30.0  #: beyond the bound, so that a failure is measured too
USUAL_WINDOW_SECONDS: Final = 10.0  #: the usual rate is counted over any span of so many seconds
RAMP_WINDOW_SECONDS: Final = 2.0  #: and the ramp over this
MEASURE: Final = 1.1  #: a tenth more than the ramp: the publisher is not perfectly even either
LOOK_SECONDS: Final = 0.1
LAST_SECONDS: Final = 3.0  #: of traffic after the recovery


class Outage(Drill):
    """D10."""

    number = "D10"
    title = "An endpoint that was down gets everything soon after it returns, and not all at once"

    @property
    def _well(self) -> int:
        return self.plan.scaled(WELL_SECONDS, least=WELL_SECONDS_MIN)

    @property
    def _down(self) -> int:
        return self.plan.scaled(DOWN_SECONDS, least=DOWN_SECONDS_MIN)

    def given(self) -> list[str]:
        """An endpoint that is well."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        return [
            f"{node}, and one endpoint that takes {USUAL:g} events a second for {self._well} s",
            "its schedule has one retry, an hour after the first attempt: only its recovery helps",
        ]

    def when(self) -> list[str]:
        """The outage."""
        return [
            f"it breaks off every request for {self._down} s, while {QUIET:g} events a second come in",
            "then it answers again",
        ]

    def run(self, ground: Ground) -> Findings:
        """Be well, be down, return."""
        inbox = ground.add_endpoint("outage", [TYPE], retry=RETRY)
        inbox.trace = []
        ground.do("all is well", 0.0, to=0.25, seconds=self._well)
        publisher = ground.publish(outgoing([TYPE], seed=self.plan.seed), rate=USUAL)
        ground.pause(self._well)

        down_at, down_s = time.monotonic(), ground.now_s
        inbox.reply = lambda _event: Reply(None)
        publisher.rate = QUIET
        ground.do("the endpoint is down", 0.25, to=0.7, seconds=self._down)
        ground.pause(self._down)

        inbox.reply = lambda _event: Reply()
        back_at = time.monotonic()
        ground.mark(Kind.FAULT, "down", at_s=down_s, until_s=ground.now_s)
        ground.do("the endpoint is back", 0.7, to=0.95, seconds=BACK_SECONDS_MAX / 2)
        waited = ground.background.call(
            lambda: [event for event, one in publisher.sent.items() if one.accepted_at and not _arrived(inbox, event)]
        )
        ground.holds_within(
            lambda: ground.background.call(lambda: all(_arrived(inbox, event) for event in waited)),
            seconds_max=BACK_SECONDS_MAX + PATIENCE_SECONDS,
            every_s=LOOK_SECONDS,
        )
        back_s = time.monotonic() - back_at
        ground.mark(Kind.RECOVERY, "all that waited is delivered")
        ground.pause(LAST_SECONDS)
        publisher.stop()
        ground.until_published()
        books = ground.settle()
        found = ground.reckon()
        came = [step.at for step in inbox.trace if step.status is None]
        usual = most_within([at for at in came if at < down_at], USUAL_WINDOW_SECONDS) / USUAL_WINDOW_SECONDS
        ramp = most_within([at for at in came if at >= back_at], RAMP_WINDOW_SECONDS) / RAMP_WINDOW_SECONDS
        tried = sum(down_at <= at < back_at for at in came)
        then = [
            Then("deliveries that waited when it returned", len(waited), "≥", QUIET * self._down / 2),
            Then("these are delivered, after it returned", round(back_s, 1), "≤", BACK_SECONDS_MAX, "s"),
            Then("most requests a second after it returned", ramp, "≤", round(MEASURE * RAMP_FACTOR * usual, 1)),
            Then("requests that came while it was down", tried, "≤", tries_within(self._down)),
            Then("deliveries given up", books.exhausted, "=", 0),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "usual_per_second": usual,
            "ramp_per_second": ramp,
            "owed": found.owed,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
        }
        return Findings(then=then, figures=figures)


def _arrived(inbox: Inbox, event: str) -> bool:
    seen = inbox.seen.get(event)
    return seen is not None and seen.answered > 0


def tries_within(down_s: float) -> int:
    """The most requests that a down endpoint should get.

    Those that say that it is down, those on their way then, and the probes. A request whose kept-alive connection
    breaks is sent once more on a new one, and there are as many of those connections as requests were on their way.
    """
    probes, wait, at = 0, PROBE_SECONDS_MIN, PROBE_SECONDS_MIN
    while at <= down_s:
        probes += 1
        wait = min(2 * wait, PROBE_SECONDS_MAX)
        at += wait
    return FAILURES_IN_A_ROW + 2 * IN_FLIGHT_PER_ENDPOINT + probes
