"""A receiver that counts a million deliveries in little memory: which came when, how often, and what came uncalled."""

import asyncio
import time
from array import array
from collections.abc import Sequence
from typing import Any, Self

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_ID = b"\r\nwebhook-id:"
_LENGTH = b"\r\ncontent-length:"


class Counter:
    """Expects each event at each of its endpoints. A context manager; :attr:`urls` are those of the endpoints."""

    def __init__(self, endpoints: int) -> None:
        self.strangers = 0  #: requests that belong to no delivery
        #: Deliveries that came again: when they came for the first time, monotonic seconds.
        self.repeats: list[float] = []
        self.arrived = 0  #: deliveries that came at least once
        self.urls: Sequence[str] = ()
        self._endpoints = endpoints
        self._numbers: dict[bytes, int] = {}
        self._first = array("d")
        self._connections: set[asyncio.BaseTransport] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        port = self._server.sockets[0].getsockname()[1]
        self.urls = tuple(f"http://127.0.0.1:{port}/{number}" for number in range(self._endpoints))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for transport in list(self._connections):
            transport.abort()  # type: ignore[attr-defined]
        await self._server.wait_closed()

    def expect(self, events: Sequence[str]) -> None:
        """Each of these events is to come once at each endpoint."""
        self._numbers = {event.encode(): number for number, event in enumerate(events)}
        self._first = array("d", bytes(8 * len(events) * self._endpoints))

    def note(self, event: bytes, path: bytes) -> None:
        """A request for this event came in at this path."""
        number = self._numbers.get(event)
        endpoint = int(path[1:]) if path[1:].isdigit() else self._endpoints
        if number is None or endpoint >= self._endpoints:
            self.strangers += 1
            return
        place = number * self._endpoints + endpoint
        first = self._first[place]
        if first:
            self.repeats.append(first)
        else:
            self._first[place] = time.monotonic()
            self.arrived += 1

    def joined(self, transport: asyncio.BaseTransport) -> None:
        """A connection was opened."""
        self._connections.add(transport)

    def left(self, transport: asyncio.BaseTransport) -> None:
        """It was closed."""
        self._connections.discard(transport)


class _Connection(asyncio.Protocol):
    """Reads requests as a node writes them, and answers each at once."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._counter.joined(transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._counter.left(self._transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[: end + 2]
            lower = head.lower()
            length = int(_value(lower, lower, _LENGTH) or b"0")
            if len(data) < end + 4 + length:
                break
            data = data[end + 4 + length :]
            self._counter.note(_value(head, lower, _ID), head.split(b" ", 2)[1])
            self._transport.write(_ANSWER)
        self._rest = data


def _value(head: bytes, lower: bytes, name: bytes) -> bytes:
    """The value of a header, empty if it is not there; ``lower`` is ``head`` in lower case."""
    start = lower.find(name)
    if start < 0:
        return b""
    start += len(name)
    return head[start : head.index(b"\r\n", start)].strip()
