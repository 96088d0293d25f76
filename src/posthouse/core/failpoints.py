"""The boundaries at which a process may die: every place where work passes from one keeper to the next.

The node says at each of them where it stands, through a port that does nothing. Tests put something
there that ends the process, cuts the power or raises, and see what is found afterwards. A test lists
all of them, so a boundary without a name fails the build.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final


class Failpoint(StrEnum):
    """A place between two steps. Its name says what is done; the next step is not."""

    # From a request to its 202.
    ACCEPT_ROUTED = "accept.routed"  #: checked and routed; nobody else knows of it
    ACCEPT_HANDED_IN = "accept.handed_in"  #: on its way to the store
    ACCEPT_BEGUN = "accept.begun"  #: a transaction is open, nothing is written
    ACCEPT_IDENTIFIED = "accept.identified"  #: identities are written, events are not
    ACCEPT_WRITTEN = "accept.written"  #: all rows are written, not committed
    ACCEPT_DURABLE = "accept.durable"  #: committed; nobody was told
    ACCEPT_ANSWERED = "accept.answered"  #: the caller has its answer, the engine knows nothing

    # From a sender's request to its answer.
    RECEIVE_HANDED_IN = "receive.handed_in"  #: judged, and on its way to the store
    RECEIVE_DURABLE = "receive.durable"  #: committed; nobody was told
    RECEIVE_ANSWERED = "receive.answered"  #: the sender has its answer, the inbox knows nothing

    # From a request that is kept to the events in it.
    INBOX_LOOKING = "inbox.looking"  #: about to read the head of a source's part
    INBOX_LOOKED = "inbox.looked"  #: read from the store, not yet in its tray
    INBOX_READ = "inbox.read"  #: read and routed; nobody else knows of it
    INBOX_DURABLE = "inbox.durable"  #: its events are committed, and it is out of the inbox; the engine knows nothing
    INBOX_DONE = "inbox.done"  #: the engine knows its events

    # From the store's rows to a node's memory.
    ADOPT_OFFERED = "adopt.offered"  #: newly accepted work is on the board, or left to the store
    ADOPT_SURVEYING = "adopt.surveying"  #: about to ask which queues have work
    ADOPT_SURVEYED = "adopt.surveyed"  #: the store has said which queues have work
    ADOPT_READING = "adopt.reading"  #: about to read the head of a queue
    ADOPT_READ = "adopt.read"  #: read, not yet on the board

    # One request to an endpoint.
    SEND_CHOSEN = "send.chosen"  #: out of its window; nothing is signed
    SEND_SIGNED = "send.signed"  #: about to leave
    SEND_ANSWERED = "send.answered"  #: its outcome is known, and only in memory

    # From an outcome to its rows.
    SETTLE_DECIDED = "settle.decided"  #: what becomes of it is decided
    SETTLE_HANDED_IN = "settle.handed_in"  #: on its way to the store
    SETTLE_FENCED = "settle.fenced"  #: a transaction is open, the epochs are checked, nothing is written
    SETTLE_WRITTEN = "settle.written"  #: all rows are written, not committed
    SETTLE_DURABLE = "settle.durable"  #: committed; the engine knows nothing
    SETTLE_DONE = "settle.done"  #: out of hand, and what comes next is arranged

    # Whose the slots are.
    LEASE_ASKED = "lease.asked"  #: about to ask for slots, or for more time
    LEASE_WRITTEN = "lease.written"  #: the slots are written, not committed
    LEASE_HELD = "lease.held"  #: committed; the node does not act on it yet
    LEASE_RELEASING = "lease.releasing"  #: nothing is sent any more, the slots are still ours
    LEASE_RELEASED = "lease.released"  #: the slots are free

    # A new version's schema.
    MIGRATE_BEGUN = "migrate.begun"  #: a transaction is open
    MIGRATE_APPLIED = "migrate.applied"  #: the step's statements have run
    MIGRATE_RECORDED = "migrate.recorded"  #: the step is in the books, not committed
    MIGRATE_DONE = "migrate.done"  #: committed

    # Any transaction, and the log of the embedded store.
    COMMIT_BEGUN = "commit.begun"  #: the write lock is held
    COMMIT_DUE = "commit.due"  #: everything is written; COMMIT comes next
    COMMIT_SENT = "commit.sent"  #: on its way to a database, which has not answered
    COMMIT_DONE = "commit.done"  #: COMMIT has returned, on the side that blocks
    COMMIT_KNOWN = "commit.known"  #: the loop knows it; nobody else was told
    CHECKPOINT_DUE = "checkpoint.due"  #: the log is about to be copied into the file
    CHECKPOINT_DONE = "checkpoint.done"  #: it is copied

    # A connection to a database.
    LANE_LOST = "lane.lost"  #: it ended; nobody who waits was told, and none is made yet
    LANE_BACK = "lane.back"  #: there is one again; nobody who remembers rows was told


#: What only a store in a database comes to: its answer is not the return of a call, and its connection may end.
OF_DATABASES: Final = frozenset({Failpoint.COMMIT_SENT, Failpoint.LANE_LOST, Failpoint.LANE_BACK})

#: Called with each boundary as it is reached. Whatever it raises ends that step there.
Reach = Callable[[Failpoint], None]


def _nothing(_: Failpoint) -> None:
    """Go on."""


pass_by: Final[Reach] = _nothing
