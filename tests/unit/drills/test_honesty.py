"""What the API may show of a delivery, given what its receiver has seen."""

import pytest

from posthouse.drills.honesty import Attempted, Facts, Shown, ShownAlone, Wait, at_rest, fault_of

NOW = 1_000.0
NEVER = Facts()
ONCE_TIMED_OUT = Facts(requests=1, changed_at=NOW - 5)
TWICE_TIMED_OUT = Facts(requests=2, changed_at=NOW - 5)
UNDER_WAY = Facts(requests=1, held=1, changed_at=NOW - 5)
ANSWERED = Facts(requests=1, answered=1, changed_at=NOW - 5)


def shown(status: str, attempts: int = 0, outcome: str | None = None, response: int | None = None) -> Shown:
    return Shown("dlv_1", "evt_1", "ep_1", status, attempts, None, outcome, response)


def alone(
    status: str, outcomes: tuple[str, ...] = (), *, waits_for: str | None = "queued", count: int | None = None
) -> ShownAlone:
    last = outcomes[-1] if outcomes else None
    return ShownAlone(
        id="dlv_1",
        event="evt_1",
        endpoint="ep_1",
        status=status,
        attempt_count=len(outcomes) if count is None else count,
        reason=None,
        last_outcome=last,
        last_response_status=200 if last == "success" else None,
        waits_for=None if waits_for is None else Wait(waits_for),
        attempts=tuple(Attempted(outcome, 200 if outcome == "success" else None) for outcome in outcomes),
    )


def fault(view: Shown, before: Facts, after: Facts | None = None, *, paused: bool = False) -> str | None:
    return fault_of(view, before, before if after is None else after, paused=paused, asked_at=NOW)


@pytest.mark.parametrize(
    ("view", "facts", "paused"),
    [
        (shown("waiting"), NEVER, False),
        (shown("waiting"), UNDER_WAY, False),
        (shown("retrying", 2, "read_timeout"), TWICE_TIMED_OUT, False),
        (shown("delivered", 1, "success", 200), ANSWERED, False),
        (alone("waiting"), NEVER, False),
        (alone("waiting", waits_for="in_flight"), UNDER_WAY, False),
        (alone("waiting", waits_for="endpoint_paused"), NEVER, True),
        (alone("waiting", waits_for="breaker_open"), NEVER, False),
        (alone("waiting", waits_for="endpoint_cap"), NEVER, False),
        (alone("retrying", ("read_timeout",), waits_for="due_at"), ONCE_TIMED_OUT, False),
        (alone("retrying", ("read_timeout",), waits_for="breaker_open"), ONCE_TIMED_OUT, False),
        (alone("delivered", ("success",), waits_for=None), ANSWERED, False),
    ],
)
def test_the_truth_is_no_fault(view: Shown, facts: Facts, paused: bool) -> None:
    assert fault(view, facts, paused=paused) is None


@pytest.mark.parametrize(
    ("view", "facts", "paused"),
    [
        (shown("retrying", 1, "read_timeout"), NEVER, False),  # the incident: never attempted, shown as timed out
        (shown("waiting", 0, "read_timeout"), NEVER, False),
        (shown("retrying"), NEVER, False),
        (shown("exhausted"), NEVER, False),
        (shown("waiting"), ONCE_TIMED_OUT, False),
        (shown("retrying", 1, "read_timeout"), TWICE_TIMED_OUT, False),
        (shown("retrying", 3, "read_timeout"), TWICE_TIMED_OUT, False),
        (shown("retrying", 2, "connect_timeout"), TWICE_TIMED_OUT, False),
        (shown("retrying", 2, "read_timeout", 504), TWICE_TIMED_OUT, False),
        (shown("delivered", 1, "success", 200), ONCE_TIMED_OUT, False),
        (shown("retrying", 1, "read_timeout"), ANSWERED, False),
        (shown("delivered", 1, "success", 204), ANSWERED, False),
        (alone("waiting", waits_for=None), NEVER, False),
        (alone("waiting", waits_for="due_at"), NEVER, False),
        (alone("waiting", waits_for="endpoint_paused"), NEVER, False),
        (alone("waiting", waits_for="queued"), NEVER, True),
        (alone("waiting", ("success",), count=0), NEVER, False),
        (alone("retrying", ("read_timeout",), waits_for=None), ONCE_TIMED_OUT, False),
        (alone("retrying", ("status", "read_timeout")), TWICE_TIMED_OUT, False),
        (alone("delivered", ("success",)), ANSWERED, False),
    ],
)
def test_anything_else_is_one(view: Shown, facts: Facts, paused: bool) -> None:
    assert fault(view, facts, paused=paused) is not None


def test_while_something_happens_both_the_old_and_the_new_are_true() -> None:
    moving = UNDER_WAY._replace(changed_at=NOW - 0.2)
    ended = moving._replace(held=0, changed_at=NOW + 0.01)
    assert not at_rest(moving, ended, asked_at=NOW)
    assert fault(shown("waiting"), moving, ended) is None
    assert fault(shown("retrying", 1, "read_timeout"), moving, ended) is None
    assert fault(shown("retrying", 2, "read_timeout"), moving, ended) is not None


def test_an_outcome_may_become_durable_a_moment_after_the_receiver_knows_it_and_no_later() -> None:
    just = ANSWERED._replace(changed_at=NOW - 0.1)
    assert fault(shown("waiting"), just) is None
    assert fault(shown("waiting"), ANSWERED) is not None


def test_rest_needs_time_and_stillness() -> None:
    assert at_rest(NEVER, NEVER, asked_at=NOW)
    assert not at_rest(ANSWERED._replace(changed_at=NOW - 0.5), ANSWERED._replace(changed_at=NOW - 0.5), asked_at=NOW)
    assert not at_rest(NEVER, UNDER_WAY, asked_at=NOW)
