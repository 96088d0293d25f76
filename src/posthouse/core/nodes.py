"""What nodes are for."""

from enum import StrEnum


class Role(StrEnum):
    """Which part of the work a node does."""

    ALL = "all"
    ENGINE = "engine"  #: it owns slots and delivers
    EDGE = "edge"  #: it accepts, and answers the API; it owns nothing
