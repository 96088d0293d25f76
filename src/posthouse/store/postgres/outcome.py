"""What became of a statement: the one place that looks at SQLSTATEs.

A write is done, refused (nothing of it was written) or unknown. An unknown one is never told as either of the
others: whoever asked must ask again, and the statements are made so that asking again is safe.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

import asyncpg
import msgspec

from posthouse.core.errors import PosthouseError, StoreUnavailable


class OutcomeUnknown(StoreUnavailable):
    """The store did not say whether the write is durable; it may be or not."""


class NotSent(Exception):
    """The connection was found closed before anything was sent."""


class Contended(StoreUnavailable):
    """Other writers were in the way each time; nothing was written."""


class Refused(PosthouseError):
    """The database refused a write, and nothing of it was written."""

    def __init__(self, message: str, *, sqlstate: str = "", constraint: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        #: Which constraint stood against it, or "".
        self.constraint = constraint


class Sent(Enum):
    """What was sent when something happened."""

    SINGLE = "single"  #: a statement that is a transaction of its own
    STEP = "step"  #: part of an explicit transaction, before its COMMIT
    COMMIT = "commit"  #: the end of an explicit transaction


class Verdict(Enum):
    """What is known of it."""

    DONE = "done"  #: it is durable, or part of a transaction that is still open
    AGAIN = "again"  #: nothing was written, and the same may go through in the next moment
    REFUSED = "refused"  #: nothing was written
    UNKNOWN = "unknown"  #: it may have been written


class Outcome(msgspec.Struct, frozen=True):
    """The verdict, and what to tell whoever asked."""

    verdict: Verdict
    error: PosthouseError | None = None
    tries: int = 1  #: how often in all the same may be tried


DONE: Final = Outcome(Verdict.DONE)

#: Uniqueness that two writers can run into without a fault of theirs: who comes second sees the first's rows then.
RACES: Final = frozenset({"identities_pkey", "obligations_ahead", "reopened_pkey"})

#: What the name of a constraint has in it, where it is of one day of a table.
_PART: Final = re.compile(r"_(rest|[0-9]+)(?=_)")

_DISK_FULL: Final = "53100"
_UNIQUE: Final = "23505"
_READ_ONLY: Final = "25006"
_COMPLETION_UNKNOWN: Final = "40003"
_LOCK_TIMEOUT: Final = "55P03"
_TRANSIENT: Final = frozenset({"40001", "40P01", _LOCK_TIMEOUT})
_TRIES: Final = 5
_TRIES_SLOW: Final = 2  #: of what waits for seconds each time
_BROKEN: Final = ("08", "XX", "58", "57P")  #: the server, or the way to it, gave up
_BUSY: Final = ("53", "55", "57", "40")  #: nobody's fault, and it may pass


def judge(
    sent: Sent, *, error: BaseException | None = None, tag: str = "", warnings: Sequence[str] = (), lost: bool = False
) -> Outcome:
    """The verdict on what was sent.

    Args:
        sent: What it was.
        error: What was raised instead of an answer.
        tag: The command tag of the answer.
        warnings: Notices of severity WARNING since it was sent. Cut short, the wait for a standby says so in one.
        lost: The connection is gone.
    """
    if error is not None:
        return _judge_error(sent, error, lost=lost)
    if sent is Sent.STEP:
        return DONE
    if warnings:
        return _unknown(f"The server warned: {warnings[0]}", None)
    if sent is Sent.COMMIT and tag != "COMMIT":
        return Outcome(Verdict.REFUSED, Refused(f"The server answered a COMMIT with {tag!r}."))
    return DONE


def unanswered(sent: Sent) -> Outcome:
    """The verdict on what has no answer in time: the transaction of a step is not committed any more."""
    if sent is Sent.STEP:
        return Outcome(Verdict.REFUSED, StoreUnavailable("The database does not answer; nothing was written."))
    return _unknown("It does not answer.", None)


def _judge_error(sent: Sent, error: BaseException, *, lost: bool) -> Outcome:
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, NotSent):
        message = "The connection to the database was lost; nothing was written."
        return Outcome(Verdict.REFUSED, _caused(StoreUnavailable(message, retry_after_s=1), error))
    if (
        isinstance(error, asyncpg.InterfaceError) and not lost
    ):  # the driver did not send it: a value that cannot be sent
        return Outcome(Verdict.REFUSED, _caused(Refused(f"The store refused a write: {error}", sqlstate=state), error))
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Outcome(Verdict.AGAIN, _caused(Contended(f"The schema is being changed: {error}"), error), _TRIES)
    if lost or _is_broken(error, state):
        if sent is not Sent.STEP:
            return _unknown(f"{type(error).__name__}: {error}", error)
        message = f"The database was lost before anything was committed ({type(error).__name__}: {error})."
        return Outcome(Verdict.REFUSED, _caused(StoreUnavailable(message), error))
    return _judge_message(error, state)


def _judge_message(error: BaseException, state: str) -> Outcome:
    """An error message of a server that goes on: whatever it was, it was rolled back."""
    constraint = _PART.sub("", getattr(error, "constraint_name", None) or "")
    if state in _TRANSIENT or (state == _UNIQUE and constraint in RACES):
        tries = _TRIES_SLOW if state == _LOCK_TIMEOUT else _TRIES
        return Outcome(Verdict.AGAIN, _caused(Contended(f"Other writers were in the way: {error}"), error), tries)
    if state == _DISK_FULL:
        return Outcome(Verdict.REFUSED, _caused(StoreUnavailable(f"The disk is full: {error}"), error))
    if state == _READ_ONLY or state.startswith(_BUSY):
        return Outcome(Verdict.REFUSED, _caused(StoreUnavailable(f"The store cannot write now: {error}"), error))
    message = f"The store refused a write: {error}"
    return Outcome(Verdict.REFUSED, _caused(Refused(message, sqlstate=state, constraint=constraint), error))


def _is_broken(error: BaseException, state: str) -> bool:
    if not isinstance(error, asyncpg.PostgresError):
        return True  # of the socket, or of the driver: nobody knows what the server made of it
    severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)
    return severity in {"FATAL", "PANIC"} or state == _COMPLETION_UNKNOWN or state.startswith(_BROKEN)


def _unknown(what: str, error: BaseException | None) -> Outcome:
    message = f"The outcome of a write is unknown. {what}"
    return Outcome(Verdict.UNKNOWN, _caused(OutcomeUnknown(message, retry_after_s=1), error))


def _caused(error: PosthouseError, cause: BaseException | None) -> PosthouseError:
    error.__cause__ = cause
    return error
