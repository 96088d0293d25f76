"""Whether what the API shows of a delivery is what its receiver has seen. Pure."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from posthouse.drills.receivers import Seen

TIMED_OUT: Final = "read_timeout"
REST_SECONDS: Final = 1.0  #: an outcome is in the books so soon after the receiver knows of it
#: What holds a delivery that is due where endpoints hang: others before it, bounds, or that its endpoint is down.
HOLDS: Final = frozenset({"queued", "in_flight", "settling", "endpoint_cap", "node_cap", "breaker_open"})


class Wait(msgspec.Struct, frozen=True):
    """What an open delivery waits for, as the API shows it."""

    code: str


class Attempted(msgspec.Struct, frozen=True):
    """One attempt, as the API shows it."""

    outcome: str
    response_status: int | None


class Shown(msgspec.Struct, frozen=True):
    """A delivery in a list of the API."""

    id: str
    event: str
    endpoint: str
    status: str
    attempt_count: int
    reason: str | None
    last_outcome: str | None
    last_response_status: int | None


class ShownAlone(Shown, frozen=True, kw_only=True):
    """A delivery that was asked for by its id."""

    waits_for: Wait | None
    attempts: tuple[Attempted, ...]


class Facts(NamedTuple):
    """What the receiver knew of a delivery at one moment."""

    requests: int = 0
    held: int = 0  #: of those, how many have no answer yet
    answered: int = 0  #: of those, how many got 200
    changed_at: float = 0.0  #: monotonic

    @classmethod
    def of(cls, seen: Seen | None) -> "Facts":
        """The facts now; ``None``: no request has come."""
        return cls() if seen is None else cls(seen.requests, seen.held, seen.answered, seen.changed_at)

    @property
    def ended(self) -> int:
        """Requests that are over, one way or the other."""
        return self.requests - self.held


def at_rest(before: Facts, after: Facts, *, asked_at: float) -> bool:
    """Whether nothing has happened for so long before a read, and until its end, that the API must know it all."""
    return before == after and asked_at - before.changed_at > REST_SECONDS


def fault_of(shown: Shown, before: Facts, after: Facts, *, paused: bool, asked_at: float) -> str | None:
    """What is wrong with ``shown``, None if nothing is.

    Args:
        shown: what the API answered.
        before: the facts when it was asked.
        after: the facts when the answer was there.
        paused: whether the endpoint was paused all the while.
        asked_at: monotonic.
    """
    rest = at_rest(before, after, asked_at=asked_at)
    least, most = (before.ended, before.ended) if rest else (before.ended - 1, after.requests)
    count = shown.attempt_count
    if not least <= count <= most:
        return f"{count} attempts are shown, and the receiver has seen {least} to {most}"
    if rest and before.answered and shown.status != "delivered":
        return f"it is shown as {shown.status}, and the receiver has answered it"
    if shown.status == "delivered":
        return _fault_of_delivered(shown, after)
    return _fault_of_attempted(shown) if count else _fault_of_never_attempted(shown, paused=paused)


def _fault_of_delivered(shown: Shown, after: Facts) -> str | None:
    if not after.answered:
        return "it is shown as delivered, and the receiver has answered nothing"
    if (shown.last_outcome, shown.last_response_status) != ("success", 200):
        return f"it is delivered, and its last outcome is shown as {shown.last_outcome}"
    return _fault_alone(shown, [*[TIMED_OUT] * (shown.attempt_count - 1), "success"], {None})


def _fault_of_attempted(shown: Shown) -> str | None:
    if (shown.status, shown.last_outcome, shown.last_response_status) != ("retrying", TIMED_OUT, None):
        return f"it has timed out, and is shown as {shown.status} with the outcome {shown.last_outcome}"
    return _fault_alone(shown, [TIMED_OUT] * shown.attempt_count, {"due_at", *HOLDS})


def _fault_of_never_attempted(shown: Shown, *, paused: bool) -> str | None:
    if (shown.status, shown.last_outcome, shown.last_response_status, shown.reason) != ("waiting", None, None, None):
        return f"it was never attempted, and is shown as {shown.status} with the outcome {shown.last_outcome}"
    return _fault_alone(shown, [], {"endpoint_paused"} if paused else HOLDS)


def _fault_alone(shown: Shown, outcomes: Sequence[str], reasons: Collection[str | None]) -> str | None:
    """What is wrong with the parts that no list shows: its attempts, and what it waits for."""
    if not isinstance(shown, ShownAlone):
        return None
    listed = [attempt.outcome for attempt in shown.attempts]
    if listed != outcomes:
        return f"its count of attempts is {shown.attempt_count}, and its attempts are {listed}"
    reason = None if shown.waits_for is None else shown.waits_for.code
    return None if reason in reasons else f"it is {shown.status}, and is shown to wait for {reason}"
