"""Latency at a load that leaves the node room: publisher and receiver in one process, with one clock.

Requests leave at random instants (a Poisson process) at a fixed mean rate, whether or not earlier
ones were answered. Latency counts from the instant at which a request was due to leave, so that a
wait inside this process cannot hide a slow node. Reads one JSON document of :class:`Plan` from standard input
and prints one of :class:`Latencies`.
"""

import asyncio
import gc
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import httptools
import msgspec
import uvloop

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_MARK = b'"sequence":'
_FILL = "Thank you for your order. It is on its way and will be with you within two days."
_ITEM = (
    '{"type":"%s.%d","data":{"sequence":%d,"object":"invoice","amount":%d,"currency":"EUR",'
    '"customer":{"id":"cus_%08d","name":"Example Trading Company","email":"billing@example.org"},'
    '"lines":[{"sku":"A-1000","quantity":2,"price":1250},{"sku":"B-2000","quantity":1,"price":4999}],'
    f'"status":"paid","note":"{_FILL}"}}}}'
)
_SETTLE_SECONDS_MAX = 10.0


class Plan(msgspec.Struct, frozen=True):
    """What to publish, and where it comes back."""

    host: str
    port: int
    api_key: str
    events_per_second: float
    events: int  #: per request
    seconds: int
    connections: int
    addresses: tuple[str, ...]  #: to receive on
    sink_port: int
    type_prefix: str  #: events have the types ``prefix.0``, ``prefix.1``, …, one per address
    seed: int


class Latencies(msgspec.Struct, frozen=True):
    """What was measured. Times are milliseconds."""

    events: int
    accepted: int
    delivered: int
    duplicates: int
    publish_to_accepted_p50: float
    publish_to_accepted_p99: float
    accept_to_delivered_p50: float  #: from the 202 to the arrival at the endpoint; 0 if that came first
    accept_to_delivered_p99: float
    publish_to_delivered_p50: float  #: the whole way, accepting included
    publish_to_delivered_p99: float
    publish_to_delivered_max: float
    late_p99: float  #: how late this process was itself; large values spoil the others


class _Receiver(asyncio.Protocol):
    """Answers every delivery with 200 and notes when it came."""

    def __init__(self, paced: "Paced") -> None:
        self._paced = paced
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._transport.write(_ANSWER)
        body, self._body = self._body, b""
        start = body.index(_MARK) + len(_MARK)
        self._paced.received(int(body[start : body.index(b",", start)]))


class _Publisher(asyncio.Protocol):
    """One kept-alive connection to the node; one request at a time."""

    def __init__(self, paced: "Paced") -> None:
        self._paced = paced
        self._asked: tuple[int, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        self._paced.free.append(self)

    def ask(self, sequences: tuple[int, ...], request: bytes) -> None:
        """Send one request that publishes ``sequences``."""
        self._asked = sequences
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._paced.answered(self, self._asked, self._parser.get_status_code())


class Paced:
    """One measurement."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)  # noqa: S311 - the same load every time
        self._due: list[float] = []  # by sequence
        self._delivered: dict[int, float] = {}
        self._accepted: dict[int, float] = {}
        self._late: list[float] = []
        self._duplicates = 0
        self._waiting: deque[tuple[tuple[int, ...], bytes]] = deque()
        self._published = False
        self._complete = asyncio.Event()
        self.free: list[_Publisher] = []

    async def run(self) -> Latencies:
        """Publish for the planned time, wait until everything arrived (for a bounded time), and report."""
        plan = self._plan
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Receiver(self), list(plan.addresses), plan.sink_port, backlog=1024)
        for _ in range(plan.connections):
            await loop.create_connection(lambda: _Publisher(self), plan.host, plan.port)
        gc.freeze()
        gc.disable()
        await self._publish()
        self._published = True
        self._look()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._complete.wait(), _SETTLE_SECONDS_MAX)
        server.close()
        return self._report()

    def received(self, sequence: int) -> None:
        """A delivery came in."""
        if sequence in self._delivered:
            self._duplicates += 1
        else:
            self._delivered[sequence] = time.perf_counter()
        self._look()

    def answered(self, publisher: _Publisher, sequences: Sequence[int], status: int) -> None:
        """The node answered a publish request."""
        if status == 202:
            self._accepted.update(dict.fromkeys(sequences, time.perf_counter()))
        self.free.append(publisher)
        self._send_waiting()
        self._look()

    def _look(self) -> None:
        if self._published and len(self._due) == len(self._accepted) == len(self._delivered):
            self._complete.set()

    async def _publish(self) -> None:
        plan = self._plan
        rate = plan.events_per_second / plan.events
        due = started = time.perf_counter()
        while True:
            due += self._chance.expovariate(rate)
            if due > started + plan.seconds:
                return
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            self._late.append(time.perf_counter() - due)
            self._waiting.append(self._request(due))
            self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and self.free:
            sequences, request = self._waiting.popleft()
            self.free.pop().ask(sequences, request)

    def _request(self, due: float) -> tuple[tuple[int, ...], bytes]:
        plan, chance = self._plan, self._chance
        first = len(self._due)
        sequences = tuple(range(first, first + plan.events))
        self._due += [due] * plan.events
        items = [
            _ITEM % (plan.type_prefix, chance.randrange(len(plan.addresses)), n, chance.randrange(100, 100_000), n)
            for n in sequences
        ]
        path, body = "/v1/events", items[0]
        if plan.events > 1:
            path, body = "/v1/events/batch", f'{{"events":[{",".join(items)}]}}'
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\nAuthorization: Bearer {plan.api_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return sequences, (head + body).encode()

    def _report(self) -> Latencies:
        due, accepted, delivered = self._due, self._accepted, self._delivered
        accepting = sorted(at - due[n] for n, at in accepted.items())
        after = sorted(max(0.0, delivered[n] - at) for n, at in accepted.items() if n in delivered)
        whole = sorted(at - due[n] for n, at in delivered.items())
        return Latencies(
            events=len(due),
            accepted=len(accepted),
            delivered=len(delivered),
            duplicates=self._duplicates,
            publish_to_accepted_p50=_percentile_ms(accepting, 50),
            publish_to_accepted_p99=_percentile_ms(accepting, 99),
            accept_to_delivered_p50=_percentile_ms(after, 50),
            accept_to_delivered_p99=_percentile_ms(after, 99),
            publish_to_delivered_p50=_percentile_ms(whole, 50),
            publish_to_delivered_p99=_percentile_ms(whole, 99),
            publish_to_delivered_max=_percentile_ms(whole, 100),
            late_p99=_percentile_ms(sorted(self._late), 99),
        )


def _percentile_ms(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of ``ordered`` seconds, in ms. There must be some."""
    return round(ordered[max(0, -(-len(ordered) * percent // 100) - 1)] * 1000, 2)


def main() -> int:
    """Measure; 1 if nothing came through, so that there is nothing to report."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    try:
        latencies = uvloop.run(Paced(plan).run())
    except IndexError:
        print("No event was accepted and delivered.", file=sys.stderr)
        return 1
    print(msgspec.json.encode(latencies).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
