"""Which node is to own which slot: every node works it out for itself, and all come to the same.

:func:`reassigned` knows who owns what now. Everybody keeps what it has up to an equal share; only what is beyond
that, or nobody's, goes to others. So as few slots move as can be, and no two nodes differ by more than one slot.

:func:`assigned` knows only who is there. It is rendezvous hashing with bounded loads (Mirrokni, Thorup and
Zadimoghaddam, 2018): each slot ranks the nodes by a hash of both, and goes to the first one that has room. There is
room for one slot more than its share on every node; without that slack three times as many would move when one comes
or goes. The room is handed out slot by slot, so that one node more or less never changes everybody's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from posthouse.core.model import SLOTS

_DIGEST_BYTES: Final = 8
_BESIDE: Final = SLOTS  #: ranks nodes where it is not about a slot


def assigned(nodes: Iterable[str]) -> tuple[str, ...]:
    """The node of each slot, by slot; empty if there is no node.

    Args:
        nodes: names of those that are alive and take slots, in any order.
    """
    return _assigned(tuple(sorted(set(nodes))))


def reassigned(nodes: Iterable[str], owners: Sequence[str | None]) -> tuple[str, ...]:
    """The node of each slot, by slot, where each keeps what it has up to its share; empty if there is no node.

    Whatever part of it has been carried out, by whomever, the answer is the same again: nothing moves twice.

    Args:
        nodes: as :func:`assigned`.
        owners: whose each slot is now, by slot; None or one that is not among the ``nodes``: nobody's.
    """
    assert len(owners) == SLOTS
    return _reassigned(tuple(sorted(set(nodes))), tuple(owners))


def slots_of(node: str, nodes: Iterable[str], owners: Sequence[str | None] | None = None) -> frozenset[int]:
    """The slots that ``node`` is to own among ``nodes``; by :func:`reassigned` if the ``owners`` are known."""
    found = assigned(nodes) if owners is None else reassigned(nodes, owners)
    return _places_of(node, found)


def to_give_up(owned: Collection[int], wanted: Collection[int], *, most: int) -> list[int]:
    """Which of the ``owned`` slots are given up now, for those that are to own them: at most so many, lowest first."""
    return sorted(set(owned) - set(wanted))[:most]


@lru_cache(maxsize=16)
def _assigned(nodes: tuple[str, ...]) -> tuple[str, ...]:
    if not nodes:
        return ()
    slack = len(nodes) if len(nodes) > 1 else 0
    return _filled([None] * SLOTS, _room(nodes, SLOTS + slack, {}))


@lru_cache(maxsize=16)  # a node asks at each renewal, and nearly always the same
def _reassigned(names: tuple[str, ...], owners: tuple[str | None, ...]) -> tuple[str, ...]:
    if not names:
        return ()
    held: dict[str, list[int]] = {name: [] for name in names}
    for slot, owner in enumerate(owners):
        if owner in held:
            held[owner].append(slot)
    room = _room(names, SLOTS, {name: len(slots) for name, slots in held.items()})
    found: list[str | None] = [None] * SLOTS
    for name, slots in held.items():
        if len(slots) > room[name]:
            ranks = _ranks(name)
            slots.sort(key=lambda slot, ranks=ranks: ranks[slot])  # type: ignore[misc]  # the default is bound now
        for slot in slots[: room[name]]:
            found[slot] = name
        room[name] -= min(len(slots), room[name])
    return _filled(found, room)


@lru_cache(maxsize=16)
def _places_of(node: str, found: tuple[str, ...]) -> frozenset[int]:
    return frozenset(slot for slot, name in enumerate(found) if name == node)


def _room(nodes: Sequence[str], total: int, held: Mapping[str, int]) -> dict[str, int]:
    """How many slots each may have, ``total`` in all: equal shares, and for some one more.

    Those that have more than a share already are the first; the others are told apart by their names alone, so that
    nothing of it changes while slots are taken and given up.
    """
    share, over = divmod(total, len(nodes))
    order = sorted(nodes, key=lambda name: (held.get(name, 0) <= share, _ranks(name)[_BESIDE]))
    return {name: share + (place < over) for place, name in enumerate(order)}


def _filled(found: list[str | None], room: dict[str, int]) -> tuple[str, ...]:
    """What is nobody's yet goes to the first in its ranking that has room."""
    placed: list[str] = []
    ranks = {name: _ranks(name) for name in room} if None in found else {}
    for slot, owner in enumerate(found):
        if owner is not None:
            placed.append(owner)
            continue
        winner = min((name for name, left in room.items() if left), key=lambda name: ranks[name][slot])
        room[winner] -= 1
        placed.append(winner)
    return tuple(placed)


@lru_cache(maxsize=256)
def _ranks(node: str) -> tuple[bytes, ...]:
    """What the node's place is decided by in the ranking of each slot."""
    name = node.encode(errors="surrogatepass")
    return tuple(blake2b(b"%d/%b" % (slot, name), digest_size=_DIGEST_BYTES).digest() for slot in range(SLOTS + 1))
