"""Waiting until what was acknowledged has come to its receiver."""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from posthouse.testing.receiver import Received, Receiver

ARRIVE_SECONDS_MAX = 60.0


async def arrived(receiver: Receiver, event_ids: AbstractSet[str]) -> None:
    """Return when each of these events has come; TimeoutError if that takes too long."""
    requests: Sequence[Received] = ()
    async with asyncio.timeout(ARRIVE_SECONDS_MAX):
        while not event_ids <= {request.header("webhook-id") for request in requests}:
            requests = await receiver.received(len(requests) + 1)
