"""Back a node up under load, kill it, restore elsewhere: what was acknowledged before is there, and whole.

Usage: ``python tests/rigs/backup_rig.py --rounds 20``
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from rig_node import RigNode, rig_node

from posthouse.core.model import Environment
from posthouse.sdk.client import Client, Problem, Unreachable
from posthouse.store.open import open_store
from posthouse.store.protocol import EventQuery
from posthouse.system import SystemClock
from posthouse.testing.receiver import Receiver

PUBLISHERS = 4
PAD = "x" * 2_000  #: in each event, so that a copy takes more than a moment
LOAD_SECONDS = (0.3, 1.5)  #: before a backup
AFTER_SECONDS = (0.0, 0.3)  #: from the beginning of a backup to the kill, in rounds that kill it in the middle
SETTLE_SECONDS_MAX = 60.0
COMMAND_SECONDS_MAX = 120.0
_PAGE = 500


class Figures(msgspec.Struct, frozen=True):
    """What came of it."""

    rounds: int
    acknowledged: int  #: events, in all
    before: int  #: of them before a backup began, over all rounds
    missing: int  #: acknowledged before a backup began and not in what was restored from it
    invented: int  #: in what was restored, and never published
    failed: int  #: commands that ended with anything but 0
    imbalance: int  #: of the books of what was restored
    waiting: int  #: deliveries that the node on the last restored store still owes in the end
    rate_before: float  #: events a second that were acknowledged before backups
    rate_during: float  #: and while they ran

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        laws = ("missing", "invented", "failed", "imbalance", "waiting")
        found = [f"{name} is {getattr(self, name)}, not 0" for name in laws if getattr(self, name)]
        if not self.before or self.acknowledged <= self.before / self.rounds:
            found.append("nothing was acknowledged before a backup, or nothing after it: there was no load")
        return found


class Publishers:
    """Publish events with ids of their own, each until it is acknowledged or the node is gone."""

    def __init__(self, node: RigNode, first: int) -> None:
        self._node = node
        self._first = first
        self.stopping = False
        self.tried: set[str] = set()
        self.acknowledged: set[str] = set()

    async def run(self) -> None:
        """Publish until :attr:`stopping`, or until the node is killed."""
        await asyncio.gather(*(asyncio.to_thread(self._publish, n) for n in range(PUBLISHERS)))

    def _publish(self, publisher: int) -> None:
        number = 0
        with Client(self._node.url, self._node.api_key, timeout_s=30.0, tries=1) as client:
            while not self.stopping:
                number += 1
                name = f"e-{self._first}-{publisher}-{number}"
                self.tried.add(name)
                try:
                    client.post("/v1/events", {"id": name, "type": "t", "data": PAD})
                except Unreachable:
                    return  # killed
                except Problem:
                    continue
                self.acknowledged.add(name)


class Rig:
    """All rounds on one node's store."""

    def __init__(self, folder: Path, node: RigNode, seed: int) -> None:
        self._folder = folder
        self._node = node
        self._chance = Random(seed)
        self._tried: set[str] = set()
        self._acknowledged: set[str] = set()
        self._sums = dict.fromkeys(("before", "missing", "invented", "failed", "imbalance"), 0)
        self._rates: list[tuple[float, float]] = []
        self.last: Path | None = None  #: the data directory that was restored last

    async def round(self, number: int, *, in_the_middle: bool) -> None:
        """Load, a backup, a kill, a restore, a look."""
        publishers = Publishers(self._node, number)
        publishing = asyncio.ensure_future(publishers.run())
        load_seconds = self._chance.uniform(*LOAD_SECONDS)
        await asyncio.to_thread(self._node.live_for, load_seconds)
        before = set(publishers.acknowledged)
        archive = self._folder / f"archive-{number}"
        started = time.monotonic()
        backup = self._command("backup", archive, "--data", self._node.data)
        if in_the_middle:
            await asyncio.to_thread(self._node.live_for, self._chance.uniform(*AFTER_SECONDS))
            self._node.kill()
        ended = await asyncio.to_thread(backup.wait, COMMAND_SECONDS_MAX)
        seconds = time.monotonic() - started
        if self._node.runs:
            self._rates.append((len(before) / load_seconds, (len(publishers.acknowledged) - len(before)) / seconds))
            self._node.kill()
        publishers.stopping = True
        await publishing
        before |= self._acknowledged
        self._tried |= publishers.tried
        self._acknowledged |= publishers.acknowledged

        data = self._folder / f"restored-{number}"
        restore = self._command("restore", archive, "--data", data)
        ended = ended or await asyncio.to_thread(restore.wait, COMMAND_SECONDS_MAX)
        self._sums["failed"] += ended != 0
        if ended == 0:
            self.last = data
            await self._look(data, before)

    async def _look(self, data: Path, before: set[str]) -> None:
        store = await open_store(data, clock=SystemClock())
        there: set[str] = set()
        after: int | None = None
        while page := await store.ledger.events(EventQuery(environment=Environment.LIVE, after=after, limit=_PAGE)):
            after = page[-1].event.key
            there.update(record.event.id for record in page)
        imbalance = 0
        for books in await store.ledger.audit(Environment.LIVE):
            settled = books.delivered + books.exhausted + sum(books.discarded.values())
            imbalance += abs(books.owed - settled - books.waiting - books.retrying)
        await store.close()
        self._sums["before"] += len(before)
        self._sums["missing"] += len(before - there)
        self._sums["invented"] += len(there - self._tried)
        self._sums["imbalance"] += imbalance

    def _command(self, *words: object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "posthouse", *map(str, words), "--json"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )

    def figures(self, rounds: int, waiting: int) -> Figures:
        """What came of all rounds."""
        rates = self._rates or [(0.0, 0.0)]
        return Figures(
            rounds=rounds,
            acknowledged=len(self._acknowledged),
            waiting=waiting,
            rate_before=round(sum(rate for rate, _ in rates) / len(rates), 1),
            rate_during=round(sum(rate for _, rate in rates) / len(rates), 1),
            **self._sums,
        )


