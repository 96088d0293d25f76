"""D01: a sender replays a flood of old records, and fresh ones do not wait for them. An operator puts them aside."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from posthouse.core.limits import FRESH_SECONDS_DEFAULT
from posthouse.core.time_format import rfc3339
from posthouse.drills.drill import Drill
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.measures import P99, in_ms, least_share, percentile
from posthouse.drills.plan import DrillFailed
from posthouse.drills.receivers import Inbox, Reply
from posthouse.drills.receiving import (
    Entrance,
    Stopwatch,
    answer_rules,
    epoch_now,
    first_handled,
    reckon_received,
    source_rules,
    transits,
)
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.drills.senders.books import Books, Entry, Fate
from posthouse.drills.senders.cornerstone import Cornerstone, Tier
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Connections
from posthouse.sdk.client import segment
from posthouse.system import SystemClock

BACKLOG: Final = 1_000_000
BACKLOG_MIN: Final = 10_000  #: with fewer there is nothing to put aside
OLDEST_S: Final = 71 * 3_600  #: what reaches 72 h before the replay has come to it would expire
NEWEST_S: Final = 3_600
OLDER_THAN: Final = "30m"
FRESH_RATE: Final = 50.0
FRESH_MAX: Final = 10_000_000  #: more than any replay leaves time for
SECRET: Final = "0f8fad5bd9cb469fa16570867728950e"  # noqa: S105 - of a simulated sender
CONNECTIONS: Final = 64

IN_FLIGHT_MAX: Final = 8
SLOW_SECONDS: Final = 0.012  #: that the receiver takes for each request at first: at most 667 a second

WAITING_SHARE_MIN: Final = 0.05  #: of the old records, when the replay is over; with fewer there is no backlog
PARKED_SECONDS_MAX: Final = 2.0  #: until that takes effect
WATCH_SECONDS: Final = 3.0  #: beyond the bound, so that a failure is measured too
FRESH_P99_MS_MAX: Final = 1_000.0
FRESH_MS_MAX: Final = 5_000.0
STEP_SECONDS: Final = 2.0
BACKLOG_SHARE_MIN: Final = 0.2  #: of what arrives in any such step while the backlog drains
PATIENCE_SECONDS: Final = 60.0
REPLAYED_PER_SECOND: Final = 200.0  #: nobody waits for less
DRAINED_PER_SECOND: Final = 200.0
LOOK_SECONDS: Final = 0.2


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """When what happened, monotonic."""

    began_at: float
    parked_at: float  #: an operator asked for it
    drained_at: float  #: and asked for the contrary
    ended_at: float  #: nearly all old ones had arrived


class Parked(msgspec.Struct, frozen=True):
    """What the node says of an operator's parking."""

    job: Mapping[str, Any]
    aside: int  #: deliveries that lay aside before they were drained


class Replay:
    """A log of old records, which is replayed while fresh ones come.

    Args:
        entrance: where to.
        total: how many old records.
        seed: of their ids.
    """

    def __init__(self, entrance: Entrance, total: int, *, seed: int) -> None:
        self._wire = Connections(CONNECTIONS)
        self.watch = Stopwatch(self._wire)
        pace = Pace(SystemClock(), seed=seed)
        self._sender = Cornerstone(entrance.url, entrance.secret, wire=self.watch, pace=pace, tier=Tier.LARGE)
        self._sender.log(total, oldest_s=OLDEST_S, newest_s=NEWEST_S)
        self._old = list(self.books.entries.values())
        self._taken = 0

    @property
    def books(self) -> Books:
        """Of the sender."""
        return self._sender.books

    @property
    def old(self) -> Sequence[Entry]:
        """What is replayed."""
        return self._old

    @property
    def fresh(self) -> Sequence[Entry]:
        """What happened since."""
        return list(self.books.entries.values())[len(self._old) :]

    @property
    def is_over(self) -> bool:
        """Whether every old record was taken."""
        while self._taken < len(self._old) and self._old[self._taken].fate is Fate.DELIVERED:
            self._taken += 1
        return self._taken == len(self._old)

    async def run(self) -> None:
        """Send, until it is stopped."""
        try:
            await self._sender.run(fresh=FRESH_MAX, fresh_rate=FRESH_RATE)
        finally:
            self._wire.close()

    def stop(self) -> None:
        """Nothing more happens. For the loop on which it runs."""
        self._sender.stop()


