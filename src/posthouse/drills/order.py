"""D12: many versions of many things, and a receiver that often fails. Order holds, and nobody else waits for it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import count
from typing import Any, Final

from posthouse.drills.drill import Drill
from posthouse.drills.events import Outgoing
from posthouse.drills.ground import SETTLE_SECONDS_MAX, Ground, common_rules
from posthouse.drills.measures import P99, Place, in_ms, latencies, percentile, sequences
from posthouse.drills.receivers import Inbox, Reply
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then

KEYS: Final = 1_000
KEYS_MIN: Final = 20
VERSIONS: Final = 50
KEYS_AT_ONCE: Final = 20  #: whose versions are published in turn; then come the next ones
CALM_PER_VERSION: Final = 3  #: events with keys that never fail, for each version
RATE: Final = 400.0  #: events a second
FAILING_SHARE: Final = 0.2
FAILED_SHARE_MIN: Final = 0.15  #: fewer failures would prove little
DELAY_SECONDS_MAX: Final = 0.05
IN_FLIGHT_MAX: Final = 64
RETRY: Final = "custom:" + ",".join(["1s"] * 20)  #: so that nobody waits for three weeks, and nothing is given up

CALM_P99_MS_MAX: Final = 1_000.0
TAIL_SECONDS_MAX: Final = 180.0  #: until the last version of a key that failed over and over
BOOKS_SECONDS: Final = 1.0

VERSION: Final = "version"  #: begins the ids of versions
CALM: Final = "calm"
SUPERSEDED: Final = "superseded"
_FAILED: Final = 500
_HASH_BYTES: Final = 8


class Order(Drill):
    """D12."""

    number = "D12"
    title = "Versions arrive in order, whatever fails, and the newest state wins where only that counts"

    @property
    def _keys(self) -> int:
        return self.plan.scaled(KEYS, least=KEYS_MIN)

    def given(self) -> list[str]:
        """Two endpoints that keep order."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        return [
            f"{node}, and two endpoints: one with order fifo, one with order latest; both retry after 1 s",
            f"{self._keys:,} ordering keys with {VERSIONS} versions each, owed to both",
            f"{CALM_PER_VERSION} times as many events with other keys, owed to the first",
        ]

    def when(self) -> list[str]:
        """Failures at random."""
        return [
            f"all are published, {RATE:g} a second; {KEYS_AT_ONCE} keys at a time get their versions in turn",
            f"the receivers take up to {DELAY_SECONDS_MAX * 1_000:g} ms for each request",
            f"they answer {FAILING_SHARE:.0%} of the requests for versions with {_FAILED}; the other keys never fail",
        ]

    def run(self, ground: Ground) -> Findings:
        """Publish, wait for the last of it, and look at the order in which it came."""
        shape: dict[str, Any] = {"retry": RETRY, "in_flight_max": IN_FLIGHT_MAX}
        fifo = ground.add_endpoint("fifo", [VERSION, CALM], order="fifo", **shape)
        latest = ground.add_endpoint("latest", [VERSION], order="latest", **shape)
        for inbox in (fifo, latest):
            inbox.trace = []
            inbox.reply = failing(f"{self.plan.seed}-{inbox.path}")
        events = list_of_events(self._keys)
        total = self._keys * VERSIONS * (1 + CALM_PER_VERSION)
        ground.do("publishing", 0.0, to=0.8, seconds=total / RATE)
        publisher = ground.publish(events, rate=RATE)
        ground.mark(Kind.FAULT, f"{FAILING_SHARE:.0%} of the versions fail")
        ground.until(lambda: ground.is_published, seconds_max=2 * total / RATE + TAIL_SECONDS_MAX, what="the last 202s")
        ground.do("waiting for the last versions", 0.8, to=0.95, seconds=TAIL_SECONDS_MAX / 4)
        ground.mark(Kind.NOTE, "all is published")
        ground.holds_within(lambda: fifo.delivered >= total, seconds_max=TAIL_SECONDS_MAX)
        ground.holds_within(lambda: not ground.books().open, seconds_max=SETTLE_SECONDS_MAX, every_s=BOOKS_SECONDS)
        superseded = self._superseded(ground, latest)
        books = ground.settle(parked=len(superseded))
        now = time.monotonic()
        calm = latencies(publisher.sent, [fifo], since=0.0, until=now, now=now, prefix=CALM)
        calm_p99 = in_ms(percentile(calm, P99))
        found = ground.reckon(parked=superseded)
        then = [
            *self._then_in_order(fifo, latest),
            Then("p99 from the 202 to the handling, of keys that never fail", calm_p99, "≤", CALM_P99_MS_MAX, "ms"),
            Then("deliveries that a newer version superseded", len(superseded), "≥", 1),
            Then("deliveries discarded for any other reason", books.discarded - len(superseded), "=", 0),
            Then("deliveries given up", books.exhausted, "=", 0),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "owed": found.owed,
            "delivered": found.delivered,
            "superseded": len(superseded),
            "duplicates": found.duplicates,
            "calm_p50_ms": in_ms(percentile(calm, 0.5)),
            "calm_max_ms": in_ms(max(calm, default=0.0)),
        }
        return Findings(then=then, figures=figures)

    def _then_in_order(self, fifo: Inbox, latest: Inbox) -> list[Then]:
        """What the two receivers saw of the versions."""
        first = sequences(fifo.trace or (), place_of, gapless=True)
        second = sequences(latest.trace or (), place_of, gapless=False)
        right = sum(last == VERSIONS for last in second.last.values())
        answers = Counter(
            step.status for inbox in (fifo, latest) for step in inbox.trace or () if place_of(step.event) is not None
        )
        failed = answers[_FAILED] / max(answers[_FAILED] + answers[200], 1)
        return [
            Then("of the answers for versions, failures", round(failed, 3), "≥", FAILED_SHARE_MIN),
            Then("versions handled at the fifo endpoint", first.handled, "=", self._keys * VERSIONS),
            Then("fifo: versions handled after a later one of their key", first.inversions, "=", 0),
            Then("fifo: requests that came before an earlier version was handled", first.overtakings, "=", 0),
            Then("latest: versions handled after a later one of their key", second.inversions, "=", 0),
            Then("latest: keys whose last state is the newest", right, "=", self._keys),
        ]

    def _superseded(self, ground: Ground, latest: Inbox) -> set[str]:
        """Events whose delivery to the second endpoint the node shows as superseded."""
        pages = ground.pages("/v1/deliveries", endpoint=latest.endpoint, status="discarded")
        return {shown["event"] for page in pages for shown in page if shown["reason"] == SUPERSEDED}


