"""What goes wrong with a database, before it happens."""

from dataclasses import dataclass
from enum import StrEnum


class Rift(StrEnum):
    """What is wrong with the database, or with the way to it."""

    SLOW = "slow"  #: everything that is said takes longer
    LOSSY = "lossy"  #: connections break on the way to the server or back, done or not
    CUT = "cut"  #: all connections break at once
    DARK = "dark"  #: a node and the server hear nothing of each other
    RESTART = "restart"  #: the server ends, and is there again
    FAILOVER = "failover"  #: the server is lost, its standby takes over
    ALONE = "alone"  #: the standby is away, and commits wait for it
    CANCELLED = "cancelled"  #: the same, and the waits are cut short
    DEAF = "deaf"  #: most of what nodes tell each other is lost


@dataclass(frozen=True, slots=True)
class DatabaseFault:
    """The database is worse for a while, from ``at`` on, as soon as so many transactions are to be committed."""

    at: float
    rift: Rift
    seconds: float
    nth: int = 0  #: 0: at once, not in the middle of a commit
    silent: bool = False  #: of a server that is lost: nobody says so
    node: int | None = None  #: whose way it is; None: everybody's
