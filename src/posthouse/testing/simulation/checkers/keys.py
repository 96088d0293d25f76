"""I10: where an endpoint keeps order, what is sent of one ordering key is in the order in which it was accepted.

Who comes before whom is known of two events whose acceptances do not overlap. Order is a promise about the first
round of a delivery: what an operator opens again stands behind what is open. While the order of an endpoint is
changed, or may be, nothing is known.
"""

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

from posthouse.core.rules import Order
from posthouse.testing.simulation.checkers import order
from posthouse.testing.simulation.checkers.loss import routed_span
from posthouse.testing.simulation.evidence import FOREVER, Evidence, Span
from posthouse.testing.simulation.records import EndpointRecord, Received
from posthouse.testing.simulation.rows import Pair

LAW = "I10 ordering keys"

_CLOSE = 0.02  #: seconds by which times may be unsure


class _Version(NamedTuple):
    """One event of an ordering key, as an endpoint got it."""

    key: int
    accepted: Span
    requests: list[Received]


def check(evidence: Evidence) -> None:
    """Look at each endpoint that ever kept order, and there at each ordering key."""
    accepted: dict[int, Span] = {}
    keyed: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in evidence.rows.events.values():
        span = None if row.ordering_key is None else routed_span(evidence, row)
        if span is not None and row.ordering_key is not None:
            accepted[row.key] = span
            keyed[row.tenant, row.ordering_key].append(row.key)
    for record in evidence.records.endpoints:
        endpoint_key = evidence.key_of.get(record.number)
        if endpoint_key is None or evidence.orders(record, 0.0, FOREVER) == {Order.NONE}:
            continue
        for (tenant, _), event_keys in sorted(keyed.items()):
            if tenant == record.tenant:
                versions = [
                    _Version(key, accepted[key], evidence.requests.get((key, endpoint_key), []))
                    for key in sorted(event_keys)
                    if endpoint_key in evidence.rows.events[key].owed
                ]
                _check_key(evidence, record, endpoint_key, versions)


def _check_key(evidence: Evidence, record: EndpointRecord, endpoint_key: int, versions: list[_Version]) -> None:
    for position, later in enumerate(versions):
        for earlier in versions[:position]:
            if later.requests and earlier.accepted.high < later.accepted.low:
                _check_two(evidence, record, endpoint_key, earlier, later)
    requests = sorted((r for version in versions for r in version.requests), key=lambda r: r.at)
    for first, second in pairwise(requests):
        if first.event_id != second.event_id:
            _check_overlap(evidence, record, first, second)
    if versions:
        _check_end(evidence, record, endpoint_key, versions)


def _check_two(
    evidence: Evidence, record: EndpointRecord, endpoint_key: int, earlier: _Version, later: _Version
) -> None:
    """Nothing of the earlier event comes behind the later one; and FIFO sends no later one before that is settled."""
    first = later.requests[0]
    orders = evidence.orders(record, earlier.accepted.low, first.at)
    if Order.NONE in orders:
        return
    pair = (earlier.key, endpoint_key)
    evidence.records.counts[f"order checked {'/'.join(sorted(orders))}"] += 1
    behind = next((r for r in earlier.requests if r.at > first.at + _CLOSE), None)
    if behind is not None and not evidence.rows.reopened.get(pair) and not _is_late(evidence, behind, first):
        message = f"the {evidence.name_of(pair)} came behind that of {first.event_id}, which came at {first.at:.3f}"
        evidence.records.find(LAW, message, behind.at)
    if orders == {Order.FIFO} and not _was_settled(evidence, pair, first):
        message = f"the {evidence.name_of((later.key, endpoint_key))} came while that of {earlier.key} was not settled"
        evidence.records.find(LAW, message, first.at)


def _was_settled(evidence: Evidence, pair: Pair, first: Received) -> bool:
    """Whether the first round of a delivery was over when a request came."""
    rounds = evidence.rows.history.get(pair, ())
    if not rounds:
        return False
    settled = evidence.wall_span(rounds[0].settled_at, 1, until=evidence.ended_at)
    return settled is not None and settled.low <= first.at + _CLOSE


def _is_late(evidence: Evidence, behind: Received, first: Received) -> bool:
    """Whether the network kept a request back, or a node that had lost the slot sent it."""
    limit = evidence.endpoint[behind.endpoint].timeout_ms / 1_000
    begin = min(first.at, evidence.signed(behind).low) - limit
    return evidence.is_troubled(begin, behind.at, "wire", host=behind.host) or order.lost_slot(evidence, first, behind)


def _was_given_up(evidence: Evidence, first: Received, second: Received) -> bool:
    """Whether somebody cancelled a delivery while its request was on its way, which lets out what stood behind."""
    pair = evidence.pair_of(first, first.event_id)
    begin = evidence.signed(first).low
    for row in () if pair is None else evidence.rows.history.get(pair, ()):
        span = evidence.wall_span(row.settled_at, 1, until=evidence.ended_at)
        if row.reason == "cancelled" and span is not None and begin <= span.high and span.low <= second.at:
            evidence.records.counts["keys let go by a cancellation"] += 1
            return True
    return False


def _check_overlap(evidence: Evidence, record: EndpointRecord, first: Received, second: Received) -> None:
    """Of one ordering key one request at a time is on its way; also when a node takes over from another."""
    orders = evidence.orders(record, evidence.signed(first).low, second.at)
    if Order.NONE in orders or not order.overlap(evidence, first, second):
        return
    if not _was_given_up(evidence, first, second):
        message = f"{second.event_id} was sent to endpoint {record.number} while {first.event_id} was on its way"
        evidence.records.find(LAW, message, second.at)


def _check_end(evidence: Evidence, record: EndpointRecord, endpoint_key: int, versions: list[_Version]) -> None:
    """An endpoint that wants the latest ends with the latest, unless somebody gave that up or opened another again."""
    newest = versions[-1]
    others = versions[:-1]
    since = min(version.accepted.low for version in versions)
    if evidence.orders(record, since, evidence.ended_at) != {Order.LATEST}:
        return
    if any(version.accepted.high >= newest.accepted.low for version in others):
        return
    if any(evidence.rows.reopened.get((version.key, endpoint_key)) for version in versions):
        return
    pair = (newest.key, endpoint_key)
    rounds = evidence.rows.history.get(pair, ())
    evidence.records.counts["latest checked"] += 1
    if rounds and rounds[-1].reason == "superseded":
        evidence.records.find(LAW, f"the {evidence.name_of(pair)} was superseded, and is the latest of its key")
