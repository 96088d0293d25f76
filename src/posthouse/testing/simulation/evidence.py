"""What was seen of one history, side by side: publications and events, requests and deliveries, times and clocks."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from posthouse.core.rules import Order
from posthouse.testing.simulation.machine import SimClock
from posthouse.testing.simulation.plan import Plan
from posthouse.testing.simulation.records import (
    Call,
    Change,
    EndpointCall,
    EndpointRecord,
    JobRecord,
    Letter,
    Life,
    Move,
    Outcome,
    Publication,
    Received,
    Records,
    Reign,
    SourceRecord,
)
from posthouse.testing.simulation.rows import AttemptRow, EventRow, Pair, Rows

TEST_TYPE: Final = "posthouse.test"
FOREVER: Final = float("inf")
LANES: Final = frozenset({"intake", "settle", "inbound", "misc", "pulse"})  #: connections of a node that writes
SPREAD_SECONDS: Final = 1.5  #: until a change is known to all nodes, when nothing is wrong
_LATE: Final = 1.0  #: seconds that a statement may take whose sender was killed
_ON_ITS_WAY: Final = 0.1  #: seconds that a request may arrive after it was sent, when nothing is wrong
RENEWAL_SECONDS: Final = 2.5  #: between two renewals of leases, the commit included, when nothing is wrong


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when something may have happened."""

    low: float
    high: float


