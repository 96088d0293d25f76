"""D05: deliveries are stored, and what should send them never hears of it. The node notices and mends it itself."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from posthouse.core.limits import STUCK_MS
from posthouse.drills.drill import Drill
from posthouse.drills.events import Outgoing, outgoing
from posthouse.drills.faulty_node import SWITCH_FILE, Switch
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.plan import RATE
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.sdk.client import segment

WEBHOOKS: Final = 10_000
WEBHOOKS_MIN: Final = 300
ENDPOINTS: Final = 10
STUCK_SHARE: Final = 0.1  #: of the webhooks, all of one endpoint
HEALTHY_SHARE: Final = 0.1  #: of the webhooks, published before the fault

THRESHOLD_SECONDS: Final = STUCK_MS / 1_000
ALARM_SECONDS_MAX: Final = 10.0  #: after the threshold
HEALED_SECONDS_MAX: Final = 15.0
DUPLICATES_MAX: Final = 1
PATIENCE_SECONDS: Final = 30.0  #: beyond the bounds, so that a failure is measured too
CALM_SECONDS_MAX: Final = 15.0  #: until the alarm is taken back
STUCK_PREFIX: Final = "stuck"  #: of the ids of the events that nobody is told of
ASKED: Final = 20  #: of these, how many the API is asked for
LOOK_SECONDS: Final = 0.2
GAUGE: Final = "posthouse_stuck_queues"


class StuckQueues(Drill):
    """D05."""

    number = "D05"
    title = "Stored and then forgotten: the node notices, and mends it"
    needs_own_node = "the fault lies inside the node, between its store and its engine"
    program = ("posthouse.drills.faulty_node", "skip")

    @property
    def _total(self) -> int:
        return self.plan.scaled(WEBHOOKS, least=WEBHOOKS_MIN)

    def given(self) -> list[str]:
        """A node and its endpoints."""
        return [
            f"a node on a new store, and {ENDPOINTS} endpoints that answer",
            f"{self._total:,} events, {RATE:g} a second, each owed to one of them",
        ]

    def when(self) -> list[str]:
        """The fault."""
        return [
            f"{STUCK_SHARE:.0%} of them, all of one endpoint, are stored and acknowledged; the engine hears nothing",
            "until after the alarm it cannot read its queues from the store either; then the fault ends by itself",
        ]

    def run(self, ground: Ground) -> Findings:
        """Publish, break, wait for the alarm, end the fault, wait for the healing."""
        types = [f"drill.{number}" for number in range(ENDPOINTS)]
        for event_type in types:
            ground.add_endpoint(event_type, [event_type])
        switch = ground.node.data / SWITCH_FILE
        ground.do("publishing; some of it is told to nobody", 0.05, to=0.6, seconds=1.5 * THRESHOLD_SECONDS)
        publisher = ground.publish(self._events(types, switch))
        ground.until(switch.exists, seconds_max=PATIENCE_SECONDS, what="the fault")
        broken_at = ground.now_s

        alarm_max = THRESHOLD_SECONDS + ALARM_SECONDS_MAX + PATIENCE_SECONDS
        if ground.holds_within(lambda: _stuck_queues(ground) > 0, seconds_max=alarm_max, every_s=LOOK_SECONDS):
            ground.mark(Kind.ALARM, "the node's alarm")
        alarm_at = ground.now_s
        stuck = ground.background.call(lambda: _undelivered(ground))
        unnamed = _unnamed(ground, [event for event in stuck if event.startswith(STUCK_PREFIX)][:ASKED])
        threshold_at = THRESHOLD_SECONDS + min(map(ground.seconds_at, stuck.values()), default=broken_at)
        ground.do("the alarm is there; publishing the rest", 0.6)
        ground.until_published()

        switch.unlink()
        mended_at = ground.now_s
        ground.mark(Kind.FAULT, "stored, not sent", at_s=broken_at, until_s=mended_at)
        ground.do("the fault is over, and nobody does anything", 0.7, to=0.95, seconds=HEALED_SECONDS_MAX)
        healed_max = HEALED_SECONDS_MAX + PATIENCE_SECONDS
        if ground.holds_within(lambda: ground.receivers.delivered >= publisher.owed, seconds_max=healed_max):
            ground.mark(Kind.RECOVERY, "all is delivered")
        healed_at = ground.now_s
        books = ground.settle()
        ground.holds_within(lambda: not _stuck_queues(ground), seconds_max=CALM_SECONDS_MAX, every_s=LOOK_SECONDS)
        found = ground.reckon()
        alarm_s, healed_s = round(alarm_at - threshold_at, 1), round(healed_at - mended_at, 1)
        then = [
            Then("webhooks that were stored and not sent", len(stuck), "≥", STUCK_SHARE * self._total / 2),
            Then("of these, shown by the API to wait for anything else", unnamed, "=", 0),
            Then("alarm, after the first was due for 10 s", alarm_s, "≤", ALARM_SECONDS_MAX, "s"),
            Then("all delivered, after the fault ended", healed_s, "≤", HEALED_SECONDS_MAX, "s"),
            Then("most second deliveries of one webhook", found.duplicates_max, "≤", DUPLICATES_MAX),
            Then("queues that the node still calls stuck", _stuck_queues(ground), "=", 0),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "stuck": len(stuck),
            "alarm_seconds_after_the_fault": round(alarm_at - broken_at, 1),
            "fault_seconds": round(mended_at - broken_at, 1),
            "owed": found.owed,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
        }
        return Findings(then=then, figures=figures)

    def _events(self, types: Sequence[str], switch: Path) -> Iterator[Outgoing]:
        """All events in order. The last endpoint's come in a row; the fault begins before them, and stays."""
        total = self._total
        well, stuck = round(total * HEALTHY_SHARE), round(total * STUCK_SHARE)
        others = outgoing(types[:-1], seed=self.plan.seed, total=total - stuck)
        yield from islice(others, well)
        switch.write_text(Switch.SKIP, "utf-8")
        yield from outgoing(types[-1:], seed=self.plan.seed, total=stuck, prefix=STUCK_PREFIX)
        switch.write_text(Switch.UNREADABLE, "utf-8")
        yield from others


def _stuck_queues(ground: Ground) -> int:
    return int(ground.metrics()[GAUGE])


def _unnamed(ground: Ground, events: Sequence[str]) -> int:
    """For how many of these events the API does not say that their delivery is stuck."""
    found = 0
    with ground.client() as client:
        for event in events:
            (listed,) = client.get("/v1/deliveries", {"tenant": ground.tenant, "event": event})["data"]
            waits_for = client.get(f"/v1/deliveries/{segment(listed['id'])}")["waits_for"]
            found += waits_for is None or waits_for["code"] != "stuck"
    return found


def _undelivered(ground: Ground) -> dict[str, float]:
    """Acknowledged events that did not arrive, and since when (monotonic). For the background loop."""
    arrived = {event for inbox in ground.inboxes for event, seen in inbox.seen.items() if seen.answered}
    return {
        event: sent.accepted_at
        for event, sent in ground.publisher.sent.items()
        if sent.accepted_at is not None and event not in arrived
    }
