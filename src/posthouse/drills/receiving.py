"""What simulated senders send, and what arrived of it. Pure, but for the wire.

Each side has ids of its own, so an event is known by what it says: the digest of its type and data.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from posthouse.drills.http_client import Answer
from posthouse.drills.measures import P99, in_ms, percentile
from posthouse.drills.receivers import Inbox
from posthouse.drills.reckoning import Reckoning
from posthouse.drills.report import Then
from posthouse.drills.senders.books import Entry, Fate
from posthouse.drills.senders.wire import Failure, Request, Wire

ANSWER_P99_MS_MAX: Final = 250.0
ANSWER_MS_MAX: Final = 4_000.0  #: the least patient sender waits for 5 s
_MS: Final = 1_000


class SourceBooks(msgspec.Struct, frozen=True):
    """What ``GET /v1/audit`` counts for one source."""

    received: int
    waiting: int
    read: int
    quarantined: int
    events: int
    duplicates: int
    doubted: int
    imbalance: int


class Entrance(msgspec.Struct, frozen=True):
    """A source of the node."""

    source: str  #: its id
    url: str
    secret: str


class Stopwatch:
    """A wire that remembers how long each request took, with an answer or without.

    Args:
        wire: what it sends through.
    """

    def __init__(self, wire: Wire) -> None:
        self.seconds: list[float] = []
        self._wire = wire

    async def send(self, request: Request, *, deadline_s: float, connect_s: float | None = None) -> Answer | Failure:
        """See :meth:`posthouse.drills.senders.wire.Wire.send`."""
        began = time.monotonic()
        try:
            return await self._wire.send(request, deadline_s=deadline_s, connect_s=connect_s)
        finally:
            self.seconds.append(time.monotonic() - began)


def first_handled(inbox: Inbox) -> dict[bytes, float]:
    """Digest → when an event that says this was first handled at this receiver, monotonic."""
    found: dict[bytes, float] = {}
    for event, seen in inbox.seen.items():
        at = inbox.first_answered_at(event)
        if at is not None and at < found.get(seen.digest, float("inf")):
            found[seen.digest] = at
    return found


def reckon_received(entries: Collection[Entry], inboxes: Collection[Inbox], *, strays: int = 0) -> Reckoning:
    """What arrived against what a sender was told that it is taken.

    Args:
        entries: of the sender's books.
        inboxes: every receiver.
        strays: requests to a path that is no receiver's.
    """
    found = Reckoning(misrouted=strays)
    types = {entry.digest: entry.type for entry in entries if entry.digest}
    for inbox in inboxes:
        found.forged += inbox.forged
        found.altered += inbox.altered
        answered: Counter[bytes] = Counter()
        for seen in inbox.seen.values():
            answered[seen.digest] += seen.answered
            event_type = types.get(seen.digest)
            found.altered += event_type is None
            found.misrouted += event_type is not None and not inbox.wants(event_type)
        for entry in entries:
            if entry.fate is Fate.DELIVERED and inbox.wants(entry.type):
                found.owed += 1
                found.delivered += answered[entry.digest] > 0
        repeats = [count - 1 for count in answered.values() if count > 1]
        found.duplicates += sum(repeats)
        found.duplicates_max = max(found.duplicates_max, *repeats, 0)
    found.lost = found.owed - found.delivered
    return found


def transits(
    entries: Iterable[Entry], handled: Mapping[bytes, float], *, epoch: float, since: float, until: float, now: float
) -> list[float]:
    """Seconds from the sender's first request with each of these events to its handling at a receiver.

    Only of events that were taken, and first sent from ``since`` to before ``until`` (monotonic, as ``now`` is). One
    that is not handled yet has taken until now.

    Args:
        entries: of the sender's books, which count Unix time.
        handled: digest → when it was first handled, monotonic.
        epoch: Unix seconds when the monotonic clock was 0.
        since: see above.
        until: see above.
        now: see above.
    """
    found = []
    for entry in entries:
        if entry.first_sent_at is None or entry.fate is not Fate.DELIVERED:
            continue
        sent_at = entry.first_sent_at / _MS - epoch
        if since <= sent_at < until:
            found.append(max(handled.get(entry.digest, now) - sent_at, 0.0))
    return found


def epoch_now() -> float:
    """Unix seconds when the monotonic clock was 0."""
    return time.time() - time.monotonic()


def answer_rules(seconds: Sequence[float]) -> list[Then]:
    """How soon a sender must be answered, whatever happens. ``seconds``: that its requests took."""
    return [
        Then("p99 of the answers to the sender", in_ms(percentile(seconds, P99)), "≤", ANSWER_P99_MS_MAX, "ms"),
        Then("the longest of them", in_ms(max(seconds, default=0.0)), "≤", ANSWER_MS_MAX, "ms"),
    ]


def source_rules(books: SourceBooks) -> list[Then]:
    """What must hold of a source at the end, if all that it got was genuine and readable."""
    return [
        Then("requests that were kept and not passed on", books.waiting, "=", 0),
        Then("requests and events in quarantine", books.quarantined + books.doubted, "=", 0),
        Then("difference in the source's books", books.imbalance, "=", 0),
    ]
