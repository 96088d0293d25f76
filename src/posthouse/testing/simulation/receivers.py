"""Receivers: HTTP servers outside the node that answer as their plan says, and write down all that they get."""

import asyncio
import json
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final
from zlib import crc32

from posthouse.core.batch import BATCH_PREFIX
from posthouse.testing.simulation.plan import HOOK_PORT, HostPlan, Mood, generator
from posthouse.testing.simulation.records import Received, Records

_HUGE: Final = 80_000  #: bytes of a body that is not read to its end
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: Moods whose answer breaks off.
_HALVES: Final[Mapping[Mood, bytes]] = MappingProxyType(
    {
        Mood.GARBAGE: b"\x16\x03\x01 this is not HTTP at all\r\n\r\n",
        Mood.CUT_HEAD: b"HTTP/1.1 200 OK\r\nContent-Le",
        Mood.CUT_BODY: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    }
)
#: Other answers than the usual one that are always the same.
_WHOLES: Final[Mapping[Mood, tuple[int, bytes]]] = MappingProxyType(
    {
        Mood.EMPTY: (204, b"HTTP/1.1 204 No Content\r\n\r\n"),
        Mood.CHUNKED: (
            200,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\n ok\r\n0\r\n\r\n",
        ),
        Mood.INTERIM: (
            200,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + _ANSWER,
        ),
        Mood.HUGE: (200, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _HUGE + b"x" * _HUGE),
        Mood.ELSEWHERE: (302, b"HTTP/1.1 302 Found\r\nLocation: http://203.0.114.1/\r\nContent-Length: 0\r\n\r\n"),
        Mood.GONE: (410, b"HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\ngone"),
    }
)
_DRIP_SECONDS: Final = 0.5
_ODD_ONES: Final = 6  # one event in so many is of a kind that a receiver does not like


class Receiver:
    """One host.

    Args:
        plan: how it answers, and when.
        seed: of the history.
        records: get every request.
        life_of: which life of the node opened the connection from a port.
        timeout_of: the limit of an endpoint, in seconds.
        success_of: the statuses that an endpoint counts as success.
        began: the loop time at which the plan begins.
    """

    def __init__(
        self,
        plan: HostPlan,
        seed: int,
        records: Records,
        *,
        life_of: Callable[[int], int],
        timeout_of: Callable[[int], float],
        success_of: Callable[[int], frozenset[int]],
        began: float,
    ) -> None:
        self.plan = plan
        self.records = records
        self.life_of = life_of
        self.timeout_of = timeout_of
        self.success_of = success_of
        self.chance: Random = generator(seed, f"receiver {plan.number}")
        self.healed = False
        self._began = began
        self._connections = 0

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Conversation(self), self.plan.address, HOOK_PORT)

    def mood(self) -> Mood:
        """How the next request is answered."""
        at = asyncio.get_running_loop().time() - self._began
        phase = next((phase for phase in reversed(self.plan.phases) if phase.at <= at), None)
        if phase is None or (self.healed and not self.plan.dead) or self.chance.random() >= phase.share:
            return self.chance.choices((Mood.FINE, Mood.EMPTY, Mood.CHUNKED, Mood.INTERIM), (9, 1, 1, 1))[0]
        return phase.mood

    def next_connection(self) -> int:
        """A number for a new connection."""
        self._connections += 1
        return self._connections


