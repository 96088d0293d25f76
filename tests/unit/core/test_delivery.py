import pytest

from posthouse.core.delivery import FINAL, OPEN, TRANSITIONS, Signal, State, open_state, step
from posthouse.core.errors import Conflict

#: Each row a state, each column a signal in the order below; a dash refuses.
SIGNALS = (Signal.SUCCEED, Signal.FAIL, Signal.GIVE_UP, Signal.DISCARD, Signal.RETRY)
TABLE = """
waiting    delivered retrying exhausted discarded waiting
retrying   delivered retrying exhausted discarded retrying
delivered  -         -        -         -         waiting
exhausted  -         -        -         -         waiting
discarded  -         -        -         -         waiting
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [(State(row[0]), signal, cell) for row in ROWS for signal, cell in zip(SIGNALS, row[1:], strict=True)]


def test_the_table_has_every_state_and_signal() -> None:
    assert {(state, signal) for state, signal, _ in CASES} == {(state, signal) for state in State for signal in Signal}


@pytest.mark.parametrize(("state", "signal", "cell"), CASES)
def test_every_state_and_signal_is_a_target_or_a_refusal(state: State, signal: Signal, cell: str) -> None:
    if cell == "-":
        assert (state, signal) not in TRANSITIONS
        with pytest.raises(Conflict) as caught:
            step(state, signal)
        assert caught.value.advice
    else:
        assert step(state, signal) is State(cell)


def test_a_state_is_open_or_final_and_never_both() -> None:
    assert set(State) == OPEN | FINAL
    assert not OPEN & FINAL


def test_a_settled_delivery_is_left_by_a_retry_only() -> None:
    assert {signal for state, signal in TRANSITIONS if state in FINAL} == {Signal.RETRY}


def test_every_state_takes_a_retry_and_is_open_afterwards() -> None:
    assert all(step(state, Signal.RETRY) in OPEN for state in State)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[State.DELIVERED, Signal.FAIL] = State.RETRYING  # type: ignore[index] # that it fails is the law


def test_an_open_delivery_was_attempted_or_not() -> None:
    """Status comes from facts: never attempted is never shown as retrying."""
    assert open_state(0) is State.WAITING
    assert open_state(1) is State.RETRYING
