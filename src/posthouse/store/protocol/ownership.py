"""Slots of endpoints, leased to nodes, fenced by epochs."""

from collections.abc import Collection
from typing import Protocol


class Ownership(Protocol):
    """Slots of endpoints, leased to nodes, fenced by epochs."""

    async def acquire(self, node: str, *, now: int, lease_ms: int, dead: Collection[str] = ()) -> dict[int, int]:
        """Take every slot that is free, expired, or leased to a node known ``dead``; renew what it holds.

        ``node`` names one life of one process: after a restart it is another node. Returns slot →
        epoch of all slots that the node holds now. A slot that changes hands gets the next epoch;
        one that the node holds already keeps its epoch.
        """
        ...

    async def release(self, node: str) -> None:
        """Give up all slots at once; when their leases would have ended stays known. Idempotent."""
        ...

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        """Slot → (owner or None, epoch, lease end)."""
        ...
