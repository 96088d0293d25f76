"""D06: what was never attempted is never shown as timed out, nor the other way round."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from posthouse.core.health import FAILURES_IN_A_ROW
from posthouse.drills.drill import Drill
from posthouse.drills.events import outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.honesty import REST_SECONDS, Shown
from posthouse.drills.plan import RATE
from posthouse.drills.reading import Reader
from posthouse.drills.receivers import Inbox
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.sdk.client import segment

#: How many endpoints do what.
PROMPT: Final = 25  #: answer
TIMING_OUT: Final = 10  #: hang beyond their time-out
PAUSED: Final = 10  #: are never called
STALLED: Final = 5  #: hang with a long time-out, so that most of what they are owed waits behind a few requests
WEBHOOKS_EACH: Final = 200
WEBHOOKS_EACH_MIN: Final = 12  #: more than an endpoint gets at a time, so that some wait behind others

TIMEOUT_MS: Final = 300
STALLED_TIMEOUT_MS: Final = 60_000
#: What timed out is due again once or twice more, then it waits for an hour.
RETRIES: Final = ("custom:1h", "custom:1s,1h", "custom:1s,1s,1h")
TIMEOUTS: Final = FAILURES_IN_A_ROW + 4  #: of each such endpoint: it is down, and was probed in vain
READ_SECONDS_MAX: Final = 180.0


class StatusHonesty(Drill):
    """D06."""

    number = "D06"
    title = "Never attempted is never shown as timed out"

    @property
    def _each(self) -> int:
        return self.plan.scaled(WEBHOOKS_EACH, least=WEBHOOKS_EACH_MIN)

    @property
    def _total(self) -> int:
        return self._each * (PROMPT + TIMING_OUT + PAUSED + STALLED)

    def given(self) -> list[str]:
        """Endpoints, good and bad."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        return [
            f"{node}, and {PROMPT + TIMING_OUT + PAUSED + STALLED} endpoints with {self._each} webhooks each",
            f"{TIMING_OUT} of them hang beyond their time-out of {TIMEOUT_MS} ms; the node soon only probes them",
            f"{PAUSED} are paused",
            f"{STALLED} hang with a time-out of {STALLED_TIMEOUT_MS // 1_000} s, so that the rest waits behind a few",
        ]

    def when(self) -> list[str]:
        """Publishing and reading."""
        return [
            f"{self._total:,} events are published, {RATE:g} a second, while the API is read all the time",
            "once the time-outs are through, every delivery is read from lists and one by one",
            "then the receivers recover, and the endpoints are resumed",
        ]

    def run(self, ground: Ground) -> Findings:
        """Publish, read, recover, read again."""
        groups = _endpoints(ground)
        reader = Reader(ground.url, ground.api_key, ground.tenant, ground.inboxes)
        reader.paused = {inbox.endpoint for inbox in groups["paused"]}
        types = [f"drill.{number}" for number in range(len(ground.inboxes))]
        ground.do("publishing, and reading meanwhile", 0.05, to=0.5, seconds=8 + self._total / RATE)
        ground.publish(outgoing(types, seed=self.plan.seed, total=self._total))
        ground.mark(Kind.FAULT, f"{TIMING_OUT + STALLED} endpoints hang, {PAUSED} are paused")
        watching = ground.background.start(reader.keep_reading())
        through = _through(groups["timing out"])
        ground.until(
            lambda: ground.is_published and ground.background.call(through),
            seconds_max=READ_SECONDS_MAX,
            what="the time-outs",
        )
        reader.stop()
        ground.until(watching.done, seconds_max=READ_SECONDS_MAX, what="the last read")
        watching.result()
        ground.pause(2 * REST_SECONDS)

        ground.do("comparing every delivery with what its receiver saw", 0.5, to=0.75, seconds=self._total / 1_000)
        ground.mark(Kind.NOTE, "everything is read")
        listed = ground.run(reader.lists(), seconds_max=READ_SECONDS_MAX, what="the lists")
        alone = ground.run(reader.singles(listed.values()), seconds_max=READ_SECONDS_MAX, what="the deliveries")

        ground.do("recovering", 0.75, to=0.95, seconds=self._total / 1_000)
        ground.mark(Kind.RECOVERY, "receivers answer, endpoints are resumed")
        _recover(ground, groups, reader, listed.values())
        books = ground.settle()
        ground.pause(2 * REST_SECONDS)
        ground.do("comparing again", 0.95)
        after = ground.run(reader.lists(), seconds_max=READ_SECONDS_MAX, what="the lists")
        common = common_rules(ground.reckon(), books)
        return self._findings(reader, listed=listed, alone=alone, after=after, common=common)

    def _findings(
        self,
        reader: Reader,
        *,
        listed: Mapping[str, Shown],
        alone: Mapping[str, Shown],
        after: Mapping[str, Shown],
        common: Sequence[Then],
    ) -> Findings:
        looks = Counter(map(_look_of, alone.values()))
        delivered = sum(shown.status == "delivered" for shown in after.values())
        at_rest = 2 * self._each * (PROMPT + PAUSED)
        then = [
            Then("deliveries compared in lists", len(listed), "=", self._total),
            Then("deliveries compared one by one", len(alone), "=", self._total),
            Then(
                "shown as never attempted, with the reason for it", looks["never attempted"], "≥", self._each * PAUSED
            ),
            Then("shown as timed out, with every attempt", looks["timed out"], "≥", FAILURES_IN_A_ROW * TIMING_OUT),
            Then("reads of a delivery to which nothing happened", reader.at_rest, "≥", at_rest),
            Then("of these, shown wrongly", reader.wrong_at_rest, "=", 0),
            Then("reads of a delivery to which something happened", reader.in_motion, "≥", 1),
            Then("of those, shown wrongly", reader.wrong_in_motion, "=", 0),
            Then("shown as delivered after the recovery", delivered, "=", self._total),
            *common,
        ]
        figures: dict[str, float | str] = {f"shown as {look}": number for look, number in sorted(looks.items())}
        return Findings(then=then, figures=figures, places=[{"wrong": fault} for fault in reader.faults])


