"""What nodes tell each other through the store, so that nobody has to wait for a sweep."""

from collections.abc import Callable
from typing import Protocol

import msgspec


class Hints(msgspec.Struct, frozen=True, kw_only=True):
    """What may be worth a look. Each is true at best: whoever gets it asks the store."""

    work: frozenset[tuple[int, int]] = frozenset()  #: (endpoint key, lane) where something became due
    slots: frozenset[int] = frozenset()  #: where so much became due that all of it is to be looked at
    catalogue: bool = False  #: it was changed
    jobs: frozenset[int] = frozenset()  #: keys of jobs that were made or changed
    sources: frozenset[int] = frozenset()  #: keys of sources whose inbox got something to pass on
    slots_free: bool = False  #: somebody gave up slots
    withdrawn: frozenset[tuple[int, int]] = frozenset()  #: (event key, endpoint key) that nobody is to send any more


class HintsChannel(Protocol):
    """Carries hints to the other nodes. Losing any only delays: sweeps find the truth."""

    def tell(self, hints: Hints) -> None:
        """Tell the others, with what else is told in the same few milliseconds. Never waits; may be lost.

        What it speaks of must be durable before: whoever is told looks at once.
        """
        ...

    def when_told(self, told: Callable[[Hints], None]) -> None:
        """Call ``told`` with what other nodes tell."""
        ...
