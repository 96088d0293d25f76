"""Taking slots in a test, whoever owns them."""

from posthouse.core.limits import LEASE_MS
from posthouse.core.nodes import Role
from posthouse.store.protocol import Grant, Joining, Ownership


def joining(name: str, *, role: Role = Role.ALL, joined_at: int = 0) -> Joining:
    """Who joins under this name."""
    return Joining(name=name, role=role, version="1", host="localhost", process_id=1, url=None, joined_at=joined_at)


async def seize(ownership: Ownership, node: str, *, now: int, lease_ms: int = LEASE_MS) -> Grant:
    """Register the node and take all slots for it, as if everybody else were dead. They stay on the register."""
    await ownership.join(joining(node, joined_at=now))
    dead = {other.name: other.beat for other in await ownership.nodes() if other.name != node}
    return await ownership.acquire(node, now=now, lease_ms=lease_ms, dead=dead)
