"""Which nodes there are, and which of them live. Each node finds that out for itself, by its own monotonic clock."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from posthouse.core.assignment import slots_of
from posthouse.core.errors import StoreUnavailable
from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS
from posthouse.core.nodes import Role
from posthouse.core.ports import Clock
from posthouse.store.protocol import Joining, NodeRecord, Ownership, Roll
from posthouse.telemetry import Log, log

#: Of the time between two looks so much counts as silence at most: whoever could not look for longer, because it stood
#: still or the store was away, has seen nothing, and that proves nothing.
LOOK_SECONDS_MAX: Final = 2 * LEASE_RENEW_MS / 1_000
_LEASE_SECONDS: Final = LEASE_MS / 1_000
_RENEW_SECONDS: Final = LEASE_RENEW_MS / 1_000
_LOOK_SECONDS_MIN: Final = 0.01


class _Seen:
    """A beat of another node, and for how long it was seen not to change."""

    __slots__ = ("beat", "silent")

    def __init__(self, beat: int) -> None:
        self.beat = beat
        self.silent = 0.0  # seconds


class Membership:
    """This node on the register, and what it sees of the others there.

    A node is dead when its beat was not seen to change for ``LEASE_MS``; its own leases have run out before that. Where
    nobody else can have the store open (``alone``), or the node is a ``former`` life of this one, it is dead at once.

    Attributes:
        name: of this life; another one after the node was buried.
        number: part of every key that it makes.
        nodes: everybody on the register as of the latest beat, by name.
        dead: name → beat of those that are dead but still on the register.
    """

    def __init__(
        self,
        store: Ownership,
        clock: Clock,
        me: Joining,
        *,
        alone: bool,
        new_name: Callable[[], str],
        renumbered: Callable[[int], None] = lambda _: None,
    ) -> None:
        """``me``: as it is to be registered when it works; ``renumbered(number)`` is called when it gets a number."""
        self._store = store
        self._clock = clock
        self._me = me
        self._alone = alone
        self._new_name = new_name
        self._renumbered = renumbered
        self._role = Role.EDGE  # until its engine works, and when it ends, it asks for no slots
        self._former: frozenset[str] = frozenset()
        self._seen: dict[str, _Seen] = {}
        self._looked_at = clock.monotonic()
        self.number = 0
        self.nodes: tuple[NodeRecord, ...] = ()
        self.dead: dict[str, int] = {}

    @property
    def name(self) -> str:
        """The name of this life."""
        return self._me.name

    @property
    def role(self) -> Role:
        """What this node is for, whether it works already or not."""
        return self._me.role

    @property
    def takes_slots(self) -> bool:
        """Whether it asks for slots now."""
        return self._role is not Role.EDGE

    # -- the register ---------------------------------------------------------------------------

    async def join(self, *, former: Collection[str] = ()) -> None:
        """Get on the register, without a claim to slots yet; ``former``: names of earlier lives of this very node.

        Raises TooManyNodes, StoreUnavailable.
        """
        self._former = frozenset(former)
        await self._say()

    async def work(self) -> None:
        """Say that it takes slots from now on, if its role lets it. Raises StoreUnavailable."""
        self._role = self.role
        await self._say()

    async def retire(self) -> None:
        """Say that it takes no more slots: others ask for those that it gives up. Raises StoreUnavailable."""
        self._role = Role.EDGE
        await self._say()

    async def listens_at(self, url: str) -> None:
        """Say where its API is. It is for people: if the store does not answer now, it is said with the next word."""
        self._me = msgspec.structs.replace(self._me, url=url)
        with suppress(StoreUnavailable):
            await self._say()

    async def leave(self) -> None:
        """Give up all slots, and get off the register. Raises StoreUnavailable; then others see that it is dead."""
        await self._store.leave(self.name)

    async def rejoin(self) -> None:
        """It was buried, and is done with that name: begin another life. Raises TooManyNodes, StoreUnavailable."""
        buried = self.name
        self._me = msgspec.structs.replace(self._me, name=self._new_name(), joined_at=self._clock.now_ms())
        await self._say()
        log(Log.NODE_BURIED, buried=buried, node=self.name)

    async def _say(self) -> None:
        number = await self._store.join(msgspec.structs.replace(self._me, role=self._role))
        if number != self.number:
            self.number = number
            self._renumbered(number)

    # -- the beats ------------------------------------------------------------------------------

    async def beat(self) -> bool:
        """Show that this node lives, and look who else does; False: it was buried. Raises StoreUnavailable."""
        asked = self._clock.monotonic()
        roll = await self._store.beat(self.name, now=self._clock.now_ms())
        if roll.me_missing:
            return False
        self._note(roll, asked)
        self._looked_at = self._clock.monotonic()
        return True

    async def bury_dead(self) -> list[str]:
        """Take the dead off the register, so that their slots are free; the names of those. Raises StoreUnavailable."""
        if not self.dead:
            return []
        buried = await self._store.bury(self.dead)
        for name in buried:
            log(Log.NODE_DEAD, node=name)
        self.nodes = tuple(node for node in self.nodes if node.name not in buried)
        self.dead = {}
        return buried

    def _note(self, roll: Roll, asked: float) -> None:
        """Take in everybody's beats, which were read after the monotonic time ``asked``."""
        passed = min(max(0.0, asked - self._looked_at), LOOK_SECONDS_MAX)
        seen: dict[str, _Seen] = {}
        for node in roll.nodes:
            if node.name == self.name:
                continue
            known = self._seen.get(node.name)
            if known is None or known.beat != node.beat:
                known = _Seen(node.beat)
            else:
                known.silent += passed
            seen[node.name] = known
        self._seen = seen
        self.nodes = roll.nodes
        self.dead = {name: known.beat for name, known in seen.items() if self._is_dead(name, known)}

    def _is_dead(self, name: str, seen: _Seen) -> bool:
        return self._alone or name in self._former or seen.silent >= _LEASE_SECONDS

    # -- what follows from them -----------------------------------------------------------------

    @property
    def next_look(self) -> float:
        """Seconds until the next beat is due, or until somebody who says nothing counts as dead."""
        waits = (_LEASE_SECONDS - seen.silent for name, seen in self._seen.items() if name not in self.dead)
        return min(max(_LOOK_SECONDS_MIN, min(waits, default=_RENEW_SECONDS)), _RENEW_SECONDS)

    def lives(self, name: str) -> bool:
        """Whether the node of this name is on the register, and not known to be dead."""
        return name not in self.dead and any(node.name == name for node in self.nodes)

    @property
    def workers(self) -> list[str]:
        """Names of those that live and take slots."""
        found = {node.name for node in self.nodes if node.role is not Role.EDGE} - self.dead.keys() - {self.name}
        return sorted(found | {self.name} if self.takes_slots else found)

    def wanted(self, owners: Sequence[str | None]) -> frozenset[int]:
        """The slots that this node is to own, where each slot has this owner now."""
        return slots_of(self.name, self.workers, owners) if self.takes_slots else frozenset()

    def silence(self, name: str) -> float | None:
        """For how long a node's beat was not seen to change, seconds; None: it was not looked at yet."""
        since = self._clock.monotonic() - self._looked_at
        if name == self.name:
            return since
        seen = self._seen.get(name)
        return None if seen is None else seen.silent + since
