"""A small history with everything in it, for a test that runs it more than once: prints its digest.

Run it as ``python history.py SEED``.
"""

import asyncio
import random
import sys
from collections import Counter

from starlette.types import Receive, Scope, Send

from posthouse.core.address import AddressPolicy
from posthouse.serving.server import ApiServer
from posthouse.testing.receiver import Receiver
from posthouse.testing.simulation.http_client import HttpClient, NoAnswer
from posthouse.testing.simulation.loop import Crash, SimLoop, pass_time
from posthouse.testing.simulation.network import NetworkFaults, SimNetwork
from posthouse.testing.simulation.offload import SimOffload
from posthouse.testing.simulation.trace import Trace
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Request

HOST, PORT, PUBLISHERS, REQUESTS, LIVES = "203.0.114.1", 8080, 8, 40, 4


class History:
    """A relay that takes requests, "stores" each, sends it on and answers; it is killed, frozen and started anew."""

    def __init__(self, seed: int) -> None:
        self.trace = Trace()
        self.loop = SimLoop(seed, shuffle=0.3, trace=self.trace)
        self.network = SimNetwork(self.loop, random.Random(f"network {seed}"), self.trace)
        self.offload = SimOffload(self.loop, random.Random(f"disk {seed}"))
        self.chance = random.Random(f"world {seed}")
        self.stored: list[bytes] = []
        self.seen: Counter[str] = Counter()
        self.life = 0
        self.url = ""

    def now_ms(self) -> int:
        return int(self.loop.now * 1_000)

    def monotonic(self) -> float:
        return self.loop.now

    async def relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application of the node."""
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        await self.offload(lambda: self.store(body))
        request = Request(url=self.url, headers={}, body=body, timeout_ms=2_000, connect_timeout_ms=500)
        exchange = await self.transport.send(request)
        self.seen["sent" if exchange.failure is None else exchange.failure.value] += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def store(self, body: bytes) -> None:
        """May crash, before or after the fact."""
        crash = self.chance.random() < 0.005 and self.life < LIVES
        self.stored.append(body)
        if crash:
            self.kill()
            raise Crash

    async def node(self) -> None:
        """One life."""
        self.transport = AiohttpTransport(
            AddressPolicy(), self, resolve=self.network.resolve, connect=self.network.connect
        )
        self.server = ApiServer(self.relay, self)
        await self.server.start(HOST, PORT)

    async def start(self) -> None:
        self.life += 1
        await self.loop.in_life(self.life, self.node())

    def kill(self) -> None:
        silently = self.chance.random() < 0.5
        self.seen["cut" if silently else "killed"] += 1
        self.loop.kill(self.life)
        self.network.cut_life(self.life, silently=silently)

    async def publish(self, number: int) -> None:
        client = HttpClient(HOST, PORT)
        for i in range(REQUESTS):
            try:
                await client.request("POST", "/", body=b"%d/%d" % (number, i) * 100, timeout=3)
            except NoAnswer as error:
                self.seen["in doubt" if error.sent else "not sent"] += 1
            else:
                self.seen["answered"] += 1
            await pass_time(self.chance.random())
        client.close()

    async def plague(self) -> None:
        """Faults of the network, and of the node's scheduler."""
        for _ in range(20):
            self.network.faults = NetworkFaults(
                latency=(0.000_1, self.chance.choice((0.001, 0.01, 0.2))),
                loss=self.chance.choice((0, 0.02)),
                reset=self.chance.choice((0, 0.01)),
                chunk=self.chance.choice((None, (1, 200))),
                black_holes={(HOST, PORT)} if self.chance.random() < 0.1 else set(),
            )
            self.offload.pace.stall_chance = self.chance.choice((0.0, 0.05))
            await pass_time(0.5)
            if self.loop.is_dead(self.life):
                self.loop.bury(self.life)
                self.network.revive()
                await self.start()
            elif self.chance.random() < 0.2:
                self.loop.freeze(self.life)
                self.seen["frozen"] += 1
                await pass_time(2 * self.chance.random())
                self.loop.thaw(self.life)
            elif self.chance.random() < 0.2 and self.life < LIVES:
                self.kill()

    async def main(self) -> None:
        self.network.names["hook.example"] = ("203.0.114.2",)
        async with Receiver(host="203.0.114.2") as receiver:
            self.url = f"http://hook.example:{receiver.port}/"
            await self.start()
            plague = asyncio.create_task(self.plague())
            await asyncio.gather(*(self.publish(number) for number in range(PUBLISHERS)))
            await plague
            self.seen["received"] = len(receiver.requests)
            if not self.loop.is_dead(self.life):
                self.kill()
            self.loop.bury(self.life)

    def run(self) -> str:
        """Everything; returns the digest."""
        self.loop.simulate(self.main())
        self.loop.close()
        assert not self.loop.complaints, self.loop.complaints
        return self.trace.digest


if __name__ == "__main__":
    history = History(int(sys.argv[1]))
    sys.stdout.write(f"{history.run()} {history.loop.steps} {sorted(history.seen.items())}\n")
    sys.stdout.write(f"{sorted(history.network.happened.items())}\n")
