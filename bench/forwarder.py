"""The bare forwarder: what a gateway costs that keeps nothing.

It takes events over HTTP as a node does, decodes them, makes the same body, signs it with the same
code, sends it with the same client, and answers when the receiver has answered. There is no store,
so whatever is on its way when the process dies is lost.

Usage: ``forwarder.py ENDPOINTS READY``: a JSON list of ``{"url", "secret"}`` to read, and the file to write
``{"url"}`` to when it listens.
"""

import asyncio
import gc
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn

from posthouse.core.address import AddressPolicy
from posthouse.core.envelope import body as envelope_body
from posthouse.core.ids import EVENT, make_id, next_key
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT
from posthouse.core.model import Environment, Event
from posthouse.core.signature import Signer
from posthouse.engine.sender import USER_AGENT
from posthouse.system import SystemClock
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Request

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HEADERS: Final = [(b"content-type", b"application/json")]


class _EventIn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str
    data: msgspec.Raw


class _BatchIn(msgspec.Struct, forbid_unknown_fields=True):
    events: list[_EventIn]


class _Answer(msgspec.Struct):
    id: str
    deliveries: int = 1
    duplicate: bool = False


_decode_event: Final = msgspec.json.Decoder(_EventIn).decode
_decode_batch: Final = msgspec.json.Decoder(_BatchIn).decode
_encode: Final = msgspec.json.Encoder().encode


class _Endpoint:
    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self.signer = Signer([secret])
        #: As many requests at once as a node would have on their way to one endpoint.
        self.free = asyncio.Semaphore(IN_FLIGHT_PER_ENDPOINT)


class Forwarder:
    """The ASGI application."""

    def __init__(self, endpoints: list[dict[str, str]]) -> None:
        self._clock = SystemClock()
        self._transport = AiohttpTransport(AddressPolicy(("127.0.0.0/8",)), self._clock)
        self._endpoints = {f"bench.{n}": _Endpoint(e["url"], e["secret"]) for n, e in enumerate(endpoints)}
        self._last_key = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer one request: 202 if everything in it was delivered, else 502."""
        raw = await _read(receive)
        if scope["path"] == "/v1/events":
            answer, delivered = await self._forward(_decode_event(raw))
            status, content = 202 if delivered else 502, _encode(answer)
        else:
            sent = await asyncio.gather(*map(self._forward_in_turn, _decode_batch(raw).events))
            status = 202 if all(delivered for _, delivered in sent) else 502
            content = _encode({"events": [answer for answer, _ in sent]})
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*_HEADERS, length]})
        await send({"type": "http.response.body", "body": content})

    async def close(self) -> None:
        """Close the outbound connections."""
        await self._transport.close()

    async def _forward_in_turn(self, item: _EventIn) -> tuple[_Answer, bool]:
        async with self._endpoints[item.type].free:
            return await self._forward(item)

    async def _forward(self, item: _EventIn) -> tuple[_Answer, bool]:
        now = self._clock.now_ms()
        self._last_key = key = next_key(self._last_key, now, 0)
        event = Event(
            key=key,
            id=make_id(EVENT, key),
            environment=Environment.LIVE,
            tenant="default",
            type=item.type,
            accepted_at=now,
            data=bytes(item.data),
        )
        endpoint = self._endpoints[item.type]
        body = envelope_body(event)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            **endpoint.signer.headers(event.id, now // 1000, body),
        }
        exchange = await self._transport.send(Request(endpoint.url, headers, body))
        return _Answer(event.id), exchange.failure is None


async def _read(receive: _Receive) -> bytes:
    message = await receive()
    raw: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return raw
    parts = [raw]
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts)


async def serve(endpoints: list[dict[str, str]], ready: Path) -> None:
    """Listen on a free port until a signal says stop."""
    application = Forwarder(endpoints)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    settings = uvicorn.Config(application, http="httptools", lifespan="off", access_log=False, log_level="warning")
    server = uvicorn.Server(settings)
    # Connections wait in the listener's queue until the server takes them.
    unfinished = ready.with_suffix(".part")
    unfinished.write_text(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), encoding="utf-8")
    os.replace(unfinished, ready)  # noqa: PTH105 - the name appears with all of its content
    # As a node does: what was made until now is not walked by the collector.
    gc.collect()
    gc.freeze()
    try:
        await server.serve(sockets=[listener])
    finally:
        await application.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2])))
