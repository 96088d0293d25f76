"""What an open delivery waits for: always one reason, the one that counts, in one sentence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.model import EndpointState, Lane
from posthouse.core.rules import Batch, Rules, TenantRules
from posthouse.core.waiting import Hold, Wait, Waiting, wait_of

NOW = 1_800_000_000_000
SOON = NOW + 5_000
SOON_TEXT = "2027-01-15T08:00:05.000Z"
TOLD_BY_THE_NODE = [
    hold
    for hold in Hold
    if hold not in {Hold.ENDPOINT_PAUSED, Hold.ENDPOINT_DISABLED, Hold.PARKED, Hold.ORDER, Hold.DUE_AT, Hold.QUEUED}
]
UNDER_WAY = {Hold.IN_FLIGHT, Hold.SETTLING}
BEFORE_ITS_TIME = {*UNDER_WAY, Hold.BREAKER_OPEN, Hold.RECOVERING}


def wait(held_by: Hold | None = None, until: int | None = None, **fields: Any) -> Wait:
    given_fields = {"lane": Lane.LIVE, "attempts": 0, "due_at": NOW, **fields}
    return wait_of(Waiting(**given_fields), held_by=held_by, until=until, now=NOW)


@given(
    held_by=st.sampled_from([None, *TOLD_BY_THE_NODE]),
    until=st.none() | st.integers(NOW, NOW + 10**9),
    lane=st.sampled_from(Lane),
    attempts=st.integers(0, 3),
    due_at=st.integers(NOW - 10, NOW + 10),
    behind=st.none() | st.just("dlv_1"),
    state=st.sampled_from(EndpointState),
    reason=st.none() | st.just("gone"),
    is_reordering=st.booleans(),
)
def test_there_is_always_one_sentence_and_a_known_code(
    held_by: Hold | None, until: int | None, state: EndpointState, reason: str | None, **fields: Any
) -> None:
    said = wait(held_by, until, endpoint_state=state, state_reason=reason, **fields)
    assert said.code in Hold
    assert said.message.endswith(".")
    assert said.message[0].isupper()
    assert "\n" not in said.message
    assert "None" not in said.message


@pytest.mark.parametrize("due_at", [NOW - 1, NOW + 1])
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"endpoint_state": EndpointState.PAUSED}, Hold.ENDPOINT_PAUSED),
        ({"endpoint_state": EndpointState.DISABLED}, Hold.ENDPOINT_DISABLED),
        ({"endpoint_state": EndpointState.DELETED}, Hold.ENDPOINT_DISABLED),
        ({"is_reordering": True}, Hold.ENDPOINT_PAUSED),
        ({"lane": Lane.PARKED}, Hold.PARKED),
        ({"behind": "dlv_1"}, Hold.ORDER),
        ({"lane": Lane.PARKED, "behind": "dlv_1", "endpoint_state": EndpointState.PAUSED}, Hold.ENDPOINT_PAUSED),
    ],
)
def test_what_holds_until_somebody_lets_go_comes_first(fields: dict[str, Any], code: Hold, due_at: int) -> None:
    for held_by in (None, *TOLD_BY_THE_NODE):
        expected = held_by if held_by in UNDER_WAY else code
        assert wait(held_by, SOON, due_at=due_at, **fields).code is expected


@pytest.mark.parametrize("held_by", [None, *TOLD_BY_THE_NODE])
def test_then_its_time_unless_the_endpoint_is_not_well(held_by: Hold | None) -> None:
    said = wait(held_by, due_at=SOON)
    if held_by in BEFORE_ITS_TIME:
        assert said.code is held_by
    else:
        assert (said.code, said.until) == (Hold.DUE_AT, SOON)
        assert said.message == f"The first attempt is due at {SOON_TEXT}."


def test_a_first_attempt_is_not_called_the_next_one() -> None:
    """Law 4: never attempted is never shown as anything that happened."""
    assert wait(due_at=SOON, attempts=1).message == f"The next attempt is due at {SOON_TEXT}."


@pytest.mark.parametrize("held_by", TOLD_BY_THE_NODE)
def test_what_is_due_is_held_by_what_the_node_says(held_by: Hold) -> None:
    said = wait(held_by, None if held_by in UNDER_WAY else SOON)
    assert said.code is held_by
    assert held_by in UNDER_WAY or SOON_TEXT in said.message
    assert wait(held_by).until is None


def test_what_nothing_holds_is_queued() -> None:
    assert wait().code is Hold.QUEUED


@pytest.mark.parametrize(
    ("held_by", "rules", "said"),
    [
        (Hold.RATE, {"rules": Rules(rate="70/m")}, "The endpoint gets at most 70/m; it goes on at"),
        (Hold.TENANT_RATE, {"tenant_rules": TenantRules(rate="5/s")}, "The endpoints of its tenant get at most 5/s"),
        (Hold.ENDPOINT_CAP, {"rules": Rules(in_flight_max=3)}, "As many requests as may be (3) are on their way"),
        (Hold.ENDPOINT_CAP, {}, "As many requests as may be are on their way to the endpoint now"),
        (Hold.TENANT_CAP, {"tenant_rules": TenantRules(in_flight_max=7)}, "As many requests as may be (7)"),
        (Hold.BATCH, {"rules": Rules(batch=Batch(50, 200))}, "A batch leaves with 50 events, or 200 ms after its"),
    ],
)
def test_a_sentence_names_the_rule_itself(held_by: Hold, rules: dict[str, Any], said: str) -> None:
    assert wait(held_by, SOON, **rules).message.startswith(said)


def test_what_disabled_an_endpoint_may_have_to_be_corrected_first() -> None:
    held: dict[str, Any] = {"endpoint_state": EndpointState.DISABLED, "state_reason": "why"}
    assert wait(**held).message == "The endpoint is disabled (why); resume it to go on."
    assert (
        wait(**held, is_correctable=True).message
        == "The endpoint is disabled (why); correct it, then resume it to go on."
    )


def test_what_stands_behind_names_what_goes_first() -> None:
    assert "dlv_9" in wait(behind="dlv_9").message
