"""What one send costs: the transport against a bare ``aiohttp.ClientSession.post``, in the same run.

A child process on another core answers each POST with a short 200 over kept-alive connections. Rounds of the
two take turns, because machines are noisy; the cheapest round of each counts. Prints CPU and wall
microseconds of the sending process for one send, and the ratio.

Run: ``python bench/send_cost.py [--sends 10000] [--at-once 16] [--rounds 5] [--loop uvloop]``
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import aiohttp
import msgspec
import uvloop

from posthouse.core.address import AddressPolicy
from posthouse.system import SystemClock
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Request

BODY: Final = b'{"type":"order.created","timestamp":"2026-01-01T00:00:00Z","data":{"pad":"' + b"x" * 376 + b'"}}'
HEADERS: Final = {
    "Content-Type": "application/json",
    "User-Agent": "Posthouse/bench",
    "webhook-id": "evt_0123456789abc",
    "webhook-timestamp": "1767225600",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok"
)

Send = Callable[[], Awaitable[None]]


class Cost(msgspec.Struct, frozen=True):
    """Microseconds for one send."""

    cpu_us: float
    wall_us: float


class Answerer(asyncio.Protocol):
    """Answers every request on a connection, as cheaply as can be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: Any = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        data = self._rest + data
        while True:
            head, end, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if not end or len(body) < length:
                break
            data = body[length:]
            self._transport.write(ANSWER)
        self._rest = data


async def answer_for_ever() -> None:
    """The child process: print the port, then serve until killed."""
    server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def answerer() -> Iterator[str]:
    """The URL of a child process that answers; this process and the child get a core each if there are two."""
    cores = sorted(os.sched_getaffinity(0))
    child = subprocess.Popen([sys.executable, __file__, "--answer"], stdout=subprocess.PIPE, text=True)
    try:
        if len(cores) > 1:
            os.sched_setaffinity(child.pid, {cores[1]})
            os.sched_setaffinity(0, {cores[0]})
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/hook"
    finally:
        child.kill()
        child.communicate()


async def measure(send: Send, sends: int, at_once: int) -> Cost:
    """The cost of ``sends`` sends with ``at_once`` of them under way."""
    left = iter(range(sends))

    async def work() -> None:
        for _ in left:
            await send()

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return Cost((time.process_time() - cpu) / sends * 1e6, (time.perf_counter() - wall) / sends * 1e6)


async def compare(url: str, arguments: argparse.Namespace) -> dict[str, list[Cost]]:
    """Both, in turns."""
    transport = AiohttpTransport(AddressPolicy(("127.0.0.0/8",)), SystemClock())
    request = Request(url, HEADERS, BODY)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def bare() -> None:
            async with session.post(url, data=BODY, headers=HEADERS) as response:
                await response.read()
            assert response.status == 200

        async def ours() -> None:
            exchange = await transport.send(request)
            assert exchange.failure is None, exchange

        subjects: dict[str, Send] = {"session.post": bare, "transport": ours}
        costs: dict[str, list[Cost]] = {name: [] for name in subjects}
        for send in subjects.values():
            await measure(send, arguments.sends // 10, arguments.at_once)
        for _ in range(arguments.rounds):
            for name, send in subjects.items():
                costs[name].append(await measure(send, arguments.sends, arguments.at_once))
    await transport.close()
    return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sends", type=int, default=10_000, help="in a round")
    parser.add_argument("--at-once", type=int, default=16, help="under way at any time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        uvloop.run(answer_for_ever())
        return
    with (
        answerer() as url,
        asyncio.Runner(
            loop_factory=uvloop.new_event_loop if arguments.loop == "uvloop" else asyncio.new_event_loop
        ) as runner,
    ):
        costs = runner.run(compare(url, arguments))
    best = {name: min(rounds, key=lambda cost: cost.cpu_us) for name, rounds in costs.items()}
    for name, cost in best.items():
        print(f"{name:14} {cost.cpu_us:7.1f} µs CPU {cost.wall_us:7.1f} µs wall for a send ({arguments.loop})")
    print(f"ratio of CPU   {best['transport'].cpu_us / best['session.post'].cpu_us:7.2f}")


if __name__ == "__main__":
    main()
