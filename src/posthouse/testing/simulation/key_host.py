"""Where a sender shows the keys that it signs with: a host that a node asks behind its answer.

Nothing in a simulation speaks TLS, so the node's requests for keys lose it on their way (:class:`WithoutTls`).
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from posthouse.testing.simulation.plan import KEY_ADDRESS, KEY_PORT, KeyFault
from posthouse.transport.protocol import Exchange, Request, Transport

_SECURE: Final = "https://"
_PLAIN: Final = "http://"
_NO: Final = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"


def key_at(path: str) -> str:
    """The key that stands at a path: a function of it, so that the host need remember none."""
    return blake2b(path.encode(), digest_size=32).hexdigest()


@dataclass(slots=True)
class WithoutTls:
    """Implements :class:`posthouse.transport.protocol.Transport`: asks for ``https`` in plain text."""

    transport: Transport

    async def send(self, request: Request) -> Exchange:
        """Send once."""
        if request.url.startswith(_SECURE):
            request = msgspec.structs.replace(request, url=_PLAIN + request.url.removeprefix(_SECURE))
        return await self.transport.send(request)

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()


class KeyHost:
    """Answers each request with the key that stands at its path.

    Args:
        faults: when it does not.
        began: the loop time at which the plan begins.
        counts: of what happened.

    Attributes:
        healed: nothing is wrong with it any more.
    """

    def __init__(self, faults: Sequence[KeyFault], began: float, counts: Counter[str]) -> None:
        self.healed = False
        self.counts = counts
        self._faults = faults
        self._began = began

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: _Visit(self), KEY_ADDRESS, KEY_PORT)

    def fault(self) -> KeyFault | None:
        """What is wrong with it now."""
        at = asyncio.get_running_loop().time() - self._began
        if self.healed:
            return None
        return next((fault for fault in self._faults if fault.at <= at < fault.at + fault.seconds), None)


class _Visit(asyncio.Protocol):
    """One connection."""

    def __init__(self, host: KeyHost) -> None:
        self._host = host
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A node connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A part of a request; none has a body."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            path = self._buffer[: self._buffer.find(b"\r\n")].decode("latin-1").split(" ")[1]
            del self._buffer[: end + 4]
            self._answer(path)

    def _answer(self, path: str) -> None:
        fault = self._host.fault()
        self._host.counts["keys asked for" if fault is None else "keys not given"] += 1
        if self._transport is None or (fault is not None and fault.hangs):
            return
        if fault is not None:
            self._transport.write(_NO)
            return
        body = json.dumps({"signing_key": key_at(path)}).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        del exc
        self._transport = None
