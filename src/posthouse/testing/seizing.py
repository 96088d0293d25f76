"""Taking slots in a test, whoever owns them."""

from msgspec import structs

from posthouse.core.nodes import Role
from posthouse.store.protocol import Grant, Joining, NodeRecord, Ownership


def joining(name: str, *, role: Role = Role.ALL, joined_at: int = 0) -> Joining:
    """Who joins under this name."""
    return Joining(name=name, role=role, version="1", host="localhost", process_id=1, url=None, joined_at=joined_at)


def registered(name: str, *, beat: int = 1, role: Role = Role.ALL) -> NodeRecord:
    """Somebody on the register under this name."""
    return NodeRecord(**structs.asdict(joining(name, role=role)), number=1, beat=beat, beat_at=0, slots=0)


async def outlive(ownership: Ownership, node: str, *, now: int) -> bool:
    """Register the node, and bury everybody else there; whether all of them are gone."""
    await ownership.join(joining(node, joined_at=now))
    dead = {other.name: other.beat for other in await ownership.nodes() if other.name != node}
    return await ownership.bury(dead) == sorted(dead)


async def seize(ownership: Ownership, node: str, *, now: int) -> Grant:
    """Register the node and take all slots for it, as if everybody else were dead."""
    await outlive(ownership, node, now=now)
    return await ownership.acquire(node)
