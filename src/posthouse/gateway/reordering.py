"""Another order for an endpoint: what it is owed already is brought in line before anything is sent by the new one.

Meanwhile the endpoint is held, and its ``state_reason`` says so and keeps the reason that it had before. So whoever
comes after an interruption (the node at its start, or the next change) knows that it is not done, and what comes next.
"""

from typing import Final

import msgspec

from posthouse.core.model import Endpoint, EndpointState
from posthouse.core.ports import Clock
from posthouse.store.protocol import WorkFacet

#: Why an endpoint is held meanwhile. If it was held before: this, a colon, and the reason for that.
REASON_REORDERING: Final = "reordering"

_CHUNK: Final = 1_000


def is_reordering(endpoint: Endpoint) -> bool:
    """Whether some of what ``endpoint`` is owed may not be in line with its order yet."""
    reason = endpoint.state_reason
    return reason is not None and reason.partition(":")[0] == REASON_REORDERING


def held_for_reordering(endpoint: Endpoint) -> Endpoint:
    """``endpoint`` as it is stored together with its new order."""
    if endpoint.state is EndpointState.ACTIVE:
        return msgspec.structs.replace(endpoint, state=EndpointState.PAUSED, state_reason=REASON_REORDERING)
    return msgspec.structs.replace(endpoint, state_reason=f"{REASON_REORDERING}:{endpoint.state_reason or ''}")


def released(endpoint: Endpoint) -> Endpoint:
    """``endpoint`` as it was before it was held for a reordering; any other one as it is."""
    if not is_reordering(endpoint):
        return endpoint
    _, colon, before = (endpoint.state_reason or "").partition(":")
    state = endpoint.state if colon else EndpointState.ACTIVE
    return msgspec.structs.replace(endpoint, state=state, state_reason=before or None)


async def reorder(work: WorkFacet, endpoint: Endpoint, clock: Clock) -> None:
    """Bring all that ``endpoint`` is owed in line with its order, step by step, so that other writes get their turn."""
    while await work.reorder(endpoint.key, endpoint.rules.order, now=clock.now_ms(), limit=_CHUNK):
        pass
