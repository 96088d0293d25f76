"""The table of what becomes of a write: every row of it, for each thing that can be sent."""

import asyncpg
import pytest

from posthouse.core.errors import PosthouseError, StoreUnavailable
from posthouse.store.postgres.outcome import (
    Contended,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Refused,
    Sent,
    Verdict,
    judge,
    unanswered,
)

SINGLE, STEP, COMMIT = Sent.SINGLE, Sent.STEP, Sent.COMMIT
DONE, AGAIN, REFUSED, UNKNOWN = Verdict.DONE, Verdict.AGAIN, Verdict.REFUSED, Verdict.UNKNOWN


def message(state: str, *, severity: str = "ERROR", constraint: str | None = None) -> asyncpg.PostgresError:
    """What the server says, as the driver raises it; its words are translated, so nobody looks at them."""
    fields = {"C": state, "V": severity, "S": "FEHLER", "M": "…"}
    if constraint is not None:
        fields["n"] = constraint
    error = asyncpg.PostgresError.new(fields)
    assert isinstance(error, asyncpg.PostgresError)
    return error


DEFINITE = ["22001", "22021", "23502", "23514", "23505", "42P01", "42601", "54000", "21000", "0A000", "P0001"]
PASSING = ["53200", "53300", "57014", "55006", "40000"]
TRANSIENT = ["40001", "40P01"]
BROKEN = ["08006", "08003", "57P01", "57P02", "57P03", "57P04", "57P05", "40003", "XX000", "XX001", "58030", "58P01"]


@pytest.mark.parametrize("sent", Sent)
@pytest.mark.parametrize("state", DEFINITE)
def test_an_error_of_a_server_that_goes_on_is_a_refusal(sent: Sent, state: str) -> None:
    outcome = judge(sent, error=message(state))
    assert outcome.verdict is REFUSED
    assert isinstance(outcome.error, Refused)
    assert outcome.error.sqlstate == state


@pytest.mark.parametrize("sent", Sent)
@pytest.mark.parametrize("state", [*PASSING, "53100", "25006"])
def test_what_is_nobodys_fault_is_no_refusal_of_the_request(sent: Sent, state: str) -> None:
    """Nothing was written; the same request may be sent again later."""
    outcome = judge(sent, error=message(state))
    assert outcome.verdict is REFUSED
    assert type(outcome.error) is StoreUnavailable


def test_a_full_disk_is_said() -> None:
    outcome = judge(SINGLE, error=message("53100"))
    assert outcome.error is not None
    assert "disk is full" in outcome.error.message


@pytest.mark.parametrize("sent", Sent)
@pytest.mark.parametrize("state", TRANSIENT)
def test_what_rivals_were_in_the_way_of_is_tried_again(sent: Sent, state: str) -> None:
    outcome = judge(sent, error=message(state))
    assert (outcome.verdict, outcome.tries) == (AGAIN, 5)
    assert isinstance(outcome.error, Contended)


def test_what_waited_for_seconds_is_tried_again_once() -> None:
    outcome = judge(SINGLE, error=message("55P03"))
    assert (outcome.verdict, outcome.tries) == (AGAIN, 2)


@pytest.mark.parametrize("constraint", ["identities_pkey", "obligations_ahead", "reopened_pkey"])
def test_who_came_second_looks_again(constraint: str) -> None:
    assert judge(SINGLE, error=message("23505", constraint=constraint)).verdict is AGAIN


def test_who_breaks_another_rule_is_told_which() -> None:
    outcome = judge(SINGLE, error=message("23505", constraint="attempts_pkey"))
    assert isinstance(outcome.error, Refused)
    assert (outcome.error.sqlstate, outcome.error.constraint) == ("23505", "attempts_pkey")


