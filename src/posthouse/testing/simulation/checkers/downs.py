"""What the rows tell of an endpoint's ups and downs: when it was attempted, how that ended, whether it was down."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Final

from posthouse.core.health import FAILURES_IN_A_ROW, FAILURES_OF_LAST, LAST
from posthouse.core.model import EndpointState, slot_of
from posthouse.testing.simulation.evidence import FOREVER, Evidence
from posthouse.testing.simulation.records import Change

SURE_SECONDS: Final = 0.01  #: a time that is known better than this is sure

_ANSWER_SECONDS: Final = 0.1  # that an answer is on its way, when nothing is wrong
_SAVED_SECONDS: Final = 2.0  # until it is durable that a breaker is open


@dataclass(frozen=True, slots=True)
class Sending:
    """One request as the node itself recorded it, whatever number of events was in it. Loop times."""

    began: float
    ended: float
    outcome: str
    status: int | None
    life: int


class Downs:
    """One endpoint.

    Args:
        evidence: of the history.
        endpoint_key: which one.

    Attributes:
        sendings: what the node recorded, by their beginning; without those of whose time a step of the wall clock
            leaves doubt.
        is_whole: whether it left no doubt about any.
    """

    def __init__(self, evidence: Evidence, endpoint_key: int) -> None:
        self._evidence = evidence
        self._slot = slot_of(endpoint_key)
        number = evidence.number_of.get(endpoint_key, -1)
        self._record = evidence.endpoint.get(number)
        self.is_whole = True
        self._unsure = 0  # failures of which nobody can say when they were
        batched = self._record is not None and self._record.rules.batch is not None
        found: dict[tuple[int, int, int | None, int], Sending] = {}
        for event_key, attempt in evidence.attempts_of.get(endpoint_key, ()):
            span = evidence.wall_span(attempt.started_at, 1, until=evidence.ended_at)
            if span is None or span.high - span.low > SURE_SECONDS:
                self.is_whole = False
                self._unsure += attempt.outcome != "success"
                continue
            life = evidence.life_of((event_key, endpoint_key), attempt, span)
            sending = Sending(span.low, span.low + attempt.total_us / 1e6, attempt.outcome, attempt.status, life)
            # Those of one batch have all of this in common, but for the event.
            found[attempt.started_at, attempt.total_us, attempt.status, 0 if batched else event_key] = sending
        self.sendings = sorted(found.values(), key=lambda s: (s.began, s.ended))
        self._ends = sorted((s.ended, s.outcome == "success") for s in self.sendings)
        self._good = [end for end, good in self._ends if good]

    def answered_between(self, begin: float, end: float) -> bool:
        """Whether a request to it ended well in between."""
        place = bisect_left(self._good, begin - SURE_SECONDS)
        return place < len(self._good) and self._good[place] <= end + SURE_SECONDS

    def resumed_between(self, begin: float, end: float) -> bool:
        """Whether an operator may have let it go on in between."""
        calls = () if self._record is None else self._record.calls
        return any(
            call.change is Change.STATE
            and call.value is EndpointState.ACTIVE
            and call.call.may_have_worked
            and self._evidence.effect(call.call).low <= end
            and self._evidence.effect(call.call).high >= begin
            for call in calls
        )

    def may_be_down(self, at: float) -> bool:
        """Whether its breaker may be open: so many requests failed since the latest that went well, or of the last."""
        ends = self._ends[: bisect_right(self._ends, (at + SURE_SECONDS, True))]
        run = next((i for i, (_, good) in enumerate(reversed(ends)) if good), len(ends))
        of_last = sum(not good for _, good in ends[-LAST:])
        return run + self._unsure >= FAILURES_IN_A_ROW or of_last + self._unsure >= FAILURES_OF_LAST

    def openings(self) -> list[tuple[float, float]]:
        """From when to when its breaker was surely open.

        So many requests in a row did not even get an answer in one life. It is open until one goes well, or an
        operator lets the endpoint go on; and over the end of a life, if it was known durably before.
        """
        found = []
        run: list[Sending] = []
        for sending in sorted(self.sendings, key=lambda s: s.ended):
            if sending.outcome == "success":
                run.clear()
            elif sending.status is None and sending.outcome != "fault":
                if run and run[-1].life != sending.life:
                    run.clear()
                run.append(sending)
                if len(run) == FAILURES_IN_A_ROW:
                    found.append((sending.ended, self._open_until(sending)))
        return found

    def _unrecorded_until(self, last: Sending) -> float:
        """When a good answer came after ``last`` whose outcome may never have become durable."""
        record = self._record
        if record is None:
            return FOREVER
        evidence, limit = self._evidence, record.timeout_ms / 1_000
        troubled = evidence.is_troubled(last.began - limit, last.ended, "wire", "freeze", host=record.host)
        since = last.ended - (limit if troubled else _ANSWER_SECONDS)
        answers = (r.answered_at for r in evidence.records.received if r.endpoint == record.number and r.succeeded)
        return max(min((at for at in answers if at is not None and at >= since), default=FOREVER), last.ended)

    def _open_until(self, last: Sending) -> float:
        evidence = self._evidence
        until = min(next((end for end in self._good if end > last.ended), FOREVER), self._unrecorded_until(last))
        calls = () if self._record is None else self._record.calls
        for call in calls:
            effect = evidence.effect(call.call)
            if call.change in {Change.STATE, Change.DELETE, Change.ORDER} and effect.high >= last.ended:
                until = min(until, max(effect.low, last.ended))
        for move in evidence.records.moves:
            if move.slot == self._slot and not move.given_up and move.at >= last.began:
                until = min(until, max(move.at, last.ended))
        for reign in evidence.records.reigns:
            if evidence.noticed_by(reign) >= last.ended:
                until = min(until, max(reign.at, last.ended))
        for life in evidence.records.lives:
            ended = life.ended_at or FOREVER
            if life.number == last.life and (
                ended - last.ended < _SAVED_SECONDS or evidence.is_troubled(last.ended, ended, "disk", "freeze")
            ):
                until = min(until, ended)
        return until
