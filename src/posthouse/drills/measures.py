"""What drills measure about time and order. Pure."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import ceil, floor
from typing import Final

import msgspec

from posthouse.drills.publisher import Sent
from posthouse.drills.receivers import Inbox, Step

P99: Final = 0.99
_MS: Final = 1_000
_OK: Final = 200

#: An event's ordering key and its place among those of its key, from 1.
Place = tuple[str, int]


def percentile(values: Collection[float], share: float) -> float:
    """The smallest of these that at least so great a share of them does not exceed; 0 if there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(ceil(share * len(values)) - 1, 0)]


def in_ms(seconds: float) -> float:
    """Seconds as milliseconds, to a tenth."""
    return round(_MS * seconds, 1)


def latencies(
    sent: Mapping[str, Sent], inboxes: Iterable[Inbox], *, since: float, until: float, now: float, prefix: str = ""
) -> list[float]:
    """Seconds from the 202 of each event to its first 200 at each of these receivers that wants it.

    Only of events that had their 202 from ``since`` to before ``until`` (monotonic, as ``now`` is) and whose ids
    begin with ``prefix``. One that was handled before its 202 had arrived took no time; one that is not handled
    yet has taken until now.
    """
    found = []
    boxes = list(inboxes)
    wanted: dict[str, list[Inbox]] = {}
    for event, one in sent.items():
        if one.accepted_at is None or not since <= one.accepted_at < until or not event.startswith(prefix):
            continue
        if one.type not in wanted:
            wanted[one.type] = [inbox for inbox in boxes if inbox.wants(one.type)]
        for inbox in wanted[one.type]:
            handled_at = inbox.first_answered_at(event)
            found.append(max((now if handled_at is None else handled_at) - one.accepted_at, 0.0))
    return found


def longest_silence(times: Iterable[float], *, since: float, until: float) -> float:
    """The longest time between ``since`` and ``until`` in which nothing came. Ascending times, seconds."""
    within = [at for at in times if since <= at <= until]
    return max(later - earlier for earlier, later in zip([since, *within], [*within, until], strict=True))


def most_within(times: Sequence[float], seconds: float) -> int:
    """The most of these times, which ascend, that lie within any span of less than so many seconds."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def least_share(part: Iterable[float], others: Iterable[float], *, since: float, until: float, every: float) -> float:
    """The least share that ``part`` has of both, over the whole steps of ``every`` seconds in a span.

    1 if there is no whole step. A step in which nothing happened at all counts as a share of 0.
    """
    steps = floor((until - since) / every)
    counts = [_by_step(times, since, every) for times in (part, others)]
    shares = [counts[0][n] / max(counts[0][n] + counts[1][n], 1) for n in range(steps)]
    return min(shares, default=1.0)


def _by_step(times: Iterable[float], since: float, every: float) -> Counter[int]:
    return Counter(floor((at - since) / every) for at in times)


class Sequences(msgspec.Struct):
    """In which order the events of each key were handled at one receiver. Handled: answered with 200."""

    handled: int = 0  #: different events
    inversions: int = 0  #: first handled after a later one of their key
    overtakings: int = 0  #: requests that came while an earlier event of their key was not handled yet
    last: dict[str, int] = {}  #: key → place of the event that was handled last, repeats included


def sequences(trace: Iterable[Step], place_of: Callable[[str], Place | None], *, gapless: bool) -> Sequences:
    """What a trace says about order.

    Args:
        trace: what happened at the receiver.
        place_of: an event's key and place; None: it has no order.
        gapless: whether every event of a key is to be handled, one after the other. If not, a later one may come
            while earlier ones are not handled, but none may come after a later one was.
    """
    found = Sequences()
    handled: dict[str, set[int]] = {}
    newest: dict[str, int] = {}
    complete: dict[str, int] = {}  # key → all up to this place are handled
    for step in trace:
        placed = place_of(step.event)
        if placed is None:
            continue
        key, place = placed
        if step.status is None:
            found.overtakings += gapless and place > complete.get(key, 0) + 1
        elif step.status == _OK:
            found.last[key] = place
            of_key = handled.setdefault(key, set())
            if place in of_key:
                continue
            found.handled += 1
            found.inversions += place < newest.get(key, 0)
            of_key.add(place)
            newest[key] = max(newest.get(key, 0), place)
            while complete.get(key, 0) + 1 in of_key:
                complete[key] = complete.get(key, 0) + 1
    return found
