"""A TCP proxy before a PostgreSQL that loses answers: the server has done what it was asked, and nobody hears it."""

import asyncio
import contextlib
import struct
from typing import Any, Final, Self

from posthouse.drills.background import Background

_BEGUN: Final = b"BEGIN"
_ENDED: Final = (b"COMMIT", b"ROLLBACK")


class CuttingProxy:
    """Listens on the loopback interface while it is entered.

    ``cut`` names a lane: of that the next answer which says that something is durable is taken away, and then the
    connection. ``lost`` counts those.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._background = Background()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any] | None] = set()
        self._armed: set[str] = set()
        self.lost = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._background.__enter__()
        self._background.run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._background.run(self._close())
        self._background.__exit__()

    def cut(self, lane: str) -> None:
        """Lose the next answer on this lane."""
        self._background.call(lambda: self._armed.add(lane))

    @property
    def is_armed(self) -> bool:
        """Whether an answer is still to be lost."""
        return bool(self._armed)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        serving = [task for task in self._serving if task is not None]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        self._serving.add(asyncio.current_task())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                lane = await _start(client, to_client, to_server)
                answers = asyncio.ensure_future(_pass_on(server, to_client))
                try:
                    await self._relay(lane, client, to_server, server, answers)
                finally:
                    answers.cancel()
        finally:
            to_client.transport.abort()
            to_server.transport.abort()
            self._serving.discard(asyncio.current_task())

    async def _relay(
        self,
        lane: str,
        client: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        answers: "asyncio.Future[None]",
    ) -> None:
        """Pass requests on one by one, until the client goes or an answer is lost."""
        in_transaction = False
        while not answers.done():
            request, executes, command = await _request(client)
            is_durable = command.startswith(b"COMMIT") or (executes and not in_transaction)
            in_transaction = command.startswith(_BEGUN) or (in_transaction and not command.startswith(_ENDED))
            if is_durable and lane in self._armed:
                self._armed.discard(lane)
                answers.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await answers
                to_server.write(request)
                await _ready(server)
                self.lost += 1
                return
            to_server.write(request)
            await to_server.drain()


async def _start(client: asyncio.StreamReader, to_client: asyncio.StreamWriter, to_server: asyncio.StreamWriter) -> str:
    """Pass the start of a connection on; the lane that it is for."""
    while True:
        head = await client.readexactly(4)
        body = await client.readexactly(struct.unpack("!i", head)[0] - 4)
        if body == struct.pack("!i", 80877103):  # may it be TLS?
            to_client.write(b"N")
            continue
        to_server.write(head + body)
        name = body.partition(b"application_name\0")[2].partition(b"\0")[0].decode()
        return name.rpartition(":")[2]


async def _request(client: asyncio.StreamReader) -> tuple[bytes, bool, bytes]:
    """Messages up to one that the server answers; whether they run a statement, and the text if it is a command."""
    found, executes = b"", False
    while True:
        head = await client.readexactly(5)
        body = await client.readexactly(struct.unpack("!i", head[1:])[0] - 4)
        found += head + body
        executes |= head[:1] == b"E"
        if head[:1] in {b"S", b"H", b"Q", b"p", b"X"}:
            return found, executes, body if head[:1] == b"Q" else b""


async def _ready(server: asyncio.StreamReader) -> None:
    """Read until the server says that it has done all that it was asked."""
    while True:
        head = await server.readexactly(5)
        await server.readexactly(struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] == b"Z":
            return


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(1 << 16):
            target.write(piece)
            await target.drain()
