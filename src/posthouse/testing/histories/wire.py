"""Connections in memory, and the strict reader of what a server says on them."""

import asyncio
import json
from collections import deque
from typing import Any, Final, NamedTuple

_HEAD_END: Final = b"\r\n\r\n"
_NO_BODY: Final = frozenset({204, 304})
_INTERIM: Final = range(100, 200)


class Answer(NamedTuple):
    """One answer, as it came."""

    status: int
    headers: dict[str, str]  #: names in lower case; none comes twice
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Wire(asyncio.Transport):
    """The server's end of a connection whose other end is the test.

    Attributes:
        written: everything that the server wrote.
        ended: it will write no more.
        closed: it is gone, also for reading.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended = False
        self.closed = False
        self._loop = loop
        self._protocol = protocol
        self._paused = False
        self._waiting: deque[bytes] = deque()
        protocol.connection_made(self)

    # -- the test's side ------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Let ``data`` arrive, at once or when the server reads again."""
        if data:
            self._waiting.append(data)
            self._deliver()

    def hang_up(self) -> None:
        """Close the test's half."""
        if not self.closed and not self._protocol.eof_received():
            self.close()

    # -- the server's side ----------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Keep ``data``; nothing is written to a connection that has ended."""
        assert not self.ended, "something was written behind the end"
        if not self.closed:
            self.written += data

    def write_eof(self) -> None:
        """The server says no more."""
        self.ended = True

    def can_write_eof(self) -> bool:
        """As a TCP connection can."""
        return True

    def close(self) -> None:
        """The connection is gone."""
        if not self.closed:
            self.closed = True
            self._waiting.clear()
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """The connection is gone."""
        self.close()

    def is_closing(self) -> bool:
        """Whether it is gone."""
        return self.closed

    def pause_reading(self) -> None:
        """Hold back what arrives."""
        self._paused = True

    def resume_reading(self) -> None:
        """Hand over what was held back."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        """The test takes everything at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is nothing to limit."""

    def _deliver(self) -> None:
        while self._waiting and not self._paused and not self.closed:
            self._protocol.data_received(self._waiting.popleft())


def read_answers(raw: bytes) -> tuple[list[Answer], bytes]:
    """The whole answers in ``raw``, and the bytes behind them.

    Interim (1xx) answers are left out. Every answer with a body must say how long it is. Raises
    ValueError for what is no HTTP.
    """
    answers: list[Answer] = []
    while True:
        head, found, rest = raw.partition(_HEAD_END)
        if not found:
            return answers, raw
        status, headers = _read_head(head)
        if status in _INTERIM:
            raw = rest
            continue
        size = 0 if status in _NO_BODY else int(headers["content-length"])
        if len(rest) < size:
            return answers, raw
        answers.append(Answer(status, headers, rest[:size]))
        raw = rest[size:]


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    line, *lines = head.decode("latin-1").split("\r\n")
    version, status, _ = (line + " ").split(" ", 2)
    if version != "HTTP/1.1" or len(status) != len("200"):
        raise ValueError(f"no status line: {line!r}")
    headers: dict[str, str] = {}
    for field in lines:
        name, colon, value = field.partition(":")
        if not colon or not name or name != name.strip() or name.lower() in headers:
            raise ValueError(f"no header, or one that came before: {field!r}")
        headers[name.lower()] = value.strip()
    return int(status), headers
