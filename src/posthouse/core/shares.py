"""Which part of a tenant's rate and cap each of several nodes may use, so that together they keep to the rule.

A node has as large a part as it works for active endpoints of the tenant. It needs to know nothing of what the others
do: slots have one owner, so the parts of all nodes together are never more than the whole.
"""

from typing import Final, NamedTuple


class Share(NamedTuple):
    """What of a tenant is one node's."""

    mine: int  #: active endpoints that this node works for
    total: int  #: active endpoints
    nodes: int  #: that live and take slots
    taken_at: float | None = None  #: when the latest of them was taken over from another node, monotonic seconds


WHOLE: Final = Share(1, 1, 1)


def rate_of(per_second: float, share: Share) -> float:
    """The part of a rate that is this node's; never 0, so that a view that lags behind holds nothing for ever."""
    return per_second * min(max(share.mine, 1), max(share.total, 1)) / max(share.total, 1)


def cap_of(cap: int, share: Share) -> int:
    """The part of a cap that is this node's; 0: no cap.

    At least one request: so together they are no more than the cap, unless it is less than the number of nodes that
    work for the tenant; then each of these has one request on its way at most.
    """
    if cap == 0 or share.mine >= share.total:
        return cap
    working = min(share.nodes, share.total)  # at most so many nodes work for it
    return 1 + max(0, cap - working) * share.mine // share.total
