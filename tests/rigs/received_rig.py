"""Kill a node over and over while a sender posts: nothing that was answered is lost, nothing is passed on twice.

Usage: ``python tests/rigs/received_rig.py --kills 100 --rate 300``
"""

import argparse
import asyncio
import hmac
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
from rig_node import RigNode, rig_node

from posthouse.core.delivery import State
from posthouse.core.model import Environment
from posthouse.store.open import open_store
from posthouse.store.protocol import DeliveryQuery, EventQuery, RequestQuery, Store
from posthouse.system import SystemClock
from posthouse.testing.receiver import Receiver

LIFE_SECONDS = (0.05, 1.5)  #: between a start and the kill
LAST_SECONDS = 1.0  #: of load after the last start
CONNECTIONS = 8
AGAIN_SECONDS = 0.02  #: after a connection was refused
SETTLE_SECONDS_MAX = 60.0
_PAGE = 500
_SECRET = "a secret that both sides know"


class Figures(msgspec.Struct, frozen=True):
    """What came of it."""

    kills: int
    answered: int  #: identities with a 2xx
    cut_off: int  #: requests that lost their answer; each is sent again with the same identity
    refused: int  #: answers that were neither 2xx nor told the sender to come again
    requests: int  #: in the store
    lost: int  #: answered identities of which the store has no request
    unread: int  #: answered identities without an event
    doubled: int  #: identities with two events
    undelivered: int  #: events that were not delivered once, as far as the store says
    unarrived: int  #: answered identities that the endpoint never got
    imbalance: int  #: of the books, those of sources included
    waiting: int  #: requests that were not read in the end

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        laws = ("refused", "lost", "unread", "doubled", "undelivered", "unarrived", "imbalance", "waiting")
        found = [f"{name} is {getattr(self, name)}, not 0" for name in laws if getattr(self, name)]
        if not (self.answered and self.cut_off):
            found.append("nothing was answered, or nothing was cut off: the kills met no load")
        return found


class Sender:
    """Posts events of GitHub, each until it has its 2xx, as one who sends again."""

    def __init__(self, node: RigNode, path: str, *, rate: float) -> None:
        self._node = node
        self._path = path
        self._every = CONNECTIONS / rate
        self._last = 0
        self.stopping = False
        self.answered: set[int] = set()
        self.cut_off = 0
        self.refused = 0

    async def run(self) -> None:
        """Send until :attr:`stopping`; what is under way then gets its answer first."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._post_all())

    async def _post_all(self) -> None:
        wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.stopping:
            self._last += 1
            number, started = self._last, time.monotonic()
            while number not in self.answered:
                try:
                    wire = wire or await self._connect()
                    await self._post(number, *wire)
                except (OSError, asyncio.IncompleteReadError):
                    if wire is not None:
                        self.cut_off += 1
                        wire[1].close()
                        wire = None
                    await asyncio.sleep(AGAIN_SECONDS)
            await asyncio.sleep(max(0.0, started + self._every - time.monotonic()))
        if wire is not None:
            wire[1].close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self._node.url.removeprefix("http://").partition(":")
        return await asyncio.open_connection(host, int(port))

    async def _post(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"action": "opened", "issue": {"number": number}}).encode()
        head = [
            f"POST {self._path} HTTP/1.1",
            "Host: rig",
            f"Content-Length: {len(body)}",
            "X-GitHub-Event: issues",
            f"X-GitHub-Delivery: d-{number}",
            f"X-Hub-Signature-256: sha256={hmac.digest(_SECRET.encode(), body, 'sha256').hex()}",
        ]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = [line for line in answer.lower().split("\r\n") if line.startswith("content-length: ")]
        await reader.readexactly(int(length[0].split()[1]) if length else 0)
        status = int(answer.split()[1])
        if 200 <= status < 300:
            self.answered.add(number)
        elif status != 503:
            self.refused += 1


class Found(NamedTuple):
    """What the store holds in the end, by the numbers of issues."""

    requests: Counter[int]
    events: Counter[int]
    undelivered: int


async def run(folder: Path, *, kills: int, rate: float, seed: int) -> Figures:
    """Run the rig with its files in ``folder``."""
    chance = Random(seed)
    with rig_node(folder) as node:
        async with Receiver() as receiver:
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(node.add_endpoint, receiver.url, ["*"])
            sender = Sender(node, await asyncio.to_thread(_add_source, node), rate=rate)
            async with asyncio.TaskGroup() as group:
                group.create_task(sender.run())
                for _ in range(kills):
                    await asyncio.to_thread(node.live_for, chance.uniform(*LIFE_SECONDS))
                    await asyncio.to_thread(node.kill)
                    await asyncio.to_thread(node.start)
                await asyncio.to_thread(node.live_for, LAST_SECONDS)
                sender.stopping = True
            waiting, imbalance = await _settled(node)
            arrived = {_number(json.loads(request.body)["data"]) for request in receiver.requests}
            await asyncio.to_thread(node.stop)
        found = await _look(node.data)
    answered = sender.answered
    return Figures(
        kills=kills,
        answered=len(answered),
        cut_off=sender.cut_off,
        refused=sender.refused,
        requests=found.requests.total(),
        lost=len(answered - found.requests.keys()),
        unread=len(answered - found.events.keys()),
        doubled=sum(count > 1 for count in found.events.values()),
        undelivered=found.undelivered,
        unarrived=len(answered - arrived),
        imbalance=imbalance,
        waiting=waiting,
    )


def _add_source(node: RigNode) -> str:
    """Create the source; the path of its URL."""
    with node.client() as client:
        made = client.post("/v1/sources", {"name": "hub", "provider": "github", "secrets": [_SECRET]})
    return "/in/" + str(made["url"]).partition("/in/")[2]


async def _settled(node: RigNode) -> tuple[int, int]:
    """Wait until all is read and delivered; what waits then after all, and the imbalance of all books."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        audit = await asyncio.to_thread(_audit, node)
        (source,) = audit["sources"]
        is_open = source["waiting"] or audit["waiting"] or audit["retrying"]
        if not is_open or time.monotonic() > deadline:
            return source["waiting"], audit["imbalance"] + source["imbalance"]
        await asyncio.to_thread(node.live_for, 0.1)


