"""The books of a whole store in a few numbers: what two stores with the same contents have in common."""

from collections.abc import Iterable

import msgspec

from posthouse.store.protocol import Books, SourceBooks


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all endpoints and sources, of both environments."""

    owed: int = 0
    delivered: int = 0
    waiting: int = 0
    retrying: int = 0
    exhausted: int = 0
    discarded: int = 0
    received: int = 0  #: requests to sources
    imbalance: int = 0  #: what is missing or there twice, of each endpoint and source, without sign


def tally_of(books: Iterable[Books], sources: Iterable[SourceBooks]) -> Tally:
    """The sums."""
    owed = delivered = waiting = retrying = exhausted = discarded = received = imbalance = 0
    for b in books:
        given_up = sum(b.discarded.values())
        owed += b.owed
        delivered += b.delivered
        waiting += b.waiting
        retrying += b.retrying
        exhausted += b.exhausted
        discarded += given_up
        imbalance += abs(b.owed - b.delivered - b.waiting - b.retrying - b.exhausted - given_up)
    for source in sources:
        received += source.received
        imbalance += abs(source.imbalance)
    return Tally(
        owed=owed,
        delivered=delivered,
        waiting=waiting,
        retrying=retrying,
        exhausted=exhausted,
        discarded=discarded,
        received=received,
        imbalance=imbalance,
    )
