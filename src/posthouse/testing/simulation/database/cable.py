"""The network between nodes and the database: connections that delay, break, fall silent and lose what they carry."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres.dial import DIAL_S, Answer
from posthouse.store.postgres.keepalive import UNANSWERED_MS
from posthouse.store.postgres.outcome import NotSent
from posthouse.testing.simulation.database.ways import Said
from posthouse.testing.simulation.loop import SimLoop

PREPARE: Final = "prepare"  #: the step of a transaction that says what it is to do
IS_GONE: Final = "is_gone"  #: asks whether what has no answer can have none any more

_REFUSED: Final = "The database cannot be reached"


class Message(NamedTuple):
    """What a node says."""

    text: str
    args: Sequence[Any]


class Reply(NamedTuple):
    """What the server answers."""

    rows: list[Any]
    tag: str
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class CableFaults:
    """What is wrong now.

    Attributes:
        latency: seconds in one direction, the least and the most.
        lost: how likely a connection breaks when something is asked on it, half of the times before the server has
            it, and half of the times when it was done and is answered.
        dark: numbers of nodes that are cut off: nothing of theirs arrives, and nothing reaches them.
    """

    latency: tuple[float, float] = (0.000_05, 0.000_6)
    lost: float = 0.0
    dark: set[int] = field(default_factory=set)


class Backend:
    """The server's end of a connection. Its methods run in the server's life."""

    def __init__(self, wire: "CableWire", context: Context, serve: Callable[["Backend", Message], None]) -> None:
        self.wire = wire
        self.context = context
        self.open = True
        self.busy = False  #: it is at work, perhaps for nobody any more
        self.prepared: Any = None  #: what the open transaction is to do
        self._serve = serve

    def hear(self, message: Message) -> None:
        """Something was asked."""
        self._serve(self, message)


class Cable:
    """Carries messages between nodes and the server.

    Args:
        loop: the loop.
        chance: its own.

    Attributes:
        faults: what is wrong now; may be changed at any time, :attr:`CableFaults.dark` by :meth:`darken` only.
        accept: gives a new connection its server's end; None while nobody listens.
    """

    def __init__(self, loop: SimLoop, chance: Random, happens: Callable[[str], None]) -> None:
        self.faults = CableFaults()
        self.accept: Callable[[CableWire], Backend | None] = lambda _: None
        self.happens = happens
        self._loop = loop
        self._chance = chance
        self._outside = Context()
        self._wires: list[CableWire] = []  # open ones
        self._held: list[tuple[CableWire, Callable[[], None], bool]] = []  # in the dark; and whether it may be lost
        self._made = 0

    async def dial(self, node: int, name: str) -> "CableWire":
        """A new connection of a node. Raises StoreUnavailable."""
        if node in self.faults.dark:
            await asyncio.sleep(DIAL_S)
            raise StoreUnavailable(f"{_REFUSED}: no answer.", retry_after_s=1)
        await asyncio.sleep(3 * self._latency())
        self._made += 1
        wire = CableWire(self, node, name, self._made)
        backend = self.accept(wire)
        if backend is None or node in self.faults.dark:
            raise StoreUnavailable(f"{_REFUSED}: refused.", retry_after_s=1)
        wire.backend = backend
        self._wires.append(wire)
        return wire

    def ask(self, wire: "CableWire", message: Message) -> None:
        """Carry a message to the server."""
        self._carry(wire, lambda: wire.backend.hear(message), wire.backend.context, to_server=True)

    def reply(self, wire: "CableWire", reply: Reply) -> None:
        """Carry an answer to the node."""
        self._carry(wire, lambda: wire.hear(reply), wire.context, to_server=False)

    def cut(self, node: int | None) -> None:
        """Every connection of a node, or of all, breaks now."""
        for wire in list(self._wires):
            if node in {None, wire.node}:
                self._break(wire)

    def lose_server(self, *, silently: bool) -> None:
        """The server has ended: its machine says so on every connection, or is gone itself and says nothing."""
        for wire in list(self._wires):
            self._break(wire, after=UNANSWERED_MS / 1_000 if silently else 0.0)

    def darken(self, node: int) -> None:
        """Nothing passes between a node and the server from now on."""
        self.faults.dark.add(node)

    def lighten(self, node: int) -> None:
        """It passes again: what was on its way comes late, or its connection breaks."""
        self.faults.dark.discard(node)
        held, self._held = self._held, []
        for wire, go, may_be_lost in held:
            if wire.node != node:
                self._held.append((wire, go, may_be_lost))
            elif may_be_lost and self._chance.random() < 0.5:
                self._break(wire)
            else:
                go()

    def forget(self, wire: "CableWire") -> None:
        """It is closed on its node's side; the server goes on with what it was asked."""
        if wire in self._wires:
            self._wires.remove(wire)
        wire.backend.open = False

    # -- inside ---------------------------------------------------------------------------------

    def _carry(self, wire: "CableWire", arrive: Callable[[], None], context: Context, *, to_server: bool) -> None:
        if wire not in self._wires:
            return
        if wire.node in self.faults.dark:
            self.happens("held")
            self._held.append((wire, lambda: self._carry(wire, arrive, context, to_server=to_server), True))
            return
        if self.faults.lost and self._chance.random() < self.faults.lost / 2:
            self.happens("request lost" if to_server else "answer lost")
            self._break(wire)
            return
        side = int(to_server)
        wire.arrivals[side] = at = max(self._loop.now + self._latency(), wire.arrivals[side])
        self._loop.call_at(at, arrive, context=context)

    def _break(self, wire: "CableWire", *, after: float = 0.0) -> None:
        """Both ends find out, each in its time."""
        if wire in self._wires:
            self._wires.remove(wire)
            wire.backend.open = False
            at = self._loop.now + after + self._latency()
            self._loop.call_at(at, self._break_in_light, wire, context=self._outside)

    def _break_in_light(self, wire: "CableWire") -> None:
        if wire.node in self.faults.dark:
            self._held.append((wire, lambda: self._break_in_light(wire), False))
        else:
            self._loop.call_soon(wire.break_off, context=wire.context)

    def _latency(self) -> float:
        return self._chance.uniform(*self.faults.latency)