@pytest.mark.parametrize("state", BROKEN)
@pytest.mark.parametrize(("sent", "verdict"), [(SINGLE, UNKNOWN), (COMMIT, UNKNOWN), (STEP, REFUSED)])
def test_a_server_that_gave_up_may_have_committed(sent: Sent, verdict: Verdict, state: str) -> None:
    """But not what no COMMIT was sent for."""
    outcome = judge(sent, error=message(state))
    assert outcome.verdict is verdict
    assert isinstance(outcome.error, StoreUnavailable)
    assert isinstance(outcome.error, OutcomeUnknown) is (verdict is UNKNOWN)


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
@pytest.mark.parametrize(("sent", "verdict"), [(SINGLE, UNKNOWN), (COMMIT, UNKNOWN), (STEP, REFUSED)])
def test_an_error_that_ends_the_connection_may_come_after_the_commit(
    sent: Sent, verdict: Verdict, severity: str
) -> None:
    assert judge(sent, error=message("42501", severity=severity)).verdict is verdict


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), EOFError(), RuntimeError()])
@pytest.mark.parametrize(("sent", "verdict"), [(SINGLE, UNKNOWN), (COMMIT, UNKNOWN), (STEP, REFUSED)])
def test_what_is_not_the_servers_word_says_nothing(sent: Sent, verdict: Verdict, error: Exception) -> None:
    assert judge(sent, error=error).verdict is verdict


@pytest.mark.parametrize(("sent", "verdict"), [(SINGLE, UNKNOWN), (COMMIT, UNKNOWN), (STEP, REFUSED)])
def test_on_a_lost_connection_any_error_says_nothing(sent: Sent, verdict: Verdict) -> None:
    for error in (message("23505"), message("40001"), asyncpg.InterfaceError("connection is closed")):
        assert judge(sent, error=error, lost=True).verdict is verdict


@pytest.mark.parametrize("sent", Sent)
def test_what_the_driver_did_not_send_is_refused(sent: Sent) -> None:
    outcome = judge(sent, error=asyncpg.InterfaceError("the server expects 1 argument"))
    assert outcome.verdict is REFUSED
    assert isinstance(outcome.error, Refused)


@pytest.mark.parametrize("sent", Sent)
def test_what_found_no_connection_was_not_written(sent: Sent) -> None:
    outcome = judge(sent, error=NotSent(), lost=True)
    assert outcome.verdict is REFUSED
    assert type(outcome.error) is StoreUnavailable


@pytest.mark.parametrize("sent", Sent)
def test_a_statement_of_an_older_schema_is_prepared_anew(sent: Sent) -> None:
    outcome = judge(sent, error=asyncpg.InvalidCachedStatementError("cached plan must not change result type"))
    assert outcome.verdict is AGAIN


@pytest.mark.parametrize(("sent", "verdict"), [(SINGLE, UNKNOWN), (COMMIT, UNKNOWN), (STEP, DONE)])
def test_an_answer_with_a_warning_is_no_answer(sent: Sent, verdict: Verdict) -> None:
    """A wait for a standby that was cut short ends with a tag and a warning; the words are translated."""
    outcome = judge(sent, tag="COMMIT", warnings=["Abbruch des Wartens"])
    assert outcome.verdict is verdict


def test_an_answer_is_an_answer() -> None:
    assert judge(SINGLE, tag="INSERT 0 1") == Outcome(DONE)
    assert judge(STEP, tag="BEGIN") == Outcome(DONE)
    assert judge(COMMIT, tag="COMMIT") == Outcome(DONE)


def test_a_commit_that_rolled_back_says_so_in_its_tag_only() -> None:
    outcome = judge(COMMIT, tag="ROLLBACK")
    assert outcome.verdict is REFUSED
    assert isinstance(outcome.error, Refused)


@pytest.mark.parametrize(("sent", "verdict"), [(SINGLE, UNKNOWN), (COMMIT, UNKNOWN), (STEP, REFUSED)])
def test_no_answer_in_time(sent: Sent, verdict: Verdict) -> None:
    outcome = unanswered(sent)
    assert outcome.verdict is verdict
    assert isinstance(outcome.error, StoreUnavailable)


@pytest.mark.parametrize("error", [message("23505"), message("XX000"), message("40001"), message("53100")])
def test_the_cause_is_kept(error: asyncpg.PostgresError) -> None:
    told = judge(SINGLE, error=error).error
    assert isinstance(told, PosthouseError)
    assert told.__cause__ is error