class Flood(Drill):
    """D01."""

    number = "D01"
    title = "Fresh events do not wait while a flood of old ones drains"

    @property
    def _total(self) -> int:
        return self.plan.scaled(BACKLOG, least=BACKLOG_MIN)

    def given(self) -> list[str]:
        """A sender with a full log."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        return [
            f"{node} with a source for Cornerstone, whose log holds {self._total:,} records of the last 72 hours",
            f"an endpoint that gets all of it, and takes less than {IN_FLIGHT_MAX / SLOW_SECONDS:.0f} a second",
        ]

    def when(self) -> list[str]:
        """A replay."""
        rate = Tier.LARGE.records_per_second
        return [
            f"the sender replays its log, {rate:,} records a second, and {FRESH_RATE:g} fresh ones a second besides",
            "when that is over, an operator parks what waits of the old ones",
            "the endpoint becomes quick, and after a while the operator drains them",
        ]

    def run(self, ground: Ground) -> Findings:
        """Replay, park, drain, and see what became of the fresh ones."""
        inbox = ground.add_endpoint("all", ["*"], in_flight_max=IN_FLIGHT_MAX)
        slow = Reply(delay_s=SLOW_SECONDS)
        inbox.reply = lambda _event: slow
        entrance = ground.add_source("cornerstone", SECRET, fresh_seconds=FRESH_SECONDS_DEFAULT)
        ground.do("writing the sender's log", 0.0)
        replay = Replay(entrance, self._total, seed=self.plan.seed)
        ground.send(replay.run(), owed=lambda: replay.books.delivered)

        began_at = time.monotonic()
        waiting = self._replay(ground, inbox, entrance, replay)
        parked_at, parked = self._park(ground, inbox)
        inbox.reply = lambda _event: Reply()
        drained_at = time.monotonic()
        self._drain(ground, inbox)
        course = Course(began_at=began_at, parked_at=parked_at, drained_at=drained_at, ended_at=time.monotonic())
        ground.background.call(replay.stop)
        ground.until_published()
        return self._findings(ground, entrance, replay, course, waiting=waiting, parked=parked)

    def _replay(self, ground: Ground, inbox: Inbox, entrance: Entrance, replay: Replay) -> int:
        """Wait until all old records are taken and passed on; how many deliveries waited then."""
        seconds = self._total / Tier.LARGE.records_per_second
        ground.do("the log is replayed", 0.05, to=0.6, seconds=seconds)
        ground.mark(Kind.NOTE, "the replay begins")
        seconds_max = PATIENCE_SECONDS + self._total / REPLAYED_PER_SECOND
        ground.until(lambda: replay.is_over, seconds_max=seconds_max, what="the end of the replay")
        before = rfc3339(time.time_ns() // 1_000_000)
        ground.until(
            lambda: _is_passed_on(ground, entrance, before),
            seconds_max=seconds_max,
            what="what is in the inbox",
            every_s=LOOK_SECONDS,
        )
        return replay.books.delivered - inbox.delivered

    def _park(self, ground: Ground, inbox: Inbox) -> tuple[float, Parked]:
        """Park what is old; when that was, and what the node says of it."""
        ground.do("an operator parks what is old", 0.6, to=0.7, seconds=PARKED_SECONDS_MAX + WATCH_SECONDS)
        ground.mark(Kind.NOTE, "parked")
        parked_at = time.monotonic()
        filter_ = {"endpoint": inbox.endpoint, "older_than": OLDER_THAN}
        job = self._finished(ground, _post(ground, "/v1/jobs", {"kind": "park", "filter": filter_}))
        ground.pause(max(parked_at + PARKED_SECONDS_MAX + WATCH_SECONDS - time.monotonic(), 0.0))
        with ground.client() as client:
            waiting = client.get("/v1/backlog", {"endpoint": inbox.endpoint})["data"]
        return parked_at, Parked(job, sum(endpoint["parked"] for endpoint in waiting))

    def _drain(self, ground: Ground, inbox: Inbox) -> None:
        """Take it back, and wait until no more waits than comes fresh within a second."""
        ground.do("and drains it", 0.7, to=0.95, seconds=self._total / 5_000)
        ground.mark(Kind.NOTE, "drained")
        _post(ground, "/v1/jobs", {"kind": "drain", "filter": {"endpoint": inbox.endpoint}})
        ground.until(
            lambda: ground.owed - inbox.delivered <= FRESH_RATE,
            seconds_max=PATIENCE_SECONDS + self._total / DRAINED_PER_SECOND,
            what="the rest of the backlog",
        )
        ground.mark(Kind.RECOVERY, "the backlog is gone")

    def _findings(
        self, ground: Ground, entrance: Entrance, replay: Replay, course: Course, *, waiting: int, parked: Parked
    ) -> Findings:
        books, source = ground.settle(), ground.source_books(entrance)
        (inbox,) = ground.inboxes
        found = reckon_received(replay.books.entries.values(), [inbox], strays=ground.receivers.strays)
        handled, fresh = first_handled(inbox), replay.fresh
        old_at, fresh_at = _times(replay.old, handled), _times(fresh, handled)
        took = transits(
            fresh,
            handled,
            epoch=epoch_now(),
            since=course.began_at,
            until=course.ended_at,
            now=time.monotonic(),
        )
        arrived = [at - course.parked_at for at in old_at if at < course.drained_at]
        job, share = parked.job, backlog_share(old_at, fresh_at, course)
        then = [
            Then("old records handled", len(old_at), "=", self._total),
            Then("records handled a second time", found.duplicates, "=", 0),
            Then("fresh records meanwhile", len(took), "≥", FRESH_RATE),
            Then(
                "their p99 from the sender to the handling", in_ms(percentile(took, P99)), "≤", FRESH_P99_MS_MAX, "ms"
            ),
            Then("the longest of them", in_ms(max(took, default=0.0)), "≤", FRESH_MS_MAX, "ms"),
            *answer_rules(replay.watch.seconds),
            Then("waiting when the replay was over", waiting, "≥", WAITING_SHARE_MIN * self._total),
            Then("least share of the backlog in what arrived", round(share, 3), "≥", BACKLOG_SHARE_MIN),
            Then("parking took effect", round(max(arrived, default=0.0), 2), "≤", PARKED_SECONDS_MAX, "s"),
            Then(
                "old records, less those that had arrived or lay aside",
                self._total - len(arrived) - parked.aside,
                "=",
                0,
            ),
            Then("selected by the job, less parked or skipped", job["total"] - job["done"] - job["skipped"], "=", 0),
            Then("numbers of the sender's that the node misses", _missing(ground, entrance), "=", 0),
            *source_rules(source),
            *common_rules(found, books),
        ]
        drained = sum(at >= course.drained_at for at in old_at)
        figures: dict[str, float | str] = {
            "owed": found.owed,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
            "requests": source.received,
            "parked": job["done"],
            "fresh_p50_ms": in_ms(percentile(took, 0.5)),
            "answer_p50_ms": in_ms(percentile(replay.watch.seconds, 0.5)),
            "replayed_per_second": round(self._total / (course.parked_at - course.began_at)),
            "drained_per_second": round(drained / max(course.ended_at - course.drained_at, LOOK_SECONDS)),
        }
        return Findings(then=then, figures=figures)

    def _finished(self, ground: Ground, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """This job once it is completed. Raises DrillFailed if it ends otherwise, or does not end."""
        found = dict(job)

        def is_over() -> bool:
            with ground.client() as client:
                found.update(client.get(f"/v1/jobs/{segment(job['id'])}"))
            if found["state"] in {"failed", "cancelled"}:
                raise DrillFailed(f"The job {job['id']} has {found['state']}: {found.get('error')}.")
            return bool(found["state"] == "completed")

        seconds_max = PATIENCE_SECONDS + self._total / DRAINED_PER_SECOND
        if not ground.holds_within(is_over, seconds_max=seconds_max, every_s=LOOK_SECONDS):
            raise DrillFailed(f"After {seconds_max:.0f} s the job {job['id']} had not ended.")
        return found


def backlog_share(old: Sequence[float], fresh: Sequence[float], course: Course) -> float:
    """The least share that the backlog had in what arrived while it was not parked. Times of arrivals, monotonic."""
    spans = (course.began_at, course.parked_at), (course.drained_at + STEP_SECONDS, course.ended_at)
    return min(least_share(old, fresh, since=since, until=until, every=STEP_SECONDS) for since, until in spans)


def _times(entries: Collection[Entry], handled: Mapping[bytes, float]) -> list[float]:
    """When each of these was first handled, monotonic."""
    return [handled[entry.digest] for entry in entries if entry.digest in handled]


def _is_passed_on(ground: Ground, entrance: Entrance, before: str) -> bool:
    """Whether the latest request before this time has left the inbox; requests leave it in their order."""
    with ground.client() as client:
        page = client.get("/v1/requests", {"source": entrance.source, "until": before, "limit": 1})["data"]
    return all(not request["waiting"] for request in page)


def _missing(ground: Ground, entrance: Entrance) -> int:
    """How many of the numbers with which the sender counts its records have not come, as far as the node knows."""
    query = {"source": entrance.source, "kind": "sequence_gap", "open": "true"}
    with ground.client() as client:
        return sum(gap["missing"] for gap in client.get("/v1/incidents", query)["data"])


def _post(ground: Ground, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    with ground.client() as client:
        answer: Mapping[str, Any] = client.post(path, body)
    return answer