def list_of_events(keys: int) -> Iterator[Outgoing]:
    """All events in the order in which they are published."""
    calm = count()
    for first in range(0, keys, KEYS_AT_ONCE):
        for version in range(1, VERSIONS + 1):
            for key in range(first, min(first + KEYS_AT_ONCE, keys)):
                yield _event(VERSION, key, version)
                for _ in range(CALM_PER_VERSION):
                    number = next(calm)
                    yield _event(CALM, number % keys, number // keys + 1)


def _event(kind: str, key: int, version: int) -> Outgoing:
    data = f'{{"key":{key},"version":{version}}}'.encode()
    return Outgoing(f"{kind}-{key}-{version}", kind, data, ordering_key=f"{kind}-{key}")


def place_of(event: str) -> Place | None:
    """The ordering key of a version, and which one it is; None for the events with other keys."""
    key, _, version = event.rpartition("-")
    return (key, int(version)) if event.startswith(VERSION) else None


def failing(salt: str) -> Callable[[str], Reply]:
    """What a receiver does: the same for the n-th request of an event, whenever that comes."""
    requests: Counter[str] = Counter()

    def reply(event: str) -> Reply:
        requests[event] += 1
        chance = blake2b(f"{salt} {event} {requests[event]}".encode(), digest_size=2 * _HASH_BYTES).digest()
        fails = event.startswith(VERSION) and _share(chance[:_HASH_BYTES]) < FAILING_SHARE
        return Reply(_FAILED if fails else 200, _share(chance[_HASH_BYTES:]) * DELAY_SECONDS_MAX)

    return reply


def _share(chance: bytes) -> float:
    """A number in [0, 1) from some bytes."""
    return int.from_bytes(chance, "big") / (1 << 8 * len(chance))
