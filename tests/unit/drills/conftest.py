import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from posthouse.core.envelope import body
from posthouse.core.model import Environment, Event
from posthouse.core.signature import Signer
from posthouse.drills.receivers import Inbox, Receivers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WAIT_SECONDS_MAX = 10.0


class Sender:
    """Delivers as a node would: signed, on one connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def begin(
        self, event: str, data: bytes = b"{}", *, path: str = "/a", event_type: str = "drill.a", secret: str = SECRET
    ) -> asyncio.StreamReader:
        """Send one delivery; where its answer will come."""
        made = Event(
            key=1, id=event, environment=Environment.LIVE, tenant="t", type=event_type, accepted_at=1, data=data
        )
        raw = body(made)
        headers = {"content-length": str(len(raw)), **Signer([secret]).headers(event, int(time.time()), raw)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + raw)
        return self._reader

    async def send(self, event: str, data: bytes = b"{}", **how: str) -> int:
        """Send one delivery; the status of its answer."""
        return await status(await self.begin(event, data, **how))

    async def close(self) -> None:
        """Hang up. Idempotent."""
        if self._writer is not None:
            self._writer.close()
            await self._writer.wait_closed()
            self._writer = None


async def status(reader: asyncio.StreamReader) -> int:
    """The status of the next answer."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    opened = Receivers("127.0.0.1")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def inbox(receivers: Receivers) -> Inbox:
    """A receiver that wants drill.a."""
    made = receivers.inbox("a", ["drill.a"])
    made.secret = SECRET
    return made


@pytest.fixture
async def sender(receivers: Receivers) -> AsyncIterator[Sender]:
    made = Sender(receivers.port)
    yield made
    await made.close()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Lets the loop turn until something holds."""

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not holds():  # noqa: ASYNC110 - what is waited for are plain numbers
                await asyncio.sleep(0)

    return until
