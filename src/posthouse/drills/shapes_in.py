"""D24: what comes in is larger, other or worse than it was made for. It is delivered whole, or refused, or kept."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from posthouse.core.limits import MIB, SOURCE_BODY_BYTES_DEFAULT, SOURCE_BODY_BYTES_MAX
from posthouse.drills.drill import Drill
from posthouse.drills.ground import Ground
from posthouse.drills.http_client import Answer
from posthouse.drills.incoming import contents, inbound_rules, quarantined, settle_entrances
from posthouse.drills.measures import P99, in_ms, percentile
from posthouse.drills.receivers import Inbox
from posthouse.drills.receiving import ANSWER_MS_MAX, Entrance, Stopwatch
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Connections, Failure
from posthouse.drills.shapes import Shape, batch, bombs, building_sites, doubtful, large, payment
from posthouse.system import SystemClock

SIZES: Final = (MIB // 2, MIB, 5 * MIB)
EACH: Final = 20  #: bodies of each size
BATCH: Final = 250
BAD: Final = 17  #: the place of the bad one
BOMBS: Final = 20  #: times that each bomb comes
BOMB_BYTES: Final = 512 * MIB  #: of what each says that it holds
BOMB_BYTES_MIN: Final = 64 * MIB
BESIDE: Final = 1_000  #: small requests beside the bombs
BESIDE_MIN: Final = 300
RATE_BESIDE: Final = 100.0  #: of these in a second
CONNECTIONS_BESIDE: Final = 256
CONNECTIONS: Final = 8
DEADLINE_S: Final = 30.0
STEP_SECONDS_MAX: Final = 180.0
SETTLE_SECONDS_MAX: Final = 60.0
ANSWER_P99_MS_MAX: Final = 500.0  #: beside bombs, which cost time while they are looked at
MEMORY_MB_MAX: Final = 250.0  #: more than before the bombs
SECRET: Final = "what-the-drill-signs-with"  # noqa: S105 - of simulated senders
TURNED_AWAY: Final = 'posthouse_source_requests_turned_away_total{reason="too_large"}'
_TOO_LARGE: Final = 413
_SUCCESS: Final = range(200, 300)
_KNOWN: Final = ["payments.*"]

Result = int | Failure


class Door(NamedTuple):
    """A source, and who gets all of it."""

    entrance: Entrance
    inbox: Inbox


class ShapesIn(Drill):
    """D24."""

    number = "D24"
    title = "What comes in may be large, new or broken: it is delivered whole, refused with a code, or kept"
    needs_own_node = "it measures its memory, and counts what it refuses"

    @property
    def _each(self) -> int:
        return self.plan.scaled(EACH, least=2)

    @property
    def _bomb_bytes(self) -> int:
        return self.plan.scaled(BOMB_BYTES // MIB, least=BOMB_BYTES_MIN // MIB) * MIB

    def given(self) -> list[str]:
        """Five sources."""
        return [
            "a node on a new store, with two sources for GitHub: up to 1 MiB a body, and up to 5 MiB",
            "sources for GoCardless, Procore and Cornerstone, and for each source an endpoint that gets all of it",
        ]

    def when(self) -> list[str]:
        """Everything that is odd."""
        return [
            f"{self._each} bodies each of {', '.join(f'{size / MIB:g}' for size in SIZES)} MiB, and of a byte too many",
            "a kind of event that nobody knows, a field that nobody knows, and an event in two versions of its writing",
            f"a batch of {BATCH} events, of which one cannot be read, and a request that says it is what it is not",
            f"small bodies that hold {self._bomb_bytes // MIB:,} MiB, packed up to three times; others beside them",
        ]

    def run(self, ground: Ground) -> Findings:
        """Send each kind, and see where it is."""
        scene = _Scene(ground)
        ground.do("large bodies", 0.05, to=0.35, seconds=5)
        then = scene.sizes(self._each)
        ground.do("unknown kinds, fields and versions", 0.35)
        then += scene.versions()
        ground.do("a batch with a bad event", 0.45)
        then += scene.batches()
        ground.do("bombs", 0.55, to=0.9, seconds=10)
        ground.mark(Kind.FAULT, "bombs")
        then += scene.bombed(
            self.plan.scaled(BOMBS, least=2), size=self._bomb_bytes, beside=self.plan.scaled(BESIDE, least=BESIDE_MIN)
        )
        ground.mark(Kind.RECOVERY, "all is passed on, or kept")
        ground.do("comparing", 0.9)
        then += scene.compared()
        return Findings(then=then, figures=scene.figures)


class _Scene:
    """All sources, and what was sent to them."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._connections = Connections(CONNECTIONS)
        self._numbers = 0
        self.figures: dict[str, float | str] = {}
        self._narrow = self._door("github", "narrow")
        self._wide = self._door("github", "wide", body_bytes_max=SOURCE_BODY_BYTES_MAX)
        self._gocardless = self._door("gocardless", "gocardless")
        self._procore = self._door("procore", "procore")
        self._cornerstone = self._door("cornerstone", "cornerstone")
        sources = [self._gocardless.entrance.source]
        self._known = ground.add_endpoint("known", _KNOWN, sources=sources)
        self._expected: dict[str, Counter[bytes]] = {inbox.path: Counter() for inbox in ground.inboxes}
        self._quarantined = 0

    def _door(self, provider: str, name: str, **fields: object) -> Door:
        entrance = self._ground.add_source(provider, SECRET, **fields)
        return Door(entrance, self._ground.add_endpoint(name, ["*"], sources=[entrance.source]))

    # -- each kind ------------------------------------------------------------------------------------

    def sizes(self, each: int) -> list[Then]:
        """Bodies up to the bound of their source, and beyond."""
        before = self._ground.metrics().get(TURNED_AWAY, 0.0)
        taken, refused = [], []
        for door, most in ((self._narrow, SOURCE_BODY_BYTES_DEFAULT), (self._wide, SOURCE_BODY_BYTES_MAX)):
            sizes = [size for size in (*SIZES, most + 1) for _ in range(each)]
            shapes = [self._large(door, size) for size in sizes]
            fits = [size <= most for size in sizes]
            taken += self._send(door, [shape for shape, fit in zip(shapes, fits, strict=True) if fit])
            beyond = [shape for shape, fit in zip(shapes, fits, strict=True) if not fit]
            refused += self._send(door, beyond, arrives=False)
        counted = self._ground.metrics().get(TURNED_AWAY, 0.0) - before
        return [
            Then("bodies within the bound of their source that were not taken", _others(taken, _SUCCESS), "=", 0),
            Then("bodies beyond it", len(refused), "≥", 3 * each),
            Then("of these, answered with anything but 413", _others(refused, [_TOO_LARGE]), "=", 0),
            Then("of these, not counted by the node", len(refused) - counted, "=", 0),
        ]

    def versions(self) -> list[Then]:
        """What was not there when the node was made."""
        url = self._gocardless.entrance.url
        unknown = payment(1, resource_type="moon_phases", action="waxed")
        added = payment(2, nobody_knows={"this": [1, 2.50, "ü", None]})
        odd = self._send(self._gocardless, [batch(url, SECRET, [unknown], name="WB2")])
        odd += self._send(self._gocardless, [batch(url, SECRET, [added], name="WB3")], also=self._known)
        versions = building_sites(self._procore.entrance.url, SECRET)
        odd += self._send(self._procore, [shape for _, shape in versions])
        return [
            Then("requests of an unknown kind, field or version that were not taken", _others(odd, _SUCCESS), "=", 0)
        ]

    def batches(self) -> list[Then]:
        """One event that cannot be read, and one that is not what it says."""
        url, ground = self._gocardless.entrance.url, self._ground
        events = [payment(1_000 + number) for number in range(BATCH)]
        events[BAD] = payment(1_000 + BAD, description="a null character: \0")
        self._send(self._gocardless, [batch(url, SECRET, events, bad=BAD)], also=self._known)
        doubted = doubtful(self._narrow.entrance.url, SECRET, number=self._number())
        self._send(self._narrow, [doubted])
        settle_entrances(ground)
        (bad,), (strange,) = quarantined(ground, self._gocardless.entrance), quarantined(ground, self._narrow.entrance)
        arrived = contents(ground, self._gocardless.inbox)
        well = batch(url, SECRET, events, bad=BAD).digests
        with ground.client() as client:
            client.post("/v1/quarantine/release", {"ids": [bad["id"], strange["id"]]})
        settle_entrances(ground)
        still = quarantined(ground, self._gocardless.entrance)
        self._quarantined = len(still)
        return [
            Then(
                f"of a batch of {BATCH} with a bad event, events that were delivered",
                _there(arrived, well),
                "=",
                BATCH - 1,
            ),
            Then("place of the one that is in quarantine", bad["position"], "=", BAD),
            Then("events that no receiver could read, and that a release let out", len(still) - 1, "=", 0),
            Then(
                "events that only contradicted themselves, and that a release did not let out",
                len(quarantined(ground, self._narrow.entrance)),
                "=",
                0,
            ),
        ]

    def bombed(self, times: int, *, size: int, beside: int) -> list[Then]:
        """Bombs of a sender that knows the key, and of somebody who does not."""
        ground, door = self._ground, self._cornerstone
        before_mb = _memory_mb(ground.node.pid)
        genuine = [Shape(request) for request in bombs(door.entrance.url, SECRET, size=size)] * times
        forged = [Shape(request) for request in bombs(door.entrance.url, "a guess", size=BOMB_BYTES_MIN)]
        beside_them = Connections(CONNECTIONS_BESIDE)  # nobody waits for a connection
        watch = Stopwatch(beside_them)
        small = [payment(10_000 + number) for number in range(beside)]
        shapes = [
            batch(self._gocardless.entrance.url, SECRET, [event], name=f"WB{number}")
            for number, event in enumerate(small, 10_000)
        ]
        self._expect(shapes, self._gocardless.inbox, self._known)

        async def both() -> tuple[list[Result], list[Result], list[Result]]:
            return await asyncio.gather(
                _posted(self._connections, genuine),
                _posted(self._connections, forged),
                _posted(watch, shapes, rate=RATE_BESIDE),
            )

        taken, refused, others = ground.run(both(), seconds_max=STEP_SECONDS_MAX, what="answers beside the bombs")
        ground.background.call(beside_them.close)
        settle_entrances(ground)
        kept = quarantined(ground, door.entrance)
        named = Counter(entry["objection"] for entry in kept)
        found = [
            Then("bombs with the right key that were not taken, as any request is", _others(taken, _SUCCESS), "=", 0),
            Then("bombs with a wrong key that were not refused", _others(refused, [401]), "=", 0),
            Then(
                "bombs with the right key that are not kept as unreadable", len(genuine) - named["unreadable"], "=", 0
            ),
            Then("small requests beside them that were not taken", _others(others, _SUCCESS), "=", 0),
            Then("p99 of the answers to these", in_ms(percentile(watch.seconds, P99)), "≤", ANSWER_P99_MS_MAX, "ms"),
            Then("the longest of them", in_ms(max(watch.seconds, default=0.0)), "≤", ANSWER_MS_MAX, "ms"),
        ]
        after_mb = _memory_mb(ground.node.pid)
        if before_mb and after_mb:
            self.figures["memory_peak_mb"] = after_mb
            found.append(Then("memory that the bombs took", after_mb - before_mb, "≤", MEMORY_MB_MAX, "MB"))
        return found

    def compared(self) -> list[Then]:
        """What arrived, against all that was sent."""
        books = settle_entrances(self._ground)
        missing = more = 0
        for inbox in self._ground.inboxes:
            there, expected = contents(self._ground, inbox), self._expected[inbox.path]
            missing += (expected - there).total()
            more += (there - expected).total()
        self.figures["events"] = sum(each.total() for each in self._expected.values())
        self._ground.background.call(self._connections.close)
        return [
            Then("events that did not arrive, byte for byte and with their type", missing, "=", 0),
            Then("events that arrived where they do not belong, or twice", more, "=", 0),
            *inbound_rules(self._ground, books.values(), self._ground.inboxes),
        ]

    # -- inside ---------------------------------------------------------------------------------------

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _large(self, door: Door, size: int) -> Shape:
        return large(door.entrance.url, SECRET, size=size, number=self._number())

    def _expect(self, shapes: Iterable[Shape], *inboxes: Inbox) -> None:
        for shape in shapes:
            for inbox in inboxes:
                self._expected[inbox.path].update(shape.digests)

    def _send(
        self, door: Door, shapes: Sequence[Shape], *, arrives: bool = True, also: Inbox | None = None
    ) -> list[Result]:
        """What these are answered; those that arrive do so at the door's inbox, and at one more."""
        if arrives:
            self._expect(shapes, door.inbox, *([] if also is None else [also]))
        return self._ground.run(
            _posted(self._connections, shapes), seconds_max=STEP_SECONDS_MAX, what="answers to odd requests"
        )


async def _posted(wire: Connections | Stopwatch, shapes: Sequence[Shape], *, rate: float = math.inf) -> list[Result]:
    """What these are answered, sent so many a second."""
    pace, left = Pace(SystemClock()), iter(shapes)
    async with asyncio.TaskGroup() as group:
        posts = [
            group.create_task(wire.send(next(left).request, deadline_s=DEADLINE_S))
            async for _ in pace.due(len(shapes), rate)
        ]
    return [answer.status if isinstance(answer, Answer) else answer for answer in (post.result() for post in posts)]


def _others(results: Sequence[Result], wanted: Iterable[int]) -> int:
    """How many of these are none of the wanted."""
    good = frozenset(wanted)
    return sum(result not in good for result in results)


def _there(arrived: Mapping[bytes, int], digests: Iterable[bytes]) -> int:
    return sum(arrived.get(digest, 0) == 1 for digest in digests)


def _memory_mb(pid: int | None) -> float:
    """The most memory that a process ever had, where the operating system says so; else 0."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1_000 for line in lines if line.startswith("VmHWM:")), 0.0)
