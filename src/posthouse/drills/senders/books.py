"""What a sender knows of its events: what it sent, what it was answered, and what it takes each for."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from posthouse.drills.events import digest_of
from posthouse.drills.senders.wire import Failure


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event, as its preset has to read it."""

    key: str  #: of the books; the sender's own id where it has one
    type: str
    data: bytes
    identity: str | None = None  #: the sender's own id

    @property
    def digest(self) -> bytes:
        """What tells its type and data from any other's; see :func:`posthouse.drills.events.digest_of_body`."""
        return digest_of(self.type.encode(), self.data)


class Fate(StrEnum):
    """What the sender takes an event for."""

    WAITING = "waiting"  #: it was not sent yet
    RETRYING = "retrying"  #: it was sent, and will be again
    DELIVERED = "delivered"
    LOST = "lost"  #: it will not be sent again
    EXPIRED = "expired"  #: it became too old before it could be sent


class Attempt(NamedTuple):
    """One request, for each event in it."""

    at_s: float  #: seconds of the sender's time
    result: int | Failure  #: the status of the answer


class Entry(msgspec.Struct, gc=False):
    """What is known of one event."""

    type: str
    digest: bytes = b""  #: of the event; empty until it is sent
    first_sent_at: int | None = None  #: Unix ms
    attempts: tuple[Attempt, ...] = ()
    fate: Fate = Fate.WAITING

    @property
    def statuses(self) -> list[int | Failure]:
        """What each attempt was answered."""
        return [attempt.result for attempt in self.attempts]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The books in numbers. Events, except where something else is said."""

    events: int
    sent: int  #: at least once
    delivered: int
    retried: int  #: sent more than once
    retrying: int
    waiting: int
    lost: int
    expired: int
    requests: int
    heartbeats: int  #: requests that hold no event
    codes: dict[str, int]  #: status or failure → requests

    @property
    def is_complete(self) -> bool:
        """Whether every event was delivered."""
        return self.delivered == self.events

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return msgspec.structs.asdict(self)


class Books:
    """Every event of one sender."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.codes: Counter[str] = Counter()
        self.heartbeats = 0
        self._fates: Counter[Fate] = Counter()
        self._sent = 0
        self._retried = 0

    @property
    def delivered(self) -> int:
        """How many events the sender takes for delivered."""
        return self._fates[Fate.DELIVERED]

    def open(self, key: str, event_type: str) -> None:
        """An event came to be. Raises ValueError if this key is taken."""
        if key in self.entries:
            raise ValueError(f"There is an event {key} already.")
        self.entries[key] = Entry(event_type)
        self._fates[Fate.WAITING] += 1

    def attempted(self, events: Sequence[Event], attempt: Attempt, *, began_at: int) -> None:
        """A request with these events was answered, or failed; with none of them it was a heartbeat."""
        self.codes[str(attempt.result)] += 1
        self.heartbeats += not events
        for event in events:
            entry = self.entries[event.key]
            if entry.first_sent_at is None:
                entry.first_sent_at = began_at
                entry.digest = event.digest
                self._sent += 1
            self._retried += len(entry.attempts) == 1
            entry.attempts = (*entry.attempts, attempt)

    def settle(self, keys: Sequence[str], fate: Fate) -> None:
        """The sender takes these for something else than before."""
        for key in keys:
            entry = self.entries[key]
            self._fates[entry.fate] -= 1
            self._fates[fate] += 1
            entry.fate = fate

    def named(self, fate: Fate) -> list[str]:
        """The keys of all events with this fate, oldest first."""
        return [key for key, entry in self.entries.items() if entry.fate is fate]

    def totals(self) -> Totals:
        """The numbers."""
        return Totals(
            events=len(self.entries),
            sent=self._sent,
            delivered=self._fates[Fate.DELIVERED],
            retried=self._retried,
            retrying=self._fates[Fate.RETRYING],
            waiting=self._fates[Fate.WAITING],
            lost=self._fates[Fate.LOST],
            expired=self._fates[Fate.EXPIRED],
            requests=self.codes.total(),
            heartbeats=self.heartbeats,
            codes=dict(sorted(self.codes.items())),
        )
