"""What an open delivery waits for: always one reason, and the one that counts."""

import pytest

from posthouse.core.delivery import State
from posthouse.core.model import EndpointState, Environment, Lane
from posthouse.gateway.deliveries import wait_of
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
    wait = wait_of(record(due_at), endpoint_state=state, state_reason="gone", in_flight=in_flight, now=NOW)
    assert wait.code == code


@pytest.mark.parametrize(("due_at", "code"), [(NOW + 1, "due_at"), (NOW, "queued"), (NOW - 1, "queued")])
def test_then_its_time(due_at: int, code: str) -> None:
    wait = wait_of(record(due_at), endpoint_state=EndpointState.ACTIVE, state_reason=None, in_flight=False, now=NOW)
    assert wait.code == code


def test_a_first_attempt_is_not_called_the_next_one() -> None:
    """Law 4: never attempted is never shown as anything that happened."""
    sentences = [
        wait_of(
            record(NOW + 1, attempts), endpoint_state=EndpointState.ACTIVE, state_reason=None, in_flight=False, now=NOW
        ).message
        for attempts in (0, 1)
    ]
    assert sentences[0].startswith("The first attempt is due at 2027-")
    assert sentences[1].startswith("The next attempt is due at 2027-")
