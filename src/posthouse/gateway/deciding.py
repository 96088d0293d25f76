"""Changes that are decided by the copy of the catalogue: where another node was faster, they are decided again."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from posthouse.core.errors import StoreUnavailable
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Outdated

T = TypeVar("T")

DECISIONS_MAX: Final = 16  #: about one change


async def decided(catalogue: Catalogue, decide: Callable[[], Awaitable[T]]) -> T:
    """What ``decide`` gives, once it decided by things as they are in the store.

    It reads the things from ``catalogue`` each time that it is called, and writes each with the revision that it read.
    So what two nodes change about one thing at the same time is both in it. The copy is brought up to date first: where
    nothing is to be changed nothing is written, so nobody would say that it is old. Raises StoreUnavailable, with
    nothing written by the latest try, if others are faster each time.
    """
    for _ in range(DECISIONS_MAX):
        await catalogue.refresh()
        try:
            return await decide()
        except Outdated:
            continue
    raise StoreUnavailable("Other nodes keep changing it faster than it can be changed here.", retry_after_s=1)
