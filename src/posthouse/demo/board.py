"""What a demonstration shows while it runs, and its reckoning at the end. Pure."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

BOOKS: Final = ("owed", "delivered", "waiting", "retrying", "exhausted", "discarded")


class Behaviour(StrEnum):
    """What a receiver does with requests."""

    GOOD = "good"  #: answers 200
    FLAKY = "flaky"  #: answers 503 to 30 % of them
    HANGING = "hanging"  #: holds connections without an answer until it recovers


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What one receiver has seen."""

    requests: int = 0
    verified: int = 0  #: whose signature the ``standardwebhooks`` package accepted
    bad_signatures: int = 0
    accepted: int = 0  #: distinct events that were answered with 200
    duplicates: int = 0  #: further 200s for an event that had one
    duplicates_over_kill: int = 0  #: those of them whose first 200 came before the kill and this one after it
    changed: int = 0  #: repeats with another body than the first time
    refused: int = 0  #: answered with 503
    held: int = 0  #: kept without an answer


class Row(msgspec.Struct, kw_only=True):
    """One endpoint on the board: the node's books beside the receiver's own count."""

    name: str
    behaviour: Behaviour
    endpoint: str
    books: Mapping[str, int] = {}
    tally: Tally = Tally()


class Moment(NamedTuple):
    """Something that happened."""

    at_s: float  #: since the start
    text: str


class Board(msgspec.Struct, kw_only=True):
    """Everything that is shown. The story changes it in place; who draws it only reads."""

    events_total: int
    now_s: float = 0.0
    acknowledged: int = 0  #: distinct events with a 202
    unanswered: int = 0  #: publishes that got no answer, or a refusal that asks for a repeat
    repeated: int = 0  #: of those, how many the node turned out to hold already
    node_up: bool = False
    imbalance: int = 0
    rows: list[Row] = []
    moments: list[Moment] = []

    def say(self, text: str) -> None:
        """Note that something happened."""
        self.moments.append(Moment(self.now_s, text))

    def balance(self, audit: Mapping[str, Any]) -> None:
        """Take over the node's books."""
        self.imbalance = audit["imbalance"]
        by_endpoint = {entry["endpoint"]: entry for entry in audit["endpoints"]}
        for row in self.rows:
            entry = by_endpoint.get(row.endpoint, {})
            row.books = {name: entry.get(name, 0) for name in BOOKS}

    @property
    def open(self) -> int:
        """Deliveries that are still owed, by the node's books as last read."""
        return sum(row.books.get("waiting", 0) + row.books.get("retrying", 0) for row in self.rows)


class Reckoning(msgspec.Struct, frozen=True, kw_only=True):
    """What the receivers say at the end, held against what the publisher was promised."""

    acknowledged: int
    owed: int  #: acknowledged events times receivers
    delivered: int  #: of those, how many the receivers have
    lost: int  #: the rest
    altered: int  #: events whose data arrived with other bytes than were published
    verified: int
    bad_signatures: int
    duplicates: int
    unexplained: int  #: duplicates that the kill does not explain
    imbalance: int

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.altered or self.bad_signatures or self.imbalance)


def reckon(
    promised: Mapping[str, str],
    received: Collection[Mapping[str, str]],
    tallies: Collection[Tally],
    *,
    imbalance: int,
) -> Reckoning:
    """The reckoning.

    Args:
        promised: event id → hash of its data, for every event that got a 202.
        received: for each receiver the same, for every event that it answered with 200.
        tallies: each receiver's own counts.
        imbalance: of the node's audit.
    """
    delivered = sum(len(promised.keys() & ledger.keys()) for ledger in received)
    altered = sum(ledger[event] != promised[event] for ledger in received for event in promised.keys() & ledger.keys())
    owed = len(promised) * len(received)
    duplicates = sum(tally.duplicates for tally in tallies)
    return Reckoning(
        acknowledged=len(promised),
        owed=owed,
        delivered=delivered,
        lost=owed - delivered,
        altered=altered + sum(tally.changed for tally in tallies),
        verified=sum(tally.verified for tally in tallies),
        bad_signatures=sum(tally.bad_signatures for tally in tallies),
        duplicates=duplicates,
        unexplained=duplicates - sum(tally.duplicates_over_kill for tally in tallies),
        imbalance=imbalance,
    )
