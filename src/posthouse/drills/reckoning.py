"""What arrived, held against what was promised. Pure."""

from collections.abc import Collection, Container, Mapping

import msgspec

from posthouse.drills.publisher import Sent
from posthouse.drills.receivers import Inbox


class Reckoning(msgspec.Struct, kw_only=True):
    """Counts of deliveries over all receivers."""

    owed: int = 0  #: deliveries of events with a 202, by the types that each endpoint asked for
    delivered: int = 0  #: of those, how many got 200
    parked: int = 0  #: of those, how many the node is meant to have parked
    lost: int = 0  #: the rest
    misrouted: int = 0  #: that came where nobody asked for the type, or of an event that nobody published
    altered: int = 0  #: whose type or data are not the publisher's, byte for byte
    forged: int = 0  #: requests whose signature is not valid
    duplicates: int = 0  #: 200s beyond the first of a delivery
    duplicates_max: int = 0  #: the most that any one delivery had


def reckon(
    sent: Mapping[str, Sent], inboxes: Collection[Inbox], *, strays: int = 0, parked: Container[str] = ()
) -> Reckoning:
    """The reckoning of all that was sent and seen.

    Args:
        sent: event → what its publisher remembers.
        inboxes: every receiver.
        strays: requests to a path that is no receiver's.
        parked: events that are not to be delivered.
    """
    found = Reckoning(misrouted=strays)
    for event, one in sent.items():
        if one.accepted_at is None:
            continue
        for inbox in inboxes:
            if inbox.wants(one.type):
                seen = inbox.seen.get(event)
                arrived = seen is not None and seen.answered > 0
                found.owed += 1
                found.delivered += arrived
                found.parked += event in parked and not arrived
    found.lost = found.owed - found.delivered - found.parked
    for inbox in inboxes:
        found.forged += inbox.forged
        found.altered += inbox.altered
        for event, seen in inbox.seen.items():
            published = sent.get(event)
            if published is None or not inbox.wants(published.type):
                found.misrouted += 1
            elif seen.digest != published.digest:
                found.altered += 1
            repeats = max(seen.answered - 1, 0)
            found.duplicates += repeats
            found.duplicates_max = max(found.duplicates_max, repeats)
    return found
