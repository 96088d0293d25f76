"""Law: a wall clock that is set forward or back costs nothing but, at most, one retry that comes early or late.

A retry is attempted no later than its own delay and one look of the node after the step, in true time; it
comes early only where the new time says that it is due. Nothing is lost, and nothing is delivered twice.
"""

import asyncio
import json
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest
from rig_node import RigNode, rig_node

from posthouse.core.model import SLOTS
from posthouse.drills.events import outgoing
from posthouse.drills.publisher import Publisher
from posthouse.testing.receiver import Answer, Received, Receiver

pytestmark = pytest.mark.rig

PROGRAM = str(Path(__file__).with_name("watched_node.py"))
RATE = 40.0
LOAD_SECONDS = 2.0  #: before the step, and again after it
DELAY_SECONDS = 5.0
JITTER = 1.1  #: the most that it adds
LOOK_SECONDS = 5.0  #: the node compares its clocks at least so often
SLACK_SECONDS = 3.0  #: for a busy machine
SETTLE_SECONDS_MAX = 30.0
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


FAILING = 3


class Flaky:
    """Fails at the first attempt of every third event, and takes the second; too seldom to be taken for down."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def __call__(self, request: Received) -> Answer:
        name = request.header("webhook-id")
        assert name is not None
        times = self.times.setdefault(name, [])
        times.append(request.at)
        fails = int(name.rpartition("-")[2]) % FAILING == 0
        return Answer(503 if fails and len(times) == 1 else 200)


class Stored(NamedTuple):
    """An event as the store has it."""

    key: int
    accepted_at: int


async def pass_time(seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


def add_endpoint(node: RigNode, url: str, retry: str) -> None:
    with node.client() as client:
        client.post("/v1/endpoints", {"url": url, "retry": retry})


def numbers(node: RigNode) -> dict[str, float]:
    """The node's metrics that have no labels."""
    with node.client() as client:
        text = client.fetch("/metrics").text
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


def logged(tmp_path: Path, event: str) -> list[dict[str, Any]]:
    lines = (tmp_path / "node.log").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def stored(node: RigNode) -> dict[str, Stored]:
    """Every event in the store of a node that does not run."""
    connection = apsw.Connection(str(node.data / "posthouse.db"))
    try:
        return {name: Stored(*row) for name, *row in connection.execute("SELECT id, key, accepted_at FROM events")}
    finally:
        connection.close()


def check_retries(times: dict[str, list[float]], stepped_at: float, by_ms: int) -> None:
    """Each event that failed once was attempted twice, and when the law says."""
    longest = DELAY_SECONDS * JITTER + SLACK_SECONDS
    before, after = 0, 0
    for first, second in (both for both in times.values() if len(both) > 1):
        waited = second - first
        if first > stepped_at + 0.1:
            after += 1
            assert DELAY_SECONDS <= waited <= longest, "as if nothing had been"
        elif first < stepped_at - 0.1:
            before += 1
            assert second <= stepped_at + LOOK_SECONDS + longest
            assert waited >= DELAY_SECONDS or by_ms > 0
    assert before > LOAD_SECONDS * RATE / FAILING / 2
    assert after > LOAD_SECONDS * RATE / FAILING / 2


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS], ids=["+1h", "-1h", "+1d", "-1d"])
async def test_a_step_of_the_wall_clock_under_load(tmp_path: Path, by_ms: int) -> None:
    clock = tmp_path / "clock"
    flaky = Flaky()
    with rig_node(tmp_path, (PROGRAM, "--clock", str(clock))) as node:
        async with Receiver() as steady, Receiver(flaky) as failing:
            await asyncio.to_thread(node.start)
            for receiver in (steady, failing):
                await asyncio.to_thread(add_endpoint, node, receiver.url, f"custom:{','.join(['5s'] * 9)}")
            publisher = Publisher(node.url, node.api_key, tenant="default")
            publishing = asyncio.create_task(publisher.run(outgoing(["rig.a"], seed=7), rate=RATE))
            await pass_time(LOAD_SECONDS)
            clock.write_text(str(by_ms), "utf-8")
            node.process.send_signal(signal.SIGUSR1)
            stepped_at = time.monotonic()
            await pass_time(LOAD_SECONDS)
            publisher.stop()
            await publishing
            events = len(publisher.sent)
            async with asyncio.timeout(SETTLE_SECONDS_MAX):
                await failing.received(events)
                while (await asyncio.to_thread(node.books)).open:
                    await pass_time(0.05)
            books = await asyncio.to_thread(node.books)
            shown = await asyncio.to_thread(numbers, node)
            assert await asyncio.to_thread(node.stop) == 0

            assert (books.owed, books.delivered, books.imbalance) == (2 * events, 2 * events, 0)
            assert sorted(request.header("webhook-id") or "" for request in steady.requests) == sorted(publisher.sent)
            assert flaky.times.keys() == publisher.sent.keys()
            check_retries(flaky.times, stepped_at, by_ms)

    assert shown["posthouse_slots_owned"] == SLOTS
    assert shown["posthouse_settlements_fenced_total"] == shown["posthouse_stuck_queues"] == 0
    assert not logged(tmp_path, "slots_lost")
    (step,) = logged(tmp_path, "clock_stepped")
    assert abs(step["by_ms"] - by_ms) < 1_000

    rows = stored(node)
    early = [rows[name] for name, sent in publisher.sent.items() if (sent.accepted_at or 0) < stepped_at - 0.1]
    late = [rows[name] for name, sent in publisher.sent.items() if (sent.accepted_at or 0) > stepped_at + 1]
    assert max(event.key for event in early) < min(event.key for event in late), "keys grow whatever the clock says"
    apart = min(event.accepted_at for event in late) - max(event.accepted_at for event in early)
    assert abs(apart - by_ms) < 10_000, "the step was a step"
