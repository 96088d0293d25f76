"""Replay a million deliveries with one bulk job, and kill the node again and again while it works: do the counts agree?

Usage: ``python tests/rigs/replay_rig.py --deliveries 1000000 --kills 5 --seed 1``
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import uvloop
from replay_rows import JobRow, Rounds, count_rounds, fill, look_at_job
from rig_counter import Counter
from rig_node import POLL_SECONDS, RigNode, rig_node

from posthouse.core.ids import ENDPOINT, parse_id
from posthouse.drills.ground import Books

ENDPOINTS = 4  #: each event is owed to all of them, so that a step of the job may end between two
MEMORY_MB_MAX = 300.0
NEAR_SECONDS = 0.5  #: an outcome is durable so soon after it is known
_LATE_SECONDS_MAX = 0.3  # from the planned point of a kill on
_BOOKS_SECONDS = 0.5
_SECONDS_MIN = 60.0
_PER_SECOND_MIN = 200  # deliveries that are gone through, else it has stopped


class Life(msgspec.Struct, frozen=True):
    """One process, from its start to its end."""

    seconds: float  #: from the moment at which it listened, or the job was made
    start_seconds: float
    killed: bool
    phase: str  #: of the job when it was last seen in this life
    job: JobRow  #: as the rows show it after the end
    arrived: int  #: deliveries at the receiver by then
    memory_peak_mb: float


class Figures(msgspec.Struct, frozen=True):
    """What came of it."""

    deliveries: int
    seed: int
    kills: int
    fill_seconds: float
    job_seconds: float  #: until it was completed, kills and starts included
    drain_seconds: float  #: from then on, until the last delivery was settled
    per_second: int  #: deliveries replayed and delivered, over all of that time
    lives: list[Life]
    job: JobRow
    rounds: Rounds
    arrived: int  #: deliveries that came again to the receiver
    repeats: int  #: requests for a delivery that had come already …
    unexplained: int  #: … of which no process was killed next to the first one
    strangers: int
    books: Books
    memory_peak_mb: float

    def faults(self) -> list[str]:
        """Laws that did not hold."""
        wanted = self.deliveries
        found = [
            f"{what} is {seen}, not {expected}"
            for what, seen, expected in (
                ("the job's state", self.job.state, "completed"),
                ("the job's total", self.job.total, wanted),
                ("done", self.job.done, wanted),
                ("skipped", self.job.skipped, 0),
                ("deliveries with rounds", self.rounds.deliveries, wanted),
                ("deliveries with exactly one more round", self.rounds.one_more, wanted),
                ("deliveries opened again once", self.rounds.reopened, wanted),
                ("attempts", self.rounds.attempts, 2 * wanted),
                ("open deliveries", self.rounds.open, 0),
                ("deliveries at the receiver", self.arrived, wanted),
                ("requests of no delivery", self.strangers, 0),
                ("repeats without a kill", self.unexplained, 0),
                ("imbalance", self.books.imbalance, 0),
                ("delivered in the books", self.books.delivered, wanted),
                ("lives that a kill ended", sum(life.killed for life in self.lives), self.kills),
            )
            if seen != expected
        ]
        found += [
            f"life {number}: the job counts {life.job.done} and the rows {life.job.reopened}"
            for number, life in enumerate(self.lives, 1)
            if life.job.done != life.job.reopened
        ]
        found += [f"a kill met the job {life.job.state}" for life in self.lives if life.killed and not _runs(life.job)]
        if self.memory_peak_mb > MEMORY_MB_MAX:
            found.append(f"memory_peak_mb is {self.memory_peak_mb}, more than {MEMORY_MB_MAX}")
        return found


class Replay:
    """A node with a job to do, and who kills it."""

    def __init__(self, node: RigNode, counter: Counter, *, deliveries: int, seed: int) -> None:
        self._node = node
        self._counter = counter
        self._chance = Random(seed)
        self._deliveries = deliveries
        self._job = ""
        self._deadline = 0.0
        self.lives: list[Life] = []
        self.killed_at: list[float] = []

    def start(self, rate: str | None) -> None:
        """Make the job. Blocks, as all of this."""
        body: dict[str, Any] = {"kind": "replay", "all": True, "rate": rate}
        with self._node.client() as client:
            self._job = client.post("/v1/jobs", body)["id"]
        self._deadline = time.monotonic() + _SECONDS_MIN + 2 * self._deliveries / _PER_SECOND_MIN

    def live(self, started: float, end: float | None) -> None:
        """One life, which began to start at ``started``: until the job is at ``end``, as :meth:`_way` tells.

        None: until it has ended. The process is killed a moment after it came to ``end``.
        """
        node = self._node
        listened = time.monotonic()
        with node.client() as client:
            job = client.get(f"/v1/jobs/{self._job}")
            while job["state"] == "running" and (end is None or self._way(job) < end):
                assert time.monotonic() < self._deadline, f"the job does not end: {job}"
                node.live_for(POLL_SECONDS)
                job = client.get(f"/v1/jobs/{self._job}")
        if end is not None:
            node.live_for(self._chance.uniform(0, _LATE_SECONDS_MAX * min(1, self._deliveries / 1e6)))
        peak = node.memory_mb("VmHWM")
        if end is not None:
            self.killed_at.append(time.monotonic())
            node.kill()
        self.lives.append(
            Life(
                seconds=round(time.monotonic() - listened, 2),
                start_seconds=round(listened - started, 2),
                killed=end is not None,
                phase=job["progress"]["phase"],
                job=look_at_job(node.data),
                arrived=self._counter.arrived,
                memory_peak_mb=round(peak, 1),
            )
        )

    def ends(self, kills: int) -> list[float]:
        """When to kill: once while it counts, if it is killed more than once, and else while it works."""
        counting = 1 if kills > 1 else 0
        ends = [self._chance.uniform(0.05, 0.9) for _ in range(counting)]
        return sorted(ends + [self._chance.uniform(1.02, 1.95) for _ in range(kills - counting)])

    def settle(self) -> Books:
        """Wait until nothing is open any more; the books."""
        while (books := self._node.books()).open:
            assert time.monotonic() < self._deadline, f"deliveries stay open: {books}"
            self._node.live_for(_BOOKS_SECONDS)
        return books

    @property
    def unexplained(self) -> int:
        """Repeats whose first request was not next to a kill: its outcome should have been durable."""
        return sum(
            min((abs(at - first) for at in self.killed_at), default=NEAR_SECONDS + 1) > NEAR_SECONDS
            for first in self._counter.repeats
        )

    def _way(self, job: dict[str, Any]) -> float:
        """How far the job is: 0 to 1 while it counts, 1 to 2 while it works."""
        if job["total"] is None:
            return float(job["counted"] / self._deliveries)
        return float(1 + (job["done"] + job["skipped"]) / self._deliveries)


async def run(folder: Path, *, deliveries: int, kills: int, seed: int, rate: str | None = None) -> Figures:
    """Run the rig with its files in ``folder``; ``deliveries`` is rounded up to whole events."""
    events = -(-deliveries // ENDPOINTS)
    deliveries = events * ENDPOINTS
    with rig_node(folder) as node:
        async with Counter(ENDPOINTS) as counter:
            await asyncio.to_thread(node.start)
            made = [await asyncio.to_thread(node.add_endpoint, url, ["*"]) for url in counter.urls]
            await asyncio.to_thread(node.stop)
            began = time.monotonic()
            counter.expect(await fill(node.data, endpoints=[_key(each["id"]) for each in made], events=events))
            fill_seconds = time.monotonic() - began

            replay = Replay(node, counter, deliveries=deliveries, seed=seed)
            starting = time.monotonic()
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(replay.start, rate)
            began = time.monotonic()
            for end in replay.ends(kills):
                await asyncio.to_thread(replay.live, starting, end)
                starting = time.monotonic()
                await asyncio.to_thread(node.start)
            await asyncio.to_thread(replay.live, starting, None)
            completed = time.monotonic()
            books = await asyncio.to_thread(replay.settle)
            ended = time.monotonic()
            peak = node.memory_mb("VmHWM")
            await asyncio.to_thread(node.stop)
            return Figures(
                deliveries=deliveries,
                seed=seed,
                kills=kills,
                fill_seconds=round(fill_seconds, 1),
                job_seconds=round(completed - began, 1),
                drain_seconds=round(ended - completed, 1),
                per_second=round(deliveries / (ended - began)),
                lives=replay.lives,
                job=await asyncio.to_thread(look_at_job, node.data),
                rounds=await asyncio.to_thread(count_rounds, node.data),
                arrived=counter.arrived,
                repeats=len(counter.repeats),
                unexplained=replay.unexplained,
                strangers=counter.strangers,
                books=books,
                memory_peak_mb=round(max(peak, *(life.memory_peak_mb for life in replay.lives)), 1),
            )


def table(figures: Figures) -> str:
    """Every life of the node in a line."""
    heads = ("life", "start s", "ran s", "ended by", "job was", "counted", "done", "reopened", "arrived", "peak MB")
    lines = [heads] + [
        (
            str(number),
            f"{life.start_seconds:.2f}",
            f"{life.seconds:.2f}",
            "kill" if life.killed else "itself",
            life.phase,
            f"{life.job.counted:,}",
            f"{life.job.done:,}",
            f"{life.job.reopened:,}",
            f"{life.arrived:,}",
            f"{life.memory_peak_mb:.0f}",
        )
        for number, life in enumerate(figures.lives, 1)
    ]
    return "\n".join("  ".join(f"{cell:>9}" for cell in line) for line in lines)


def _runs(job: JobRow) -> bool:
    return job.state == "running"


def _key(endpoint: str) -> int:
    key = parse_id(ENDPOINT, endpoint)
    assert key is not None
    return key


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", help="of the job, such as 5000/s; by default it goes as fast as others allow")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="posthouse-replay-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures = runner.run(
            run(
                Path(folder),
                deliveries=options.deliveries,
                kills=options.kills,
                seed=options.seed,
                rate=options.rate,
            )
        )
    print(table(figures))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
