"""Kill a node at random instants under load, start it again each time, and see that nothing is lost.

Usage: ``python tests/rigs/kill_rig.py --kills 20 --rate 500 --seed 7``
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rig_node import POLL_SECONDS, RigNode, rig_node
from rig_publisher import Publisher, digest_of
from rig_receiver import Receiver, data_of

from posthouse.core.errors import SignatureInvalid
from posthouse.core.limits import IN_FLIGHT_PER_ENDPOINT
from posthouse.core.signature import verify

#: Path of each endpoint → the patterns that it subscribes to. Every event is owed to two of them.
ENDPOINTS = {"/all": ["*"], "/a": ["rig.a"], "/b": ["rig.b", "rig.c"]}
TYPES = ("rig.a", "rig.b", "rig.c")
DELIVERIES_PER_EVENT = 2

LIFE_SECONDS_MAX = 2.5  #: a node lives at most so long before it is killed; its leases are renewed after 2 s
LAST_SECONDS = 4.5  #: load after the last restart: over two renewals of the leases, without a kill
SETTLE_SECONDS_MAX = 60.0
UNSETTLED_SECONDS_MAX = 0.5  #: an outcome is durable so soon after it is known, also on a busy machine


class Figures(msgspec.Struct, frozen=True):
    """What came of it."""

    kills: int
    events_per_second: float
    seed: int
    seconds: float
    restart_seconds_max: float
    events: int
    accepted: int
    unanswered: int  #: publish requests that a kill cut off
    repeats: int  #: events whose 202 was lost, recognised when they were sent again
    deliveries: int  #: distinct ones that arrived
    lost: int  #: deliveries owed to an accepted event that never arrived
    altered: int  #: deliveries whose data is not the publisher's, byte for byte
    forged: int  #: deliveries whose signature is not valid
    unknown: int  #: deliveries that nobody published
    duplicates: int
    duplicates_bound: int  #: kills * (in flight + answered and not yet settled)
    duplicates_unexplained: int  #: second deliveries of what was not in flight at a kill
    open: int
    imbalance: int
    owed: int

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        nothing = ("lost", "altered", "forged", "unknown", "duplicates_unexplained", "open", "imbalance")
        owed = self.events * DELIVERIES_PER_EVENT
        expected = {**dict.fromkeys(nothing, 0), "accepted": self.events, "deliveries": owed, "owed": owed}
        found = [
            f"{name} is {getattr(self, name)} instead of {value}"
            for name, value in expected.items()
            if getattr(self, name) != value
        ]
        if self.duplicates > self.duplicates_bound:
            found.append(f"{self.duplicates} duplicates are more than {self.duplicates_bound}")
        return found


class Witness:
    """Everything that the receivers saw."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}  # by path
        self.digests: dict[tuple[str, str], bytes] = {}  # by path and event id
        self.times: dict[tuple[str, str], list[float]] = {}
        self.forged = 0
        self.altered = 0

    def delivered(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Note one delivery."""
        delivery = (path, headers["webhook-id"])
        digest = digest_of(data_of(body))
        try:
            verify([self.secrets[path]], headers, body, now_s=int(time.time()))
        except SignatureInvalid:
            self.forged += 1
        if self.digests.setdefault(delivery, digest) != digest:
            self.altered += 1
        self.times.setdefault(delivery, []).append(time.monotonic())


async def run(folder: Path, *, kills: int, rate: float, seed: int) -> Figures:
    """Run the rig with its files in ``folder``."""
    chance = random.Random(f"{seed}-instants")
    witness = Witness()
    publisher = Publisher(rate=rate, types=TYPES, seed=seed)
    started = time.monotonic()
    with rig_node(folder) as node:
        async with Receiver(witness.delivered) as receiver:
            await asyncio.to_thread(node.start)
            for path, patterns in ENDPOINTS.items():
                created = await asyncio.to_thread(node.add_endpoint, receiver.url(path), patterns)
                witness.secrets[path] = created["secret"]
            publisher.use(node.url, node.api_key)
            publishing = asyncio.create_task(publisher.run())
            killed_at: list[float] = []
            restarts: list[float] = []
            try:
                for _ in range(kills):
                    await _alive(publishing, chance.uniform(0.02, LIFE_SECONDS_MAX))
                    publisher.up.clear()
                    node.kill()
                    killed_at.append(time.monotonic())
                    restarts.append(await asyncio.to_thread(node.start))
                    publisher.use(node.url, node.api_key)
                await _alive(publishing, LAST_SECONDS)
                publisher.stop()
                await asyncio.wait_for(publishing, SETTLE_SECONDS_MAX)
            finally:
                publishing.cancel()
                await asyncio.wait({publishing})
            await _settled(node, witness, publisher)
            books = await asyncio.to_thread(node.books)
    seconds = time.monotonic() - started
    counts = _judge(witness, publisher, killed_at)
    return Figures(
        kills=kills,
        events_per_second=rate,
        seed=seed,
        seconds=round(seconds, 1),
        restart_seconds_max=round(max(restarts, default=0.0), 2),
        events=len(publisher.events),
        accepted=len(publisher.accepted),
        unanswered=publisher.unanswered,
        repeats=publisher.repeats,
        forged=witness.forged,
        duplicates_bound=round(
            kills * (IN_FLIGHT_PER_ENDPOINT * len(ENDPOINTS) + rate * DELIVERIES_PER_EVENT * UNSETTLED_SECONDS_MAX)
        ),
        open=books.open,
        imbalance=books.imbalance,
        owed=books.owed,
        **counts,
    )


async def _alive(publishing: "asyncio.Task[None]", seconds: float) -> None:
    """Let the load run; raises what ended the publisher, if something did."""
    ended, _ = await asyncio.wait({publishing}, timeout=seconds)
    if ended:
        await publishing
        raise AssertionError("the publisher ended by itself")


async def _settled(node: RigNode, witness: Witness, publisher: Publisher) -> None:
    """Return when the node owes nothing any more, or has had more than enough time for it."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while time.monotonic() < deadline:
        everything = len(witness.digests) >= len(publisher.accepted) * DELIVERIES_PER_EVENT
        if everything and (await asyncio.to_thread(node.books)).open == 0:
            return
        await asyncio.to_thread(node.live_for, 10 * POLL_SECONDS)


def _judge(witness: Witness, publisher: Publisher, killed_at: Sequence[float]) -> dict[str, int]:
    """Hold what arrived against what was published."""
    owed = {
        (path, event.id): event.digest
        for event in publisher.events.values()
        if event.id in publisher.accepted
        for path, patterns in ENDPOINTS.items()
        if "*" in patterns or event.type in patterns
    }
    altered = sum(witness.digests.get(delivery, digest) != digest for delivery, digest in owed.items())
    repeated = [times for times in witness.times.values() if len(times) > 1]
    return {
        "deliveries": len(witness.digests),
        "lost": len(owed.keys() - witness.digests.keys()),
        "unknown": len(witness.digests.keys() - owed.keys()),
        "altered": altered + witness.altered,
        "duplicates": sum(len(times) - 1 for times in repeated),
        "duplicates_unexplained": sum(
            not any(abs(kill - before) < UNSETTLED_SECONDS_MAX for kill in killed_at)
            for times in repeated
            for before in times[:-1]
        ),
    }


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=500.0, help="events per second")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="posthouse-kill-") as folder:
        figures = asyncio.run(run(Path(folder), kills=options.kills, rate=options.rate, seed=options.seed))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
