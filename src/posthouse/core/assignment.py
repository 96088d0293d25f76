"""Which node is to own which slot: every node works it out for itself, and all come to the same.

Rendezvous hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018): each slot ranks the nodes by a hash of
both, and goes to the first one that has room. So nobody has more than an equal share and one slot, and a node that
comes or goes moves its own share and a few slots more. Without that one slot of slack it would move twice as many.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from posthouse.core.model import SLOTS

_DIGEST_BYTES: Final = 8


def assigned(nodes: Iterable[str]) -> tuple[str, ...]:
    """The node of each slot, by slot; empty if there is no node.

    Args:
        nodes: names of those that are alive and take slots, in any order.
    """
    return _assigned(tuple(sorted(set(nodes))))


def slots_of(node: str, nodes: Iterable[str]) -> frozenset[int]:
    """The slots that ``node`` is to own among ``nodes``."""
    return frozenset(slot for slot, name in enumerate(assigned(nodes)) if name == node)


def to_give_up(owned: Collection[int], wanted: Collection[int], *, most: int) -> list[int]:
    """Which of the ``owned`` slots are given up now, for those that are to own them: at most so many, lowest first."""
    return sorted(set(owned) - set(wanted))[:most]


@lru_cache(maxsize=16)
def _assigned(nodes: tuple[str, ...]) -> tuple[str, ...]:
    if not nodes:
        return ()
    room = dict.fromkeys(nodes, -(-SLOTS // len(nodes)) + (len(nodes) > 1))
    found: list[str] = []
    for slot in range(SLOTS):
        ranked = sorted(nodes, key=lambda node: _rank(slot, node))
        winner = next(node for node in ranked if room[node])
        room[winner] -= 1
        found.append(winner)
    return tuple(found)


def _rank(slot: int, node: str) -> bytes:
    return blake2b(f"{slot}/{node}".encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).digest()