class CableWire:
    """The node's end of a connection: a :class:`posthouse.store.postgres.dial.Wire`."""

    local = ""

    def __init__(self, cable: Cable, node: int, name: str, number: int) -> None:
        self.name = name
        self.pid = number
        self.node = node
        self.context = copy_context()
        self.backend: Backend
        self.arrivals = [0.0, 0.0]  #: the latest, at the node and at the server
        self._cable = cable
        self._lost = False
        self._told: list[Callable[[], None]] = []
        self._answer: asyncio.Future[Reply] | None = None
        self._warnings: list[str] = []
        self._box: list[Said] | None = None  # what the end of the transaction puts its result into

    @property
    def lost(self) -> bool:
        """Whether it is gone."""
        return self._lost

    async def ask(self, name: str, args: Sequence[object]) -> Answer:
        """The answer to a question."""
        if name == PREPARE:
            operation, box = args
            self._box = box  # type: ignore[assignment]
            args = (operation,)
        reply = await self._say(Message(name, args))
        return Answer(reply.rows, reply.tag)

    async def command(self, text: str) -> str:
        """The tag that BEGIN, COMMIT or ROLLBACK is answered with."""
        reply = await self._say(Message(text, ()))
        if text == "COMMIT" and self._box is not None:
            self._box.extend(reply.rows)
        return reply.tag

    def warnings(self) -> list[str]:
        """Notices of severity WARNING since it was asked last."""
        found, self._warnings = self._warnings, []
        return found

    def forget_statements(self) -> None:
        """None is kept."""

    def when_lost(self, told: Callable[[], None]) -> None:
        """Call ``told`` when the connection ends."""
        self._told.append(told)

    def terminate(self) -> None:
        """Leave it at once."""
        self._cable.forget(self)
        self.break_off()

    async def close(self) -> None:
        """Say good-bye."""
        self.terminate()

    # -- what the cable brings ------------------------------------------------------------------

    def hear(self, reply: Reply) -> None:
        """An answer came."""
        if self._answer is not None and not self._answer.done():
            self._warnings += reply.warnings
            self._answer.set_result(reply)

    def break_off(self) -> None:
        """The connection is gone."""
        if self._lost:
            return
        self._lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the connection was closed in the middle of operation"))
        for told in self._told:
            asyncio.get_running_loop().call_soon(told)

    async def _say(self, message: Message) -> Reply:
        if self._lost:
            raise NotSent
        self._answer = asyncio.get_running_loop().create_future()
        self._cable.ask(self, message)
        return await self._answer