class Evidence:
    """What checkers look at. Everything here comes from outside of the node, or from its rows.

    Attributes:
        records: what clients, receivers and the faults wrote down.
        rows: the store after the end.
        clock: which times the wall clock showed.
        began, healed_at, ended_at: loop times.
        requests: of each delivery, by their time. A request with several events is there once for each of
            them, with what its answer means for that one.
        attempts_of: of each endpoint, with the keys of their events.
        letter_of: what was posted, by its body.
        source_of: by its key.
        moves_of: how each slot changed hands.
    """

    def __init__(
        self,
        plan: Plan,
        records: Records,
        rows: Rows,
        clock: SimClock,
        *,
        began: float,
        healed_at: float,
        ended_at: float,
    ) -> None:
        self.plan = plan
        self.records = records
        self.rows = rows
        self.clock = clock
        self.began = began
        self.healed_at = healed_at
        self.ended_at = ended_at
        self.event_of: dict[tuple[str, str], EventRow] = {(row.tenant, row.id): row for row in rows.events.values()}
        self.events_by_data: dict[bytes, list[EventRow]] = defaultdict(list)
        for row in rows.events.values():
            self.events_by_data[row.data].append(row)
        self.publication_of: dict[bytes, Publication] = {p.data: p for p in records.publications if not p.forbidden}
        self.endpoint: dict[int, EndpointRecord] = {record.number: record for record in records.endpoints}
        self.number_of: dict[int, int] = {key: int(row.url.rpartition("/")[2]) for key, row in rows.endpoints.items()}
        self.key_of: dict[int, int] = {number: key for key, number in self.number_of.items()}
        self._failovers = sorted(records.failovers, key=lambda failover: failover.at)
        self._forgotten = [
            {(row.tenant, row.id): row for row in failover.events.values()} for failover in self._failovers
        ]
        self._rejoined: dict[tuple[float, int], float] = {}
        self.requests: dict[Pair, list[Received]] = defaultdict(list)
        for request in sorted(records.received, key=lambda r: r.at):
            for event_id in request.event_ids:
                pair = self.pair_of(request, event_id)
                if pair is not None:
                    self.requests[pair].append(_of_one(request, event_id))
        self.letter_of: dict[bytes, Letter] = {x.body: x for source in records.sources for x in source.letters}
        self.source_of: dict[int, SourceRecord] = {s.key: s for s in records.sources if s.key is not None}
        self.moves_of: dict[int, list[Move]] = defaultdict(list)
        for move in records.moves:
            self.moves_of[move.slot].append(move)
        self._called = {call.delivery for call in records.delivery_calls}
        self.attempts_of: dict[int, list[tuple[int, AttemptRow]]] = defaultdict(list)
        for pair, attempts in rows.attempts.items():
            self.attempts_of[pair[1]] += [(pair[0], attempt) for attempt in attempts]

    def pair_of(self, request: Received, event_id: str) -> Pair | None:
        """The delivery of one of its events that a request belongs to, if that and its endpoint are in the store."""
        record = self.endpoint.get(request.endpoint)
        row = None if record is None else self.event_of.get((record.tenant, event_id))
        key = self.key_of.get(request.endpoint)
        if row is None or key is None or self.ghost_of(request, event_id) is not None:
            return None
        return row.key, key

    # -- what a failover forgot -----------------------------------------------------------------

    def ghost_of(self, request: Received, event_id: str) -> tuple[EventRow, set[int]] | None:
        """The event as a request has it that was sent of one which a failover forgot; and keys of its endpoint then.

        It was visible, and nobody was told that it is durable; who published it may have done so again. Whoever sent
        it had not heard of the failover yet.
        """
        record = self.endpoint.get(request.endpoint)
        for failover, forgotten in zip(self._failovers, self._forgotten, strict=True):
            row = None if record is None else forgotten.get((record.tenant, event_id))
            if row is not None and request.at <= self._heard_at(failover.at, request.life) + _ON_ITS_WAY:
                again = self.event_of.get((row.tenant, row.id))
                if again is not None and _was_there(self, again, request.at):
                    continue
                keys = {key for number, key in failover.endpoints if number == request.endpoint}
                return row, keys | {self.key_of.get(request.endpoint, 0)}
        return None

    def _heard_at(self, at: float, life: int) -> float:
        """When a life that was there at a failover was connected with the new server, or ended; 0: it began later."""
        known = self._rejoined.get((at, life))
        if known is None:
            lived = self.life(life)
            known = 0.0
            if lived is not None and lived.began_at <= at:
                joined: dict[str, float] = {}
                for when, whose, name in self.records.joins:
                    if whose == life and when > at:
                        joined.setdefault(name, when)
                all_of_them = max(joined[name] for name in LANES) if set(joined) >= LANES else FOREVER
                known = min(all_of_them, lived.ended_at or FOREVER)
            self._rejoined[at, life] = known
        return known

    def name_of(self, pair: Pair) -> str:
        """A delivery in words."""
        row = self.rows.events.get(pair[0])
        return f"delivery of {pair[0] if row is None else row.id} to endpoint {self.number_of.get(pair[1], pair[1])}"

    # -- time -----------------------------------------------------------------------------------

    def wall_span(self, wall_ms: int, span_ms: int, *, until: float, since: float = 0.0) -> Span | None:
        """When the node's wall clock showed these times, between two instants; None if never."""
        spans = [
            (max(low, since), min(high, until))
            for low, high in self.clock.times_of(wall_ms, span_ms)
            if low <= until and high >= since
        ]
        return Span(min(low for low, _ in spans), max(high for _, high in spans)) if spans else None

    def signed(self, request: Received) -> Span:
        """When a request was signed: within the second that it names, before it arrived, and by a process that ran."""
        life = self.life(request.life)
        began = self.began if life is None else life.began_at
        span = self.wall_span(request.stamp * 1_000, 1_000, until=request.at, since=began)
        if span is None:
            return Span(request.at, request.at)
        low = span.low
        for trouble in self.records.troubles:
            if trouble.kind == "freeze" and trouble.at < low < trouble.until:
                low = min(trouble.until, span.high)
        return Span(low, span.high)

    def life(self, number: int) -> Life | None:
        """A life by its number."""
        return next((life for life in self.records.lives if life.number == number), None)

    def life_end(self, at: float, node: int | None = None) -> float:
        """When the life of a node that was under way at some time ended; of all nodes, when the last one did.

        What such a life had asked of a database may still be done then, for as long as that takes.
        """
        ends: dict[int, float] = {}
        for life in self.records.lives:
            ended_at = life.ended_at or FOREVER
            if ended_at >= at and node in {None, life.node}:
                ends[life.node] = min(ended_at, ends.get(life.node, FOREVER))
        until = max(ends.values(), default=FOREVER)
        if not self.plan.nodes or until == FOREVER:
            return until
        late = [t.until for t in self.records.troubles if t.kind == "disk" and t.overlaps(until, until + _LATE)]
        return max(until + _LATE, *late) if late else until + _LATE

    def effect(self, call: Call) -> Span:
        """When a request took effect, if it did: before its answer, or, without one, before the end of that life."""
        if call.outcome is Outcome.DONE and call.ended_at is not None:
            return Span(call.sent_at, call.ended_at)
        return Span(call.sent_at, max(self.life_end(call.sent_at, call.node), call.ended_at or 0.0))

    def spread(self, call: Call) -> Span:
        """When a change of the catalogue took effect, if it did, on all nodes."""
        return self.known_by(self.effect(call))

    def known_by(self, effect: Span) -> Span:
        """When something that took effect in a span did so on all nodes."""
        if self.plan.nodes < 2 or effect.high == FOREVER:
            return effect
        known = effect.high + SPREAD_SECONDS
        for trouble in self.records.troubles:
            if trouble.kind in {"disk", "freeze"} and trouble.overlaps(effect.low, known):
                known = max(known, trouble.until + SPREAD_SECONDS)
        return Span(effect.low, known)

    def is_troubled(self, begin: float, end: float, *kinds: str, host: int | None = None) -> bool:
        """Whether a fault of these kinds (of this host, or of all) was there in between."""
        return any(
            trouble.kind in kinds and trouble.overlaps(begin, end) and trouble.host in {None, host}
            for trouble in self.records.troubles
        )

    def life_of(self, pair: Pair, attempt: AttemptRow, span: Span) -> int:
        """The life that made an attempt; 0: nobody can say."""
        if self.plan.nodes < 2:
            return next((x.number for x in reversed(self.records.lives) if x.began_at <= span.high), 0)
        end = span.high + attempt.total_us / 1e6
        lives = {r.life for r in self.requests.get(pair, ()) if span.low <= r.at <= end}
        return lives.pop() if len(lives) == 1 else 0

    def lost_at(self, life: int, slot: int, begin: float, end: float) -> float | None:
        """When a life lost a slot that it did not give up, between two times; None: it did not."""
        for move in self.moves_of.get(slot, ()):
            if (
                begin <= move.at <= end
                and not move.given_up
                and move.before != move.after
                and move.before is not None
                and self.records.names.get(move.before) == life
            ):
                return move.at
        return None

    def noticed_by(self, reign: Reign) -> float:
        """When a node that held the slots before and after a rival surely knew of it: its next renewal is durable."""
        until = FOREVER if reign.until is None else reign.until + RENEWAL_SECONDS
        for trouble in self.records.troubles:
            if trouble.kind in {"disk", "freeze"} and trouble.overlaps(reign.at, until):
                until = max(until, trouble.until + RENEWAL_SECONDS)
        return until

    # -- operators and rules --------------------------------------------------------------------

    def jobs_on(self, pair: Pair) -> list[JobRecord]:
        """The jobs that may have changed a delivery."""
        row = self.rows.events.get(pair[0])
        number = self.number_of.get(pair[1])
        return [
            job
            for job in self.records.jobs
            if job.may_work
            and job.plan.endpoint in {None, number}
            and job.plan.tenant in {None, None if row is None else row.tenant}
        ]

    def stepped_in(self, pair: Pair) -> bool:
        """Whether an operator may have changed a delivery, alone or with many others."""
        return pair in self._called or bool(self.jobs_on(pair))

    def orders(self, record: EndpointRecord, begin: float, end: float) -> set[Order]:
        """The orders that an endpoint may have kept at some time between two."""
        calls = [call for call in record.calls if call.change in {Change.CREATE, Change.ORDER}]
        if all(call.change is Change.CREATE for call in calls):
            return {record.rules.order}
        found = [call for call in self.possible(calls, begin, end, anywhere=True) if call is not None]
        return {record.rules.order if call.change is Change.CREATE else call.value for call in found}

    def tenant_rules(self, tenant: str, rule: str, begin: float, end: float) -> set[Any]:
        """The values that a rule of a tenant may have had at some time between two; None: it had none."""
        calls = [
            EndpointCall(Change.OTHER, call.rules[rule], call.call)
            for call in self.records.tenant_calls
            if call.tenant == tenant
        ]
        return {None if call is None else call.value for call in self.possible(calls, begin, end, anywhere=True)}

    # -- endpoints ------------------------------------------------------------------------------

    def possible(
        self, calls: Iterable[EndpointCall], begin: float, end: float, *, anywhere: bool = False
    ) -> Sequence[EndpointCall | None]:
        """Which of some requests can have been the latest to take effect, at some time between two; None: none yet.

        ``anywhere``: on any of the nodes, also one that has not heard of it yet.
        """
        span_of = self.spread if anywhere else self.effect
        effective = [(call, span_of(call.call)) for call in calls if call.call.may_have_worked]
        sure = [(call, span) for call, span in effective if call.call.outcome is Outcome.DONE and span.high <= begin]
        latest = max(sure, key=lambda found: found[1].high, default=None)
        since = -FOREVER if latest is None else latest[1].low
        found: list[EndpointCall | None] = [call for call, span in effective if span.low <= end and span.high >= since]
        return found if latest is not None else [None, *found]


def _was_there(evidence: Evidence, row: EventRow, at: float) -> bool:
    """Whether an event was accepted before a time."""
    span = evidence.wall_span(row.accepted_at, 1, until=at)
    return span is not None


def _of_one(request: Received, event_id: str) -> Received:
    """A request as one of its events saw it."""
    if event_id == request.event_id and event_id not in request.not_taken:
        return request
    return replace(request, event_id=event_id, succeeded=request.succeeded and event_id not in request.not_taken)
