"""D26: what recognises repetitions is destroyed under load. Nothing waits for it or is lost, and it is made anew."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from posthouse.core.limits import PAGE_ITEMS_MAX
from posthouse.drills.drill import Drill
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.measures import in_ms, percentile
from posthouse.drills.receivers import Inbox
from posthouse.drills.receiving import (
    Entrance,
    Stopwatch,
    answer_rules,
    first_handled,
    reckon_received,
    source_rules,
)
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.drills.senders.books import Books
from posthouse.drills.senders.gocardless import GoCardless
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Connections
from posthouse.sdk.client import segment
from posthouse.store.sqlite.connection import BusyPolling, connect_writer
from posthouse.store.sqlite.store import DATABASE
from posthouse.system import SystemClock

RATE: Final = 500.0  #: events a second
PER_REQUEST: Final = 10
REQUESTS_MAX: Final = 10_000_000  #: more than any run leaves time for
SECRET: Final = "a-secret-that-both-know"  # noqa: S105 - of a simulated sender
CONNECTIONS: Final = 64

PHASE_SECONDS: Final = 30.0  #: before the outage, and of it
PHASE_SECONDS_MIN: Final = 4
WARM_SECONDS: Final = 1.0  #: that count for nothing
DROP_SECONDS: Final = 0.5  #: the node is quick to mend it, so it is destroyed again and again
REPEATED: Final = 20  #: requests that are sent once more during the outage, and again after it
REPEATED_MIN: Final = 2
DROP: Final = "DROP TABLE IF EXISTS seen"

THROUGHPUT_SHARE_MIN: Final = 0.8
INCIDENT_SECONDS_MAX: Final = 10.0
RESTORED_SECONDS_MAX: Final = 30.0
PATIENCE_SECONDS: Final = 30.0  #: beyond the bounds, so that a failure is measured too
LOOK_SECONDS: Final = 0.2
SUPPRESSED: Final = "posthouse_source_events_repeated_total"
UNCHECKED: Final = "posthouse_source_events_unchecked_total"


class Load:
    """A sender that sends until it is stopped, and again what it is asked for.

    Args:
        entrance: where to.
        seed: of its ids.
    """

    def __init__(self, entrance: Entrance, *, seed: int) -> None:
        self._wire = Connections(CONNECTIONS)
        self.watch = Stopwatch(self._wire)
        self._pace = Pace(SystemClock(), seed=seed)
        self._sender = GoCardless(entrance.url, entrance.secret, wire=self.watch, pace=self._pace)
        self._is_stopping = False

    @property
    def books(self) -> Books:
        """Of the sender."""
        return self._sender.books

    def first(self, count: int) -> list[str]:
        """The first requests that were sent."""
        return list(self._sender.webhooks)[:count]

    def digests(self, webhooks: Sequence[str]) -> set[bytes]:
        """Of the events in these requests."""
        return {event.digest for webhook in webhooks for event in self._sender.webhooks[webhook].parcel.events}

    async def run(self) -> None:
        """Send, until it is stopped; returns when all is answered."""
        try:
            async with asyncio.TaskGroup() as group:
                async for _ in self._pace.due(REQUESTS_MAX, RATE / PER_REQUEST):
                    if self._is_stopping:
                        break
                    group.create_task(self._sender.retry(self._sender.make(PER_REQUEST).id))
        finally:
            self._wire.close()

    async def repeat(self, webhooks: Sequence[str]) -> None:
        """Send these requests once more."""
        for webhook in webhooks:
            await self._sender.retry(webhook)

    def stop(self) -> None:
        """Send nothing more."""
        self._is_stopping = True


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """When what happened, monotonic, and what was seen meanwhile."""

    well_at: float
    broken_at: float  #: it was destroyed for the first time
    alarm_at: float  #: the incident was there
    last_at: float  #: it was destroyed for the last time
    restored_at: float  #: no such incident was open any more


class Forgetful(Drill):
    """D26."""

    number = "D26"
    title = "Without what recognises repetitions everything is passed on and marked, until it is made anew"
    needs_own_node = "the fault is a table that disappears from the node's own database"

    @property
    def _phase(self) -> int:
        return self.plan.scaled(PHASE_SECONDS, least=PHASE_SECONDS_MIN)

    @property
    def _repeated(self) -> int:
        return self.plan.scaled(REPEATED, least=REPEATED_MIN)

    def given(self) -> list[str]:
        """A busy source."""
        return [
            "a node on a new store with a source for GoCardless, and an endpoint that gets all of it",
            f"{RATE:g} events a second, {PER_REQUEST} in a request",
        ]

    def when(self) -> list[str]:
        """The table is gone."""
        return [
            f"for {self._phase} s somebody drops the table of digests from the database, every {DROP_SECONDS:g} s",
            f"meanwhile {self._repeated} requests are sent a second time, and once the table is back a third time",
        ]

    def run(self, ground: Ground) -> Findings:
        """Send, destroy, send again, let it be made anew, send again."""
        inbox = ground.add_endpoint("all", ["*"])
        entrance = ground.add_source("gocardless", SECRET)
        load = Load(entrance, seed=self.plan.seed)
        ground.send(load.run(), owed=lambda: load.books.delivered)
        ground.do("all is well", 0.0, to=0.3, seconds=self._phase)
        ground.pause(WARM_SECONDS)
        well_at, warm = time.monotonic(), len(load.watch.seconds)
        ground.pause(self._phase)
        repeated = load.first(self._repeated)
        course = self._break(ground, entrance, load, repeated, well_at=well_at)

        ground.do("sending once more what came before", 0.8)
        ground.mark(Kind.NOTE, "sent again")
        known = ground.metrics()[SUPPRESSED]
        again_at = time.monotonic()
        ground.run(load.repeat(repeated), seconds_max=PATIENCE_SECONDS, what="the answers")
        ground.background.call(load.stop)
        ground.until_published()
        ground.holds_within(
            lambda: not ground.source_books(entrance).waiting, seconds_max=PATIENCE_SECONDS, every_s=LOOK_SECONDS
        )
        books, source = ground.settle(), ground.source_books(entrance)
        found = reckon_received(load.books.entries.values(), [inbox], strays=ground.receivers.strays)
        second, digests = second_events(inbox), load.digests(repeated)
        late = sum(at >= again_at for _event, digest, at in second if digest in digests)
        # What passed a second time is owed too, by the node's books.
        found = msgspec.structs.replace(found, owed=found.owed + len(second), delivered=found.delivered + len(second))
        answers = load.watch.seconds[warm:]
        then = [
            *self._then_outage(ground, inbox, course),
            *_then_incidents(ground, entrance, course),
            Then("events that passed a second time meanwhile", len(second) - late, "≥", 1),
            Then("of these, not marked", _unmarked(ground, [event for event, _digest, _at in second]), "=", 0),
            Then("events that were sent once and passed twice", sum(d not in digests for _, d, _ in second), "=", 0),
            Then("events that passed again once it was made anew", late, "=", 0),
            Then("of those, suppressed", ground.metrics()[SUPPRESSED] - known, "=", len(digests)),
            *answer_rules(answers),
            *source_rules(source),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "requests": source.received,
            "owed": found.owed,
            "delivered": found.delivered,
            "passed_twice": len(second),
            "suppressed": source.duplicates,
            "answer_p50_ms": in_ms(percentile(answers, 0.5)),
        }
        return Findings(then=then, figures=figures)

    def _break(
        self, ground: Ground, entrance: Entrance, load: Load, repeated: Sequence[str], *, well_at: float
    ) -> Course:
        """Destroy the table over and over, and wait until the node has made it anew."""
        ground.do("the table is destroyed over and over", 0.3, to=0.6, seconds=self._phase)
        ground.mark(Kind.FAULT, "the table is gone")
        broken_at = last_at = time.monotonic()
        alarm_at = None
        writer = connect_writer(ground.node.data / DATABASE, busy=BusyPolling(patient=True))
        with contextlib.closing(writer) as connection:
            while time.monotonic() < broken_at + self._phase:
                connection.execute(DROP)
                last_at = time.monotonic()
                if repeated:
                    ground.run(load.repeat(repeated), seconds_max=PATIENCE_SECONDS, what="the answers")
                    repeated = ()
                ground.pause(DROP_SECONDS)
                if alarm_at is None and _incidents(ground, entrance, is_open=True):
                    alarm_at = time.monotonic()
                    ground.mark(Kind.ALARM, "the node's incident")
        ground.do("the node makes it anew", 0.6, to=0.8, seconds=RESTORED_SECONDS_MAX / 4)
        if ground.holds_within(
            lambda: not _incidents(ground, entrance, is_open=True),
            seconds_max=RESTORED_SECONDS_MAX + PATIENCE_SECONDS,
            every_s=LOOK_SECONDS,
        ):
            ground.mark(Kind.RECOVERY, "the incident is closed")
        now = time.monotonic()
        return Course(well_at=well_at, broken_at=broken_at, alarm_at=alarm_at or now, last_at=last_at, restored_at=now)

    def _then_outage(self, ground: Ground, inbox: Inbox, course: Course) -> list[Then]:
        """How much passed, and how much of it unchecked."""
        handled = first_handled(inbox).values()
        before = per_second(handled, course.well_at, course.broken_at)
        meanwhile = per_second(handled, course.broken_at, course.last_at)
        share = round(meanwhile / max(before, 1.0), 3)
        unchecked = int(ground.metrics()[UNCHECKED])
        return [
            Then("events a second before the outage", round(before), "≥", RATE * THROUGHPUT_SHARE_MIN),
            Then("events a second during it, as a share of that", share, "≥", THROUGHPUT_SHARE_MIN),
            Then("events that passed unchecked", unchecked, "≥", 1),
        ]


def _then_incidents(ground: Ground, entrance: Entrance, course: Course) -> list[Then]:
    """When the node said that something is wrong, and that it is over."""
    opened_s, closed_s = course.alarm_at - course.broken_at, course.restored_at - course.last_at
    found = _incidents(ground, entrance)
    return [
        Then("incidents", len(found), "≥", 1),
        Then("the first was open, after the table was gone", round(opened_s, 2), "≤", INCIDENT_SECONDS_MAX, "s"),
        Then(
            "all were closed, after it was gone for the last time", round(closed_s, 2), "≤", RESTORED_SECONDS_MAX, "s"
        ),
        Then("incidents that are open at the end", sum(each["closed_at"] is None for each in found), "=", 0),
    ]


def _incidents(ground: Ground, entrance: Entrance, *, is_open: bool | None = None) -> list[Mapping[str, Any]]:
    """What the node says about repetitions that it did not recognise."""
    query = {"source": entrance.source, "kind": "dedupe_unavailable", "limit": PAGE_ITEMS_MAX}
    if is_open is not None:
        query["open"] = "true" if is_open else "false"
    with ground.client() as client:
        found: list[Mapping[str, Any]] = client.get("/v1/incidents", query)["data"]
    return found


def _unmarked(ground: Ground, events: Sequence[str]) -> int:
    """How many of these events the node does not show as possible repetitions."""
    with ground.client() as client:
        shown = [client.get(f"/v1/events/{segment(event)}", {"tenant": ground.tenant})["origin"] for event in events]
    return sum(origin["possible_duplicate"] is None for origin in shown)


def second_events(inbox: Inbox) -> list[tuple[str, bytes, float]]:
    """Events that say what another one had said that was handled before: id, digest, when it was handled."""
    seen_before: set[bytes] = set()
    found = []
    times = ((inbox.first_answered_at(event), event, seen.digest) for event, seen in inbox.seen.items())
    for at, event, digest in sorted((at, event, digest) for at, event, digest in times if at is not None):
        if digest in seen_before:
            found.append((event, digest, at))
        seen_before.add(digest)
    return found


def per_second(times: Iterable[float], since: float, until: float) -> float:
    """How many of these times lie in a span, for each second of it."""
    return sum(since <= at < until for at in times) / max(until - since, 0.001)
