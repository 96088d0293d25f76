"""Callbacks of ConnectWise of four kinds, interleaved on many connections: is each handled as what its envelope says?

Usage: ``python tests/rigs/mistyped_rig.py --events 100000 --connections 64 --seed 1``
"""

import argparse
import asyncio
import hashlib
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop
from rig_node import RigNode, rig_node

from posthouse.drills.senders.connectwise import TYPES, ConnectWise
from posthouse.drills.senders.connectwise_api import key_server
from posthouse.drills.senders.local_server import Call, LocalServer, Said
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.tls import Authority
from posthouse.drills.senders.wire import Connections
from posthouse.system import SystemClock

COMPANY = "acme_c"
RECORDS = 500  # of each kind: things are added, updated and deleted
EVENTS_PER_SECOND_MIN = 150  # with a fetch of its key each, else it has stopped
SECONDS_MIN = 60.0
POLL_SECONDS = 0.3
DONE = Said({})


class Books(msgspec.Struct, frozen=True):
    """What the node counts."""

    received: int  # requests
    waiting: int
    quarantined: int
    events: int
    imbalance: int
    open: int  # deliveries


class Figures(msgspec.Struct, frozen=True):
    """What came of it."""

    events: int
    connections: int
    seed: int
    kinds: dict[str, int]  # that were sent
    delivered: int  # that the sender takes for delivered
    handled: int  # different ones
    mistyped: int  # whose type is not that of their own envelope
    misrouted: int  # that came to the receiver of another kind
    changed: int  # whose data nobody sent
    repeats: int
    keys_fetched: int
    seconds: float
    per_second: int
    books: Books

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        return [
            f"{what} is {seen}, not {wanted}"
            for what, seen, wanted in (
                ("events that the sender takes for delivered", self.delivered, self.events),
                ("events that were handled", self.handled, self.events),
                ("events with the type of another envelope", self.mistyped, 0),
                ("events at the receiver of another kind", self.misrouted, 0),
                ("events with other bytes", self.changed, 0),
                ("requests in the books", self.books.received, self.events),
                ("events in the books", self.books.events, self.events),
                ("requests that wait", self.books.waiting, 0),
                ("requests in quarantine", self.books.quarantined, 0),
                ("deliveries that are open", self.books.open, 0),
                ("imbalance", self.books.imbalance, 0),
                ("kinds that were sent", len(self.kinds), len(TYPES)),
                ("keys that nobody fetched", self.events - min(self.keys_fetched, self.events), 0),
            )
            if seen != wanted
        ]


class _Envelope(msgspec.Struct):
    """What an outbound request holds."""

    type: str
    data: msgspec.Raw


class _Callback(msgspec.Struct):
    """What the sender says of itself within it."""

    kind: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")


class Handler:
    """Handles events: one receiver for each kind, by its path."""

    def __init__(self) -> None:
        self.handled: dict[str, bytes] = {}  # event → its data
        self.mistyped = 0
        self.misrouted = 0
        self.repeats = 0
        self._read = msgspec.json.Decoder(_Envelope).decode
        self._look = msgspec.json.Decoder(_Callback).decode

    def __call__(self, call: Call) -> Said:
        """Take one delivery."""
        event = call.headers["webhook-id"]
        self.repeats += event in self.handled
        envelope = self._read(call.body)
        said = self._look(envelope.data)
        self.handled[event] = bytes(envelope.data)
        self.mistyped += envelope.type != f"{said.kind}.{said.action}"
        self.misrouted += call.path != f"/{said.kind}"
        return DONE


async def run(folder: Path, *, events: int, connections: int = 64, seed: int = 1) -> Figures:
    """Run the rig with its files in ``folder``."""
    authority, handler = Authority(), Handler()
    wire = Connections(connections)
    pace = Pace(SystemClock(), seed=seed)
    with rig_node(folder) as node:
        _trust(node, authority)
        await asyncio.to_thread(node.start)
        url, source = await asyncio.to_thread(_add_source, node)
        sender = ConnectWise(url, COMPANY, wire=wire, pace=pace, records=RECORDS)
        async with LocalServer(handler) as receiver, key_server(sender, authority, pace=pace) as keys:
            sender.keys_at = f"https://localhost:{keys.port}"
            await asyncio.to_thread(_open, node, source, key_host=f"localhost:{keys.port}", receiver=receiver.url)
            began = time.monotonic()
            await sender.run(events, math.inf)
            books = await _settled(node, source, until=began + SECONDS_MIN + events / EVENTS_PER_SECOND_MIN)
            seconds = time.monotonic() - began
            wire.close()
        sent = sender.books.entries
        return Figures(
            events=events,
            connections=connections,
            seed=seed,
            kinds=dict(Counter(entry.type.partition(".")[0] for entry in sent.values())),
            delivered=sender.books.delivered,
            handled=len(set(handler.handled.values())),
            mistyped=handler.mistyped,
            misrouted=handler.misrouted,
            changed=sum(_key(data) not in sent for data in handler.handled.values()),
            repeats=handler.repeats,
            keys_fetched=sum(key.fetched > 0 for key in sender.keys.values()),
            seconds=round(seconds, 1),
            per_second=round(events / seconds),
            books=books,
        )


def _key(data: bytes) -> str:
    """By which the sender's books know a callback."""
    return hashlib.sha256(data).hexdigest()


def _trust(node: RigNode, authority: Authority) -> None:
    node.data.mkdir(mode=0o700, parents=True)
    (node.data / "authority.pem").write_bytes(authority.pem)
    (node.data / "posthouse.toml").write_text('ca_file = "authority.pem"\n', "utf-8")


def _add_source(node: RigNode) -> tuple[str, str]:
    with node.client() as client:
        made = client.post("/v1/sources", {"name": "psa", "provider": "connectwise", "secrets": [COMPANY]})
    return made["url"], made["id"]


def _open(node: RigNode, source: str, *, key_host: str, receiver: str) -> None:
    """Let the node fetch keys, and give each kind its own endpoint."""
    with node.client() as client:
        client.patch(f"/v1/sources/{source}", {"key_hosts": [key_host]})
    for kind in TYPES:
        node.add_endpoint(f"{receiver}/{kind}", [f"{kind}.*"])


async def _settled(node: RigNode, source: str, *, until: float) -> Books:
    """The books, once nothing is under way, or at that time."""
    while True:
        books = await asyncio.to_thread(_books, node, source)
        if not (books.waiting or books.open) or time.monotonic() > until:
            return books
        await asyncio.to_thread(node.live_for, POLL_SECONDS)


def _books(node: RigNode, source: str) -> Books:
    with node.client() as client:
        audit = client.get("/v1/audit")
    (found,) = [each for each in audit["sources"] if each["source"] == source]
    return Books(
        received=found["received"],
        waiting=found["waiting"],
        quarantined=found["quarantined"] + found["doubted"],
        events=found["events"],
        imbalance=audit["imbalance"],
        open=audit["waiting"] + audit["retrying"],
    )


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="posthouse-mistyped-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures = runner.run(
            run(Path(folder), events=options.events, connections=options.connections, seed=options.seed)
        )
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