def _audit(node: RigNode) -> dict[str, Any]:
    with node.client() as client:
        audit: dict[str, Any] = client.get("/v1/audit")
    return audit


async def _look(data: Path) -> Found:
    """Read the store of a node that does not run."""
    store = await open_store(data, clock=SystemClock())
    try:
        return Found(await _requests(store), await _events(store), await _undelivered(store))
    finally:
        await store.close()


async def _requests(store: Store) -> Counter[int]:
    found: Counter[int] = Counter()
    after: int | None = None
    while page := await store.inbound.requests(RequestQuery(environment=Environment.LIVE, after=after, limit=_PAGE)):
        after = page[-1].request.key
        for record in page:
            whole = await store.inbound.request(record.request.key)
            assert whole is not None
            found[_number(json.loads(whole.request.body))] += 1
    return found


async def _events(store: Store) -> Counter[int]:
    found: Counter[int] = Counter()
    after: int | None = None
    while page := await store.ledger.events(EventQuery(environment=Environment.LIVE, after=after, limit=_PAGE)):
        after = page[-1].event.key
        found.update(_number(json.loads(record.event.data)) for record in page)
    return found


async def _undelivered(store: Store) -> int:
    """Events that the store does not call delivered, and deliveries beyond one for each."""
    events = deliveries = 0
    after: int | None = None
    while page := await store.ledger.events(EventQuery(environment=Environment.LIVE, after=after, limit=_PAGE)):
        after, events = page[-1].event.key, events + len(page)
    last: tuple[int, int] | None = None
    query = DeliveryQuery(environment=Environment.LIVE, state=State.DELIVERED, limit=_PAGE)
    while rows := await store.ledger.deliveries(msgspec.structs.replace(query, after=last)):
        last, deliveries = (rows[-1].event_key, rows[-1].endpoint_key), deliveries + len(rows)
    return abs(events - deliveries)


def _number(data: dict[str, Any]) -> int:
    return int(data["issue"]["number"])


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="posthouse-received-") as folder:
        figures = asyncio.run(run(Path(folder), kills=options.kills, rate=options.rate, seed=options.seed))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
