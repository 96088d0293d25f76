"""A transport without a network: answers what a script says, records what was sent."""

import asyncio
from collections.abc import Callable

from posthouse.transport.protocol import Exchange, Failure, Request, Timings

Script = Callable[[Request], "Exchange | asyncio.Future[Exchange]"]


def answer(status: int = 200, *, body: bytes = b"", retry_after: str | None = None) -> Exchange:
    """An answer with this status, as a transport reports it."""
    failure = None if 200 <= status < 300 else Failure.STATUS  # noqa: PLR2004 - the HTTP class of success
    return Exchange(failure=failure, timings=Timings(1_000), status=status, body=body, retry_after=retry_after)


def broken(failure: Failure) -> Exchange:
    """An exchange that ended without an answer."""
    return Exchange(failure=failure, timings=Timings(1_000), error=str(failure))


class ScriptedTransport:
    """Implements :class:`posthouse.transport.protocol.Transport`.

    ``script`` decides each exchange: an Exchange answers at once, a future when it is resolved.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script or (lambda _: answer())
        self.requests: list[Request] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    async def send(self, request: Request) -> Exchange:
        """Record ``request`` and do as the script says."""
        self.requests.append(request)
        for count, waiter in self._waiters:
            if len(self.requests) >= count and not waiter.done():
                waiter.set_result(None)
        result = self.script(request)
        return result if isinstance(result, Exchange) else await result

    async def close(self) -> None:
        """Nothing to close."""

    async def sent(self, count: int) -> list[Request]:
        """Wait until ``count`` requests were sent in all; those."""
        if len(self.requests) < count:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((count, waiter))
            await waiter
        return self.requests
