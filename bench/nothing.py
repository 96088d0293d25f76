"""A bare ASGI endpoint: reads the whole request, answers 200, does nothing.

Usage: ``nothing.py READY``: the file to write ``{"url"}`` to when it listens.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

_Message = MutableMapping[str, Any]


async def app(_scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Any]) -> None:
    """The application."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def main(ready: str) -> None:
    """Serve until SIGTERM, as fast as uvicorn can."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning"
    )
    Path(ready).write_text(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), encoding="utf-8")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main(sys.argv[1])