def _endpoints(ground: Ground) -> dict[str, list[Inbox]]:
    """Every endpoint, by what it does, each for a type of its own."""
    groups: dict[str, list[Inbox]] = {"prompt": [], "timing out": [], "paused": [], "stalled": []}

    def add(group: str, **fields: Any) -> Inbox:
        number = len(ground.inboxes)
        inbox = ground.add_endpoint(f"{number}", [f"drill.{number}"], **fields)
        groups[group].append(inbox)
        return inbox

    for _ in range(PROMPT):
        add("prompt")
    for number in range(TIMING_OUT):
        add("timing out", timeout_ms=TIMEOUT_MS, retry=RETRIES[number % len(RETRIES)]).hangs = True
    for _ in range(STALLED):
        add("stalled", timeout_ms=STALLED_TIMEOUT_MS).hangs = True
    for _ in range(PAUSED):
        inbox = add("paused")
        with ground.client() as client:
            client.post(f"/v1/endpoints/{segment(inbox.endpoint)}/pause")
    return groups


def _through(inboxes: Collection[Inbox]) -> Callable[[], bool]:
    """Whether each of these has timed out often enough, and none has a request on its way."""

    def through() -> bool:
        return all(
            sum(seen.requests for seen in inbox.seen.values()) >= TIMEOUTS
            and not any(seen.held for seen in inbox.seen.values())
            for inbox in inboxes
        )

    return through


def _recover(
    ground: Ground, groups: Mapping[str, Collection[Inbox]], reader: Reader, listed: Collection[Shown]
) -> None:
    """Let everything work again, and ask for another attempt of what would wait for an hour."""
    for inbox in (*groups["timing out"], *groups["stalled"]):
        ground.background.call(inbox.recover)
    with ground.client() as client:
        for inbox in groups["paused"]:
            client.post(f"/v1/endpoints/{segment(inbox.endpoint)}/resume")
    reader.paused = ()
    retrying = [shown.id for shown in listed if shown.status == "retrying"]
    ground.run(reader.retry(retrying), seconds_max=READ_SECONDS_MAX, what="the retries")


def _look_of(shown: Shown) -> str:
    if shown.status == "delivered":
        return "delivered"
    return "timed out" if shown.attempt_count else "never attempted"
