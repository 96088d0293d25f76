"""Whether nodes may run on a store, or its contents belong elsewhere."""

from enum import StrEnum
from typing import Any, Final

import msgspec

from posthouse.core.errors import StoreMoved


class Holding(StrEnum):
    """What a store is to its contents."""

    HERE = "here"  #: they are its own
    ARRIVING = "arriving"  #: they are being copied to it
    MOVED = "moved"  #: they went to another store


class Custody(msgspec.Struct, frozen=True):
    """The one row of the table `custody`."""

    state: Holding
    place: str  #: where they come from or went, without a password
    since: int  #: Unix ms; 0: from the beginning
    key_floor: int  #: keys up to this one may have been used by the store that this one is a copy of


OWN: Final = Custody(Holding.HERE, "", 0, 0)  #: of a new store


def custody_of(row: tuple[Any, ...]) -> Custody:
    """The custody in a row."""
    state, place, since, key_floor = row
    return Custody(Holding(state), place, since, key_floor)


def prove_here(custody: Custody) -> None:
    """Let a node run only where its events are.

    Raises:
        StoreMoved: They are not, or not yet.
    """
    if custody.state is Holding.MOVED:
        raise StoreMoved(
            f"The contents of this store were moved to {custody.place}.",
            hint="Start the node there. To come back, while nothing was accepted there: "
            "'posthouse migrate --undo' with the same --from and --to.",
        )
    if custody.state is Holding.ARRIVING:
        raise StoreMoved(
            f"This store is being filled from {custody.place}, and is not whole yet.",
            hint="Finish it with 'posthouse migrate --final' and the same --from and --to.",
        )