async def run(folder: Path, *, rounds: int, seed: int) -> Figures:
    """All rounds; every second one kills the node while the backup runs. Then a node on the last restored store."""
    async with Receiver() as receiver:
        with rig_node(folder) as node:
            rig = Rig(folder, node, seed)
            for number in range(rounds):
                await asyncio.to_thread(node.start)
                if number == 0:
                    await asyncio.to_thread(node.add_endpoint, receiver.url, ["*"])
                await rig.round(number, in_the_middle=number % 2 == 1)
            assert rig.last is not None, "nothing could be restored"
            waiting = await _deliver(node, rig.last)
        return rig.figures(rounds, waiting)


async def _deliver(lost: RigNode, data: Path) -> int:
    """Run a node on a restored store; what it still owes in the end. The key of the store that was lost is its key."""
    with rig_node(data.with_name("heir")) as heir:
        _hand_over(lost.data, data, heir.data)
        await asyncio.to_thread(heir.start)
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while True:
            books: Any = await asyncio.to_thread(heir.books)
            if not books.waiting + books.retrying or time.monotonic() > deadline:
                return int(books.waiting + books.retrying + books.imbalance)
            await asyncio.to_thread(heir.live_for, 0.1)


def _hand_over(lost: Path, restored: Path, heir: Path) -> None:
    heir.parent.mkdir()
    restored.rename(heir)
    (heir / "api_key").write_text((lost / "api_key").read_text("utf-8"), "utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="posthouse-backup-") as folder:
        figures = asyncio.run(run(Path(folder), rounds=options.rounds, seed=options.seed))
    print(json.dumps(msgspec.to_builtins(figures), indent=2))
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
