"""Law: a node that stood still for longer than its leases decides nothing until it has them anew, and loses nothing."""

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from rig_node import RigNode, rig_node

from posthouse.core.failpoints import Failpoint
from posthouse.core.limits import LEASE_MS, LEASE_RENEW_MS
from posthouse.drills.events import outgoing
from posthouse.drills.publisher import Publisher
from posthouse.engine.windows import UNPROVEN_MAX
from posthouse.testing.receiver import Answer, Received, Receiver

pytestmark = pytest.mark.rig

PROGRAM = str(Path(__file__).with_name("watched_node.py"))
RATE = 150.0
LOAD_SECONDS = 1.5
STOPPED_SECONDS = 11.5  #: longer than any lease
VALID_SECONDS = (LEASE_MS - LEASE_RENEW_MS) / 1_000  #: from the asking on, by the node's own clock
NEAR_SECONDS = 0.5  #: an outcome is durable so soon after it is known
SETTLE_SECONDS_MAX = 30.0


async def pass_time(seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


async def settled(node: RigNode, receivers: list[Receiver], delivered: int) -> None:
    """Wait until so many deliveries arrived and the node owes nothing."""
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while sum(len(ids(receiver)) for receiver in receivers) < delivered:
            await pass_time(0.05)
        while (await asyncio.to_thread(node.books)).open:
            await pass_time(0.05)


def ids(receiver: Receiver) -> set[str]:
    return {name_of(request) for request in receiver.requests}


def name_of(request: Received) -> str:
    name = request.header("webhook-id")
    assert name is not None
    return name


def refused(node: RigNode) -> subprocess.CompletedProcess[str]:
    """A second process on the directory, and how it ended."""
    command = [sys.executable, "-m", "posthouse", "serve", "--data", str(node.data), "--port", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)


def boundaries(file: Path) -> Iterator[tuple[float, Failpoint]]:
    for line in file.read_text("utf-8").splitlines():
        at, point = line.split()
        yield float(at), Failpoint(point)


def sent_on_leases(file: Path) -> list[float]:
    """The age of the lease under which each delivery was sent, counted from when it was asked for."""
    ages = []
    asked = held = float("-inf")
    for at, point in boundaries(file):
        if point is Failpoint.LEASE_ASKED:
            asked = at
        elif point is Failpoint.LEASE_HELD:
            held = asked
        else:
            ages.append(at - held)
    return ages


def repeated(receiver: Receiver, stopped_at: float) -> list[str]:
    """Events that came more than once although they were not on their way when the process was stopped."""
    times: dict[str, list[float]] = {}
    for request in receiver.requests:
        times.setdefault(name_of(request), []).append(request.at)
    return [name for name, (first, *more) in times.items() if more and abs(first - stopped_at) > NEAR_SECONDS]


async def test_a_node_that_stood_still_takes_its_slots_anew_before_it_sends(tmp_path: Path) -> None:
    watched = tmp_path / "boundaries"
    held = asyncio.Event()
    with rig_node(tmp_path, (PROGRAM, "--boundaries", str(watched))) as node:
        async with Receiver() as prompt, Receiver(Answer(after=held)) as slow:
            await asyncio.to_thread(node.start)
            for receiver in (prompt, slow):
                await asyncio.to_thread(node.add_endpoint, receiver.url, ["*"])
            publisher = Publisher(node.url, node.api_key, tenant="default")
            publishing = asyncio.create_task(publisher.run(outgoing(["rig.a"], seed=7), rate=RATE))
            await slow.received(UNPROVEN_MAX)
            await pass_time(LOAD_SECONDS)

            node.process.send_signal(signal.SIGSTOP)
            stopped_at = time.monotonic()
            on_their_way = {name_of(request) for request in slow.requests}
            held.set()  # the answers come while nobody is there to read them
            second = await asyncio.to_thread(refused, node)
            await pass_time(STOPPED_SECONDS - (time.monotonic() - stopped_at))
            node.process.send_signal(signal.SIGCONT)

            await pass_time(0.5)
            publisher.stop()
            await publishing
            await settled(node, [prompt, slow], publisher.owed)
            books = await asyncio.to_thread(node.books)

            assert second.returncode == 1
            assert "store_in_use" in second.stderr
            assert f"(process {node.process.pid})" in second.stderr, "it says who holds the directory"

            times = [at for at, _ in boundaries(watched)]
            assert max(after - before for before, after in pairwise(times)) >= STOPPED_SECONDS - 0.5
            ages = sent_on_leases(watched)
            assert len(ages) >= publisher.owed
            assert max(ages) <= VALID_SECONDS, "nothing is sent on a lease that may have run out"

            assert ids(prompt) == ids(slow) == set(publisher.sent)
            assert repeated(prompt, stopped_at) == []
            assert {name for name, count in Counter(map(name_of, slow.requests)).items() if count > 1} <= on_their_way
            assert (books.delivered, books.imbalance) == (publisher.owed, 0)
            assert "slots_lost" not in node.log()
            assert await asyncio.to_thread(node.stop) == 0


async def test_a_node_that_is_killed_while_it_stands_still_leaves_everything_to_the_next(tmp_path: Path) -> None:
    events = 600
    with rig_node(tmp_path) as node:
        async with Receiver() as receiver:
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(node.add_endpoint, receiver.url, ["*"])
            with node.client() as client:
                body = {"events": [{"type": "rig.a", "id": f"rig-{n}", "data": n} for n in range(events)]}
                await asyncio.to_thread(client.post, "/v1/events/batch", body)
            await receiver.received(events // 4)
            node.process.send_signal(signal.SIGSTOP)
            stopped_at = time.monotonic()
            assert len(ids(receiver)) < events, "it has to be stopped in the middle"
            second = await asyncio.to_thread(refused, node)
            assert second.returncode == 1
            assert f"(process {node.process.pid})" in second.stderr
            await asyncio.to_thread(node.kill)

            await asyncio.to_thread(node.start)
            await settled(node, [receiver], events)
            books = await asyncio.to_thread(node.books)
            assert ids(receiver) == {f"rig-{n}" for n in range(events)}
            assert repeated(receiver, stopped_at) == []
            assert (books.owed, books.delivered, books.imbalance) == (events, events, 0)
