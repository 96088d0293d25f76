"""Hints on their way: gathered for a few milliseconds, cut to messages with a bound, and never waited for."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from posthouse.core.model import slot_of
from posthouse.store.protocol import Hints

GATHER_S: Final = 0.015  #: from the first hint to the message that it goes with
MESSAGE_BYTES_MAX: Final = 7_900  #: PostgreSQL carries 8,000
WORK_MAX: Final = 150  #: queues that are named in a message; of more only the slots
KEYS_MAX: Final = 50  #: jobs, and sources, that are named in a message; sweeps find the others
WITHDRAWN_MAX: Final = 150  #: deliveries that are named in a message
MESSAGES_MAX: Final = 8  #: at once; what is withdrawn beyond them may go out once more


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hints as they travel. What a newer version adds is not read."""

    sender: str
    hints: Hints


_encode = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(Message)


class Hinting:
    """Gathers what is told, and hands out what others tell: a :class:`~posthouse.store.protocol.HintsChannel`.

    ``send`` gets each message; ``sender`` names this end, whose own messages are not heard.
    """

    def __init__(self, sender: str, send: Callable[[bytes], None]) -> None:
        self._sender = sender
        self._send = send
        self._told: list[Callable[[Hints], None]] = []
        self._gathered: list[Hints] = []
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, hints: Hints) -> None:
        """Tell the others soon; see the protocol."""
        self._gathered.append(hints)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._flush)

    def when_told(self, told: Callable[[Hints], None]) -> None:
        """Call ``told`` with what others tell; see the protocol."""
        self._told.append(told)

    def hear(self, message: bytes | str) -> None:
        """A message came. One that cannot be read is as one that was lost."""
        try:
            heard = _decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if heard.sender != self._sender:
            for told in self._told:
                told(heard.hints)

    def stop(self) -> None:
        """Send nothing more; what was gathered goes out at once. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush()

    def _flush(self) -> None:
        self._timer = None
        gathered, self._gathered = self._gathered, []
        for hints in parted(merged(gathered)):
            self._send(_encode(Message(self._sender, hints)))


def merged(gathered: Iterable[Hints]) -> Hints:
    """All of them as one."""
    sets: dict[str, set[Any]] = {"work": set(), "slots": set(), "jobs": set(), "sources": set(), "withdrawn": set()}
    catalogue = slots_free = False
    for hints in gathered:
        for name in sets:
            sets[name] |= getattr(hints, name)
        catalogue |= hints.catalogue
        slots_free |= hints.slots_free
    frozen = {name: frozenset(found) for name, found in sets.items()}
    return Hints(catalogue=catalogue, slots_free=slots_free, **frozen)


def parted(hints: Hints) -> list[Hints]:
    """The same in messages that are short enough; too many queues are told by their slots, too many keys in part."""
    work, slots = hints.work, hints.slots
    if len(work) > WORK_MAX:
        work, slots = frozenset(), slots | {slot_of(endpoint_key) for endpoint_key, _ in work}
    withdrawn = sorted(hints.withdrawn)[: WITHDRAWN_MAX * (MESSAGES_MAX - 1)]
    first = Hints(
        work=work,
        slots=slots,
        catalogue=hints.catalogue,
        jobs=_some(hints.jobs),
        sources=_some(hints.sources),
        slots_free=hints.slots_free,
    )
    parts = [
        Hints(withdrawn=frozenset(withdrawn[start : start + WITHDRAWN_MAX]))
        for start in range(0, len(withdrawn), WITHDRAWN_MAX)
    ]
    return parts if first == Hints() else [first, *parts]


def _some(keys: frozenset[int]) -> frozenset[int]:
    return frozenset(sorted(keys)[-KEYS_MAX:])
