"""Resources that are computed without a caller's input, on plain ASGI."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Receive, Scope, Send

from posthouse.core.errors import MethodNotAllowed, PosthouseError
from posthouse.serving.problems import send_problem
from posthouse.telemetry import Log, log

_METHODS: Final = frozenset({"GET", "HEAD"})


class PlainResource:
    """Answers ``GET`` and ``HEAD`` with what ``content`` returns, and with a problem if it raises."""

    def __init__(self, content: Callable[[], Awaitable[bytes]], content_type: bytes = b"application/json") -> None:
        self._content = content
        self._content_type = content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the ASGI signature
        """Answer 200, or a problem."""
        path = scope["path"]
        if scope["method"] not in _METHODS:
            await send_problem(send, MethodNotAllowed(), path, allow=", ".join(sorted(_METHODS)))
            return
        try:
            body = await self._content()
        except PosthouseError as error:
            await send_problem(send, error, path)
            return
        except Exception as fault:  # noqa: BLE001 - a bug becomes a log line and a 500
            log(Log.REQUEST_FAILED, exc_info=fault, method=scope["method"], path=scope["path"])
            await send_problem(send, PosthouseError(), path)
            return
        headers = [
            (b"content-type", self._content_type),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
