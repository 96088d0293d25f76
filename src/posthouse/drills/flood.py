"""D01: a flood of old events drains, and fresh ones do not wait for it. An operator puts it aside in between."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from posthouse.core.time_format import rfc3339
from posthouse.drills.drill import Drill
from posthouse.drills.events import outgoing
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.measures import P99, in_ms, latencies, least_share, percentile
from posthouse.drills.plan import DrillFailed
from posthouse.drills.receivers import Inbox
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.sdk.client import segment

BACKLOG: Final = 1_000_000
BACKLOG_MIN: Final = 20_000  #: fewer are gone before anybody can put them aside
OLD_DAYS: Final = 3
OLDER_THAN: Final = "1d"
FRESH_RATE: Final = 50.0
OLD: Final = "old"
FRESH: Final = "fresh"

PARKED_AT: Final = 0.3  #: of the backlog is delivered when an operator parks the rest
PARKED_SECONDS_MAX: Final = 2.0  #: until that takes effect
WATCH_SECONDS: Final = 3.0  #: beyond the bound, so that a failure is measured too
FRESH_P99_MS_MAX: Final = 1_000.0
FRESH_MS_MAX: Final = 5_000.0
STEP_SECONDS: Final = 2.0
BACKLOG_SHARE_MIN: Final = 0.2  #: of what arrives in any such step while the backlog drains
PATIENCE_SECONDS: Final = 60.0
FILLED_PER_SECOND: Final = 500.0  #: nobody waits for less
DRAINED_PER_SECOND: Final = 200.0
LOOK_SECONDS: Final = 0.2
_DAY_MS: Final = 86_400_000


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """When what happened, monotonic."""

    resumed_at: float
    parked_at: float  #: an operator asked for it
    drained_at: float  #: and asked for the contrary
    ended_at: float  #: all old ones had arrived


class Flood(Drill):
    """D01, the part of the engine."""

    number = "D01"
    title = "Fresh events do not wait while a flood of old ones drains"

    @property
    def _total(self) -> int:
        return self.plan.scaled(BACKLOG, least=BACKLOG_MIN)

    def given(self) -> list[str]:
        """A backlog."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        return [
            f"{node}, a paused endpoint that is owed {self._total:,} events of {OLD_DAYS} days ago, and another one",
            f"{FRESH_RATE:g} fresh events a second, owed to both",
        ]

    def when(self) -> list[str]:
        """It drains."""
        return [
            "the endpoint is resumed",
            f"when {PARKED_AT:.0%} of the backlog has arrived, an operator parks the rest, and drains it after a while",
        ]

    def run(self, ground: Ground) -> Findings:
        """Fill, resume, park, drain, and see what became of the fresh ones."""
        old = ground.add_endpoint("old", [OLD, FRESH])
        beside = ground.add_endpoint("beside", [FRESH])
        _post(ground, f"/v1/endpoints/{segment(old.endpoint)}/pause")
        ground.do("publishing the backlog", 0.0, to=0.3, seconds=self._total / 5_000)
        occurred_at = rfc3339(time.time_ns() // 1_000_000 - OLD_DAYS * _DAY_MS)
        backlog = outgoing([OLD], seed=self.plan.seed, total=self._total, prefix=OLD, occurred_at=occurred_at)
        ground.fill(backlog, seconds_max=PATIENCE_SECONDS + self._total / FILLED_PER_SECOND)
        publisher = ground.publish(outgoing([FRESH], seed=self.plan.seed + 1, prefix=FRESH), rate=FRESH_RATE)

        course, job, aside = self._drain(ground, old, beside)
        publisher.stop()
        ground.until_published()
        books = ground.settle()
        found = ground.reckon()
        now, sent, boxes = time.monotonic(), publisher.sent, [old, beside]
        since, until = course.resumed_at, course.ended_at
        fresh = latencies(sent, boxes, since=since, until=until, now=now, prefix=FRESH)
        times = {prefix: _arrivals(boxes, prefix) for prefix in (OLD, FRESH)}
        arrived = [at - course.parked_at for at in times[OLD] if at < course.drained_at]
        fresh_p99, fresh_max = in_ms(percentile(fresh, P99)), in_ms(max(fresh, default=0.0))
        then = [
            Then("old deliveries that drained", len(times[OLD]), "=", self._total),
            Then("fresh deliveries meanwhile", len(fresh), "≥", FRESH_RATE),
            Then("their p99 from the 202 to the handling", fresh_p99, "≤", FRESH_P99_MS_MAX, "ms"),
            Then("the longest of them", fresh_max, "≤", FRESH_MS_MAX, "ms"),
            Then(
                "least share of the backlog in what arrived",
                round(backlog_share(times[OLD], times[FRESH], course), 3),
                "≥",
                BACKLOG_SHARE_MIN,
            ),
            Then("parking took effect", round(max(arrived, default=0.0), 2), "≤", PARKED_SECONDS_MAX, "s"),
            Then(
                "old deliveries, less those that had arrived or lay aside", self._total - len(arrived) - aside, "=", 0
            ),
            Then("selected by the job, less parked or skipped", job["total"] - job["done"] - job["skipped"], "=", 0),
            *common_rules(found, books),
        ]
        drained_s = course.ended_at - course.resumed_at - (course.drained_at - course.parked_at)
        figures: dict[str, float | str] = {
            "owed": found.owed,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
            "parked": job["done"],
            "fresh_p50_ms": in_ms(percentile(fresh, 0.5)),
            "backlog_per_second": round(self._total / max(drained_s, LOOK_SECONDS)),
        }
        return Findings(then=then, figures=figures)

    def _drain(self, ground: Ground, old: Inbox, beside: Inbox) -> tuple[Course, Mapping[str, Any], int]:
        """Resume the endpoint, park what is left, drain that.

        When that was, the job that parked, and how many deliveries lay aside before they were drained.

        Fresh events go to both receivers, so the difference between the two counts the old ones, but for the few
        that have come to one of them only. The exact numbers are taken at the end: they cost.
        """
        seconds_max = PATIENCE_SECONDS + self._total / DRAINED_PER_SECOND
        ground.do("the backlog drains", 0.3, to=0.5, seconds=self._total / 5_000)
        ground.mark(Kind.NOTE, "resumed")
        resumed_at = time.monotonic()
        _post(ground, f"/v1/endpoints/{segment(old.endpoint)}/resume")
        ground.until(
            lambda: old.delivered - beside.delivered >= PARKED_AT * self._total,
            seconds_max=seconds_max,
            what="a part of the backlog",
        )

        ground.do("an operator parks the rest", 0.5, to=0.6, seconds=PARKED_SECONDS_MAX + WATCH_SECONDS)
        ground.mark(Kind.NOTE, "parked")
        parked_at = time.monotonic()
        filter_ = {"endpoint": old.endpoint, "older_than": OLDER_THAN}
        job = _finished(ground, _post(ground, "/v1/jobs", {"kind": "park", "filter": filter_}), seconds_max)
        ground.pause(max(parked_at + PARKED_SECONDS_MAX + WATCH_SECONDS - time.monotonic(), 0.0))
        with ground.client() as client:
            waiting = client.get("/v1/backlog", {"endpoint": old.endpoint})["data"]
        aside = sum(endpoint["parked"] for endpoint in waiting)

        ground.do("and drains it", 0.6, to=0.95, seconds=self._total / 5_000)
        ground.mark(Kind.NOTE, "drained")
        drained_at = time.monotonic()
        _post(ground, "/v1/jobs", {"kind": "drain", "filter": {"endpoint": old.endpoint}})
        ground.until(
            lambda: old.delivered - beside.delivered >= self._total,
            seconds_max=seconds_max,
            what="the rest of the backlog",
        )
        ground.mark(Kind.RECOVERY, "the backlog is gone")
        course = Course(resumed_at=resumed_at, parked_at=parked_at, drained_at=drained_at, ended_at=time.monotonic())
        return course, job, aside


def _arrivals(inboxes: Sequence[Inbox], prefix: str) -> list[float]:
    """When each of these events was first handled at each of these receivers."""
    found = (inbox.first_answered_at(event) for inbox in inboxes for event in inbox.seen if event.startswith(prefix))
    return [at for at in found if at is not None]


def backlog_share(old: Sequence[float], fresh: Sequence[float], course: Course) -> float:
    """The least share that the backlog had in what arrived while it was not parked. Times of arrivals, monotonic."""
    spans = (course.resumed_at, course.parked_at), (course.drained_at + STEP_SECONDS, course.ended_at)
    return min(least_share(old, fresh, since=since, until=until, every=STEP_SECONDS) for since, until in spans)


def _post(ground: Ground, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    with ground.client() as client:
        answer: Mapping[str, Any] = client.post(path, body)
    return answer


def _finished(ground: Ground, job: Mapping[str, Any], seconds_max: float) -> Mapping[str, Any]:
    """This job once it is completed. Raises DrillFailed if it ends otherwise, or does not end."""
    found = dict(job)

    def is_over() -> bool:
        with ground.client() as client:
            found.update(client.get(f"/v1/jobs/{segment(job['id'])}"))
        if found["state"] in {"failed", "cancelled"}:
            raise DrillFailed(f"The job {job['id']} has {found['state']}: {found.get('error')}.")
        return bool(found["state"] == "completed")

    if not ground.holds_within(is_over, seconds_max=seconds_max, every_s=LOOK_SECONDS):
        raise DrillFailed(f"After {seconds_max:.0f} s the job {job['id']} had not ended.")
    return found
