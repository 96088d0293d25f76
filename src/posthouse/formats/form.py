"""What a format is: how events become one request, and what goes with that."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from posthouse.core.model import Event
from posthouse.core.rules import Batch

Item = tuple[Event, bytes]  #: an event, and the data (JSON) to send of it


class Made(NamedTuple):
    """One request."""

    headers: dict[str, str]
    body: bytes


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver is asked, and has to answer, before it gets anything else. Both functions are pure.

    ``make(secrets, now)`` writes the request. ``is_answered(sent, status, headers)`` says of an answer that came whole,
    with this status and these headers, whether it answers the request ``sent`` as it must.
    """

    make: Callable[[Sequence[str], int], Made]
    is_answered: Callable[[Made, int | None, Sequence[tuple[str, str]]], bool]


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """One format.

    ``make(items, secrets, now)`` writes a request with these events, signed with these secrets (the current one first,
    each as the endpoint shows it), which is made at ``now``, Unix ms. It is pure, and is called for each attempt.
    ``heartbeat(secrets, now)`` writes the request that only says that the sender is alive.
    """

    make: Callable[[Sequence[Item], Sequence[str], int], Made]
    handshake: Handshake | None = None
    heartbeat: Callable[[Sequence[str], int], Made] | None = None
    heartbeat_seconds: int = 0  #: from the handshake, or from one heartbeat, to the next
    is_list: bool = False  #: a request holds a list of events, perhaps of a single one
    #: What an endpoint with this format has unless somebody sets another one.
    retry: str = "three-weeks"
    connect_timeout_ms: int = 5_000
    timeout_ms: int = 60_000
    batch: Batch | None = None
    success: str = ""

    @property
    def speaks(self) -> bool:
        """Whether an endpoint gets more than its events: a handshake, or heartbeats."""
        return self.handshake is not None or self.heartbeat is not None
