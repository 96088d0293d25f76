"""A stop ends, answers what it took, and cuts nothing off before its time."""

from typing import Final

from posthouse.testing.simulation.evidence import Evidence
from posthouse.testing.simulation.records import Life, Outcome

LAW = "a stop"

_STOP_SECONDS: Final = 15.0  #: to stop, besides twice the drain
_CLOSE: Final = 0.5
_GRACE: Final = 4.0  #: of those who wait for an answer of the API


def check(evidence: Evidence) -> None:
    """Look at each life that ended by itself."""
    for life in evidence.records.lives:
        if life.stopping_at is not None and life.ended_at is not None:
            _check_time(evidence, life, life.stopping_at, life.ended_at)
            if life.how == "stopped" and not evidence.is_troubled(
                life.stopping_at, life.ended_at, "disk", "freeze", "wire"
            ):
                _check_requests(evidence, life, life.stopping_at, life.ended_at)
                _check_calls(evidence, life.node, life.stopping_at, life.ended_at)


def _check_time(evidence: Evidence, life: Life, stopping_at: float, ended_at: float) -> None:
    frozen = sum(
        min(trouble.until, ended_at) - max(trouble.at, stopping_at)
        for trouble in evidence.records.troubles
        if trouble.kind == "freeze" and trouble.overlaps(stopping_at, ended_at)
    )
    took = ended_at - stopping_at - frozen
    if took > 2 * evidence.plan.drain_seconds + _STOP_SECONDS:
        evidence.records.find("I9 bounds", f"life {life.number} took {took:.1f} s to stop", stopping_at)


def _check_requests(evidence: Evidence, life: Life, stopping_at: float, ended_at: float) -> None:
    """Requests on their way may take the time of the drain."""
    cut_off = stopping_at + evidence.plan.drain_seconds - _CLOSE
    for request in evidence.records.received:
        if request.life != life.number or request.answered_at is not None or request.ended_at is None:
            continue
        limit = evidence.endpoint[request.endpoint].timeout_ms / 1_000
        early = min(cut_off, evidence.signed(request).low + limit - _CLOSE)
        if stopping_at < request.ended_at < early and request.ended_at <= ended_at and not request.hung_up:
            message = f"a request to endpoint {request.endpoint} was cut off {early - request.ended_at:.1f} s too early"
            evidence.records.find(LAW, message, request.ended_at)


def _check_calls(evidence: Evidence, node: int, stopping_at: float, ended_at: float) -> None:
    """Who had asked the API before gets an answer."""
    for call in evidence.records.calls:
        if (
            call.outcome is Outcome.UNKNOWN
            and call.node == node
            and call.status is None
            and call.sent_at < stopping_at - 0.05
            and stopping_at < (call.ended_at or 0) <= min(ended_at + _CLOSE, stopping_at + _GRACE)
            and (call.ended_at or 0) - call.sent_at < call.patience - 0.01
            and not evidence.is_troubled(call.sent_at, ended_at, "api wire", "wire", "disk", "freeze")
        ):
            message = (
                f"{call.method} {call.path} was asked {stopping_at - call.sent_at:.2f} s before, and got no answer"
            )
            evidence.records.find(LAW, message, call.ended_at)
