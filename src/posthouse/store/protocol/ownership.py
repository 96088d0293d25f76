"""Nodes, and the slots of endpoints that they own, fenced by epochs.

No clock of one machine is compared with that of another. A node raises its beat now and then; who has not seen a beat
change for as long as a lease lasts, by its own monotonic clock, takes its node for dead. A node stops deciding before
that, counted by its own clock from before it asked for the beat that it raised last.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from posthouse.core.nodes import Role


class Joining(msgspec.Struct, frozen=True, kw_only=True):
    """Who joins. All but the name is for people and for other nodes to read."""

    name: str  #: of one life of one process: after a restart it is another node
    role: Role
    version: str  #: of Posthouse
    host: str
    process_id: int
    url: str | None  #: where its API listens, if that is known
    joined_at: int  #: Unix ms by its own clock


class NodeRecord(Joining, frozen=True, kw_only=True):
    """A node on the register."""

    number: int  #: part of every key that it makes; no other registered node has it
    beat: int  #: grows while it lives
    beat_at: int  #: Unix ms by its own clock, when it was raised; for people
    slots: int  #: how many it owns


class Roll(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody's beats at one instant."""

    #: True: who asks is not on the register any more. It owns nothing, and may join again under another name only.
    me_missing: bool
    nodes: tuple[NodeRecord, ...]  #: by name
    catalogue_version: int


class Grant(msgspec.Struct, frozen=True):
    """What a node owns."""

    epochs: Mapping[int, int]  #: slot → epoch
    #: Those of them that were taken from a node that did not give them up, and that nobody has called calm since: what
    #: that node sent may still be on its way. A slot keeps it through any number of owners.
    unquiet: frozenset[int] = frozenset()


class Ownership(Protocol):
    """Nodes, and the slots of endpoints that they own, fenced by epochs."""

    async def join(self, me: Joining) -> int:
        """Register a node; its number (0 < number < NODES_MAX).

        The number is the next one behind the one that was given out last which no registered node has: so a thousand
        others join before it is used again, and who had it before has ended by then, however long it was stopped. A
        node that is registered already keeps its number and its beat, and is from now on what it says now.

        Raises:
            TooManyNodes: No number is free.
        """
        ...

    async def beat(self, name: str, *, now: int) -> Roll:
        """Raise this node's beat by one, and tell everybody's."""
        ...

    async def acquire(self, node: str, *, wanted: Collection[int] | None = None) -> Grant:
        """What a node owns, with those of the ``wanted`` slots (None: all) that it takes because they may be taken.

        These are the free ones, and those whose owner is not registered. What changes hands gets the next epoch, and is
        unquiet unless it was given up; what the node owns already keeps its epoch. A node that is not registered gets
        nothing. Where nothing may be taken no slot is locked or written, and no settlement waited for: a grant holds
        because of the beat that was durable before it was asked for, since whoever takes a slot away buries its owner
        first.
        """
        ...

    async def release(self, node: str, slots: Collection[int] | None = None) -> None:
        """Give up these slots, or all; when their leases would have ended stays known. Idempotent.

        Whoever calls it has nothing on its way for them any more. What was unquiet stays so.
        """
        ...

    async def calm(self, node: str, slots: Mapping[int, int]) -> None:
        """Nothing of earlier owners is on its way any more: these slots (slot → epoch) are quiet, if still held so."""
        ...

    async def leave(self, name: str) -> None:
        """Give up all slots, and be registered no more. Idempotent."""
        ...

    async def bury(self, dead: Mapping[str, int]) -> list[str]:
        """Take those nodes off the register whose beat is still the one named here; the names of these.

        Their slots have no owner then, and are unquiet.
        """
        ...

    async def owners(self) -> dict[int, tuple[str | None, int, int]]:
        """Slot → (owner or None, epoch, lease end)."""
        ...

    async def nodes(self) -> list[NodeRecord]:
        """Everybody on the register, by name."""
        ...
