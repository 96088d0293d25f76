"""How a drill is to run, and what it shows while it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

RATE: Final = 500.0  #: events a second that a drill publishes


class DrillFailed(Exception):
    """The drill cannot go on, so it proves nothing either way. The message says why."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a drill is to run."""

    scale: float = 1.0  #: of the numbers in its description
    seed: int = 1  #: of everything random
    data: Path | None = None  #: for the store of a node of its own, kept; None: a temporary directory
    database: str | None = None  #: address of an empty database for that store; None: it is embedded
    against: str | None = None  #: URL of a node to use in place of its own
    api_key: str | None = None  #: of that node
    listen: str = "127.0.0.1"  #: where the drill's receivers listen

    def scaled(self, number: float, *, least: int = 1) -> int:
        """``number`` at this scale, at least ``least``."""
        return max(least, round(number * self.scale))


class Look(msgspec.Struct, frozen=True):
    """What there is to see of a drill at one moment. Numbers count deliveries."""

    now_s: float  #: since the drill began
    share: float  #: of the whole drill that lies behind, 0 to 1
    doing: str
    accepted: int
    delivered: int
    waiting: int


#: Called with a look whenever something may have changed.
Show = Callable[[Look], None]
