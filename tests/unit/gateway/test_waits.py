"""What an open delivery waits for: always one reason, and the one that counts."""

import pytest

from posthouse.core.delivery import State
from posthouse.core.model import EndpointState, Environment, Lane
from posthouse.gateway.deliveries import Wait, wait_of
from posthouse.gateway.endpoints import REASON_GONE, REASON_INVALID
from posthouse.store.protocol import DeliveryRecord

NOW = 1_800_000_000_000


def record(due_at: int, attempts: int = 0) -> DeliveryRecord:
    return DeliveryRecord(
        event_key=1,
        endpoint_key=2,
        event_id="evt_1",
        event_type="a",
        environment=Environment.LIVE,
        tenant="default",
        state=State.RETRYING if attempts else State.WAITING,
        lane=Lane.LIVE,
        round=1,
        attempts=attempts,
        opened_at=0,
        due_at=due_at,
        settled_at=None,
        reason=None,
        last_outcome=None,
        last_status=None,
    )


def wait(
    due_at: int,
    *,
    attempts: int = 0,
    state: EndpointState = EndpointState.ACTIVE,
    reason: str | None = None,
    in_flight: bool = False,
    stuck: bool = False,
) -> Wait:
    return wait_of(
        record(due_at, attempts), endpoint_state=state, state_reason=reason, in_flight=in_flight, stuck=stuck, now=NOW
    )


@pytest.mark.parametrize("due_at", [NOW - 1, NOW + 1])
@pytest.mark.parametrize(
    ("state", "in_flight", "code"),
    [
        (EndpointState.ACTIVE, True, "in_flight"),
        (EndpointState.PAUSED, True, "in_flight"),
        (EndpointState.PAUSED, False, "endpoint_paused"),
        (EndpointState.DISABLED, False, "endpoint_disabled"),
        (EndpointState.DELETED, False, "endpoint_disabled"),
    ],
)
def test_what_holds_everything_back_comes_first(state: EndpointState, in_flight: bool, code: str, due_at: int) -> None:
    for stuck in (False, True):
        assert wait(due_at, state=state, reason="gone", in_flight=in_flight, stuck=stuck).code == code


@pytest.mark.parametrize("stuck", [False, True])
def test_then_its_time(*, stuck: bool) -> None:
    assert wait(NOW + 1, stuck=stuck).code == "due_at"


@pytest.mark.parametrize("due_at", [NOW, NOW - 1])
def test_what_is_due_is_queued_or_stuck(due_at: int) -> None:
    assert wait(due_at).code == "queued"
    assert wait(due_at, stuck=True).code == "stuck"


def test_an_endpoint_that_cannot_be_used_has_to_be_corrected_first() -> None:
    said = [wait(NOW, state=EndpointState.DISABLED, reason=reason).message for reason in (REASON_GONE, REASON_INVALID)]
    assert said == [
        "The endpoint is disabled (gone); resume it to go on.",
        "The endpoint is disabled (invalid_configuration); correct it, then resume it to go on.",
    ]


def test_a_first_attempt_is_not_called_the_next_one() -> None:
    """Law 4: never attempted is never shown as anything that happened."""
    sentences = [wait(NOW + 1, attempts=attempts).message for attempts in (0, 1)]
    assert sentences[0].startswith("The first attempt is due at 2027-")
    assert sentences[1].startswith("The next attempt is due at 2027-")
