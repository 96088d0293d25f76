"""All connections of one server: how many there may be, how long each may take, and the clock that they share."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

from posthouse.core import limits
from posthouse.serving.direct import Direct

if TYPE_CHECKING:
    from posthouse.serving.protocol import BoundedProtocol


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBounds:
    """What one server lets its connections do. The defaults are those of ``core.limits``."""

    connections_max: int = limits.CONNECTIONS_MAX
    head_seconds_max: float = limits.REQUEST_HEADERS_SECONDS_MAX
    body_seconds_max: float = limits.REQUEST_BODY_SECONDS_MAX
    keep_alive_seconds_max: float = limits.KEEP_ALIVE_SECONDS_MAX
    linger_seconds_max: float = 2.0
    sweep_seconds: float = 1.0


class Connections(ServerState):
    """All connections of one server, and the clock that they share."""

    def __init__(self, bounds: HttpBounds, direct: Direct | None = None) -> None:
        super().__init__()
        self.bounds = bounds
        self.direct = direct
        self.now = 0.0  #: monotonic seconds at the latest sweep
        self.date_line = b""  #: the Date header as it stands on the wire
        self.open: dict[BoundedProtocol, None] = {}  #: in the order in which they came
        self._none_left: asyncio.Future[None] | None = None

    def sweep(self, now: float) -> None:
        """End every connection that is overdue."""
        self.now = now
        for connection in tuple(self.open):
            connection.sweep(now)

    def closed(self, connection: "BoundedProtocol") -> None:
        """A connection is gone."""
        self.open.pop(connection, None)
        if not self.open and self._none_left is not None and not self._none_left.done():  # it may be cancelled
            self._none_left.set_result(None)

    async def wait_until_none(self) -> None:
        """Return when no connection is left; for one caller at a time."""
        if self.open:
            self._none_left = asyncio.get_running_loop().create_future()
            try:
                await self._none_left
            finally:
                self._none_left = None
