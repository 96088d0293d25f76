"""What the gateway tells the engine after a commit. Hints only save time: the store holds the truth."""

from collections.abc import Sequence
from typing import Protocol

from posthouse.core.model import Endpoint, Lane
from posthouse.store.protocol import Work


class Hints(Protocol):
    """Implemented by the engine; losing a call delays work, it never loses any."""

    def accepted(self, work: Sequence[Work]) -> None:
        """These obligations are durable now."""
        ...

    def due(self, endpoint_key: int, lane: Lane) -> None:
        """The store may hold due work for this endpoint that no window knows."""
        ...

    def endpoint_changed(self, endpoint: Endpoint) -> None:
        """This is the endpoint as it is now (state, URL, secrets, …)."""
        ...

    def withdrawn(self, event_key: int, endpoint_key: int) -> None:
        """This delivery is no longer open."""
        ...

    def in_flight(self, event_key: int, endpoint_key: int) -> bool:
        """Whether a request for this delivery is on its way now."""
        ...

    def is_stuck(self, endpoint_key: int, lane: Lane) -> bool:
        """Whether this queue does not move although its work is due and nothing holds it."""
        ...