class Conversation(asyncio.Protocol):
    """One connection: reads requests one after the other, answers each."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._number = receiver.next_connection()
        self._port = 0
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._mood: Mood | None = None  # of the request that is being read
        self._current: Received | None = None  # being answered
        self._timer: asyncio.TimerHandle | None = None
        self._deaf = False
        self._broken_by_us = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A node connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port = transport.get_extra_info("peername")[1]

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        if self._deaf or self._transport is None:
            return
        if self._mood is None:
            self._mood = self._receiver.mood()
            if self._mood is Mood.SLAM:
                self._abort()
                return
        self._buffer += data
        self._read()

    def _read(self) -> None:
        if self._current is not None:
            return  # the other side does not pipeline; what comes early waits
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        line, *fields = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        length = int(headers.get("content-length", 0))
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        assert self._mood is not None
        self._current = received = Received(
            endpoint=int(line.split(" ")[1].rpartition("/")[2]),
            life=self._receiver.life_of(self._port),
            host=self._receiver.plan.number,
            connection=self._number,
            at=self._loop.time(),
            event_id=headers.get("webhook-id", ""),
            stamp=int(headers.get("webhook-timestamp", 0)),
            headers=headers,
            body=body,
            mood=self._mood,
        )
        received.event_ids = _events_in(received)
        self._receiver.records.received.append(received)
        self._receiver.records.counts[f"mood {self._mood}"] += 1
        self._mood = None
        self._answer(received)

    # -- answering ------------------------------------------------------------------------------

    def _answer(self, received: Received) -> None:
        chance = self._receiver.chance
        limit = self._receiver.timeout_of(received.endpoint)
        mood = received.mood
        if mood is Mood.HANG:
            return
        if mood is Mood.SLOW:
            delay = chance.uniform(0.4, 0.85) * limit
        elif mood is Mood.LATE:
            delay = chance.uniform(1.0, 1.5) * limit
        else:
            delay = chance.choice((0.0, chance.uniform(0.001, 0.02), chance.uniform(0.005, 0.1)))
        self._timer = self._loop.call_later(delay, self._act, received)

    def _act(self, received: Received) -> None:
        mood = received.mood
        if mood is Mood.DROP:
            self._abort()
        elif mood in _HALVES:
            self._write(_HALVES[mood])
            self._close()
        elif mood is Mood.DRIP:
            self._write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            self._drip()
        else:
            status, answer = _whole(received, self._receiver.chance)
            if mood is Mood.TWICE and self._receiver.chance.random() < 0.5:
                answer += _ANSWER
                received.unasked_at = self._loop.time()
            self._finish(received, status, answer)
            self._follow(received)

    def _follow(self, received: Received) -> None:
        """What comes behind an answer."""
        chance = self._receiver.chance
        if received.mood is Mood.ONCE:
            self._timer = self._loop.call_later(chance.choice((0.0, 0.01, 0.3)), self._close)
        elif received.mood is Mood.DEAF:
            self._deaf = True
        elif received.mood is Mood.TWICE and received.unasked_at is None:
            self._timer = self._loop.call_later(chance.uniform(0.05, 0.3), self._answer_nobody, received)

    def _finish(self, received: Received, status: int, answer: bytes) -> None:
        self._write(answer)
        received.status = status
        if self._transport is not None and not self._transport.is_closing():
            received.answered_at = self._loop.time()
            received.succeeded = status in self._receiver.success_of(received.endpoint)
        self._current = None
        if self._buffer and not self._deaf:
            self._mood = self._receiver.mood()
            self._read()

    def _answer_nobody(self, received: Received) -> None:
        if self._current is None and not self._buffer:
            self._write(_ANSWER)
            received.unasked_at = self._loop.time()

    def _drip(self) -> None:
        self._write(b".")
        if self._transport is not None and not self._transport.is_closing():
            self._timer = self._loop.call_later(_DRIP_SECONDS, self._drip)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._broken_by_us = True
            self._transport.close()

    def _abort(self) -> None:
        if self._transport is not None:
            self._broken_by_us = True
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._current is not None:
            self._current.ended_at = self._loop.time()
            self._current.hung_up = self._broken_by_us
            self._current.torn = exc is not None or self._broken_by_us


def _events_in(received: Received) -> tuple[str, ...]:
    """The ids of the events that a request holds."""
    if not received.event_id.startswith(BATCH_PREFIX):
        return (received.event_id,)
    return tuple(item["id"] for item in json.loads(received.body)["data"])


def _whole(received: Received, chance: Random) -> tuple[int, bytes]:
    """A whole answer: its status, and all its bytes."""
    mood = received.mood
    if mood is Mood.ERROR:
        status = chance.choice((500, 503))
        return status, b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status
    if mood is Mood.BUSY:
        wait = chance.randint(1, 3)
        return 429, b"HTTP/1.1 429 Later\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % wait
    odd = [event_id for event_id in received.event_ids if crc32(event_id.encode()) % _ODD_ONES == 0]
    if mood is Mood.PICKY and odd:
        return 422, b"HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n"
    if mood is Mood.PARTIAL and odd and received.event_id.startswith(BATCH_PREFIX):
        received.not_taken = frozenset(odd)
        body = json.dumps({"failed": [{"id": event_id, "error": "odd"} for event_id in odd]}).encode()
        return 200, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    return _WHOLES.get(mood, (200, _ANSWER))
