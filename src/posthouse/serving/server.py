"""The listening server: uvicorn's HTTP in the loop of the node, without uvicorn's process around it.

No signal handlers, no lifespan, no task: one timer a second for the date and the overdue. The loop is
the caller's; uvloop makes it faster.
"""

import asyncio
from email.utils import formatdate
from typing import Final

from starlette.types import ASGIApp
from uvicorn.config import Config

from posthouse.core.ports import Clock
from posthouse.serving.connections import Connections, HttpBounds
from posthouse.serving.direct import Direct
from posthouse.serving.protocol import BoundedProtocol

_BACKLOG: Final = 2_048


class ApiServer:
    """Serves one ASGI application, on one address or several.

    Args:
        app: the application; speaks HTTP only, has no lifespan.
        clock: for the Date header and for time limits.
        direct: answers some of the requests without ASGI; ``app`` must answer the like of them, too.
        bounds: what connections may do.
    """

    def __init__(
        self, app: ASGIApp, clock: Clock, *, direct: Direct | None = None, bounds: HttpBounds | None = None
    ) -> None:
        self._clock = clock
        self._bounds = bounds or HttpBounds()
        self._config = Config(
            app,
            interface="asgi3",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._connections = Connections(self._bounds, direct)
        self._listening: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections.open)

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen on an address, or on one more; port 0 takes a free one. Returns the port. Raises OSError.

        ``shared``: other processes listen there, too, and the system deals out the connections.
        """
        if not self._config.loaded:
            self._config.load()
        if self._timer is None:
            self._tick()
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: BoundedProtocol(self._config, self._connections),
                host,
                port,
                backlog=_BACKLOG,
                reuse_port=shared,
            )
        except OSError:
            if not self._listening:
                self._stop_ticking()
            raise
        self._listening.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Take no new connection, answer what is being asked, close. Idempotent.

        Requests that are not answered after ``grace_seconds`` seconds are cut off.
        """
        if not self._listening:
            return
        for server in self._listening:
            server.close()
        for connection in tuple(self._connections.open):
            connection.shutdown()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._connections.wait_until_none()
        except TimeoutError:
            await self._cut_off()
        self._stop_ticking()
        self._listening.clear()

    async def _cut_off(self) -> None:
        for connection in tuple(self._connections.open):
            connection.transport.abort()
        await self._connections.wait_until_none()
        tasks = list(self._connections.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tick(self) -> None:
        """Once a second: what time it is, and who is overdue."""
        date = formatdate(self._clock.now_ms() / 1000, usegmt=True).encode()
        self._connections.default_headers = [(b"date", date)]
        self._connections.date_line = b"date: %s\r\n" % date
        self._connections.sweep(self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(self._bounds.sweep_seconds, self._tick)

    def _stop_ticking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
