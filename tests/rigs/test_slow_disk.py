"""Law: a disk that takes half a second for each sync makes accepting slow, and nothing else; a kill loses nothing."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest
from rig_arrivals import arrived
from rig_node import SERVE, RigNode, rig_node

from posthouse.sdk.client import Client, Problem, Unreachable
from posthouse.testing.receiver import Receiver

pytestmark = pytest.mark.rig

SYNC_SECONDS = 0.5
SLOW = (str(Path(__file__).with_name("faulty_disk_node.py")), "--sync-seconds", str(SYNC_SECONDS))
PUBLISHERS = 8
LOAD_SECONDS = 4.0
ACCEPT_SECONDS_MAX = 20 * SYNC_SECONDS  #: an event waits for the commit before its own, and for checkpoints


def publish_until(node: RigNode, ended: Callable[[], bool]) -> tuple[list[str], list[float]]:
    """Publish one event after the other; ids of those with a 202, and the seconds that each took."""
    acknowledged, seconds = [], []
    with Client(node.url, node.api_key, timeout_s=30.0, tries=1) as client:
        while not ended():
            started = time.monotonic()
            try:
                acknowledged.append(client.post("/v1/events", {"type": "t", "data": "x"})["id"])
            except (Problem, Unreachable):
                break
            seconds.append(time.monotonic() - started)
    return acknowledged, seconds


def read_until(node: RigNode, path: str, ended: Callable[[], bool]) -> list[float]:
    """Read one path again and again; the seconds that each answer took."""
    seconds = []
    with node.client() as client:
        while not ended():
            started = time.monotonic()
            client.get(path)
            seconds.append(time.monotonic() - started)
    return seconds


def load(node: RigNode) -> tuple[set[str], list[float], list[float], list[float]]:
    """Publish from several sides while somebody reads; what was acknowledged, and the seconds of each kind.

    The node is killed in the middle of it.
    """
    stop = time.monotonic() + LOAD_SECONDS
    killed = False
    with ThreadPoolExecutor(PUBLISHERS + 2) as threads:
        publishing = [threads.submit(publish_until, node, lambda: killed) for _ in range(PUBLISHERS)]
        reading = [
            threads.submit(read_until, node, path, lambda: time.monotonic() > stop)
            for path in ("/v1/events", "/healthz")
        ]
        lists, health = (each.result() for each in reading)
        node.kill()
        killed = True
        published = [each.result() for each in publishing]
    acknowledged = {event_id for ids, _ in published for event_id in ids}
    return acknowledged, [s for _, seconds in published for s in seconds], lists, health


async def test_a_slow_disk_delays_answers_to_events_and_nothing_else(tmp_path: Path) -> None:
    with rig_node(tmp_path, SLOW) as node:
        async with Receiver() as receiver:
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(node.add_endpoint, receiver.url, ["*"])
            acknowledged, accepting, lists, health = await asyncio.to_thread(load, node)
            assert acknowledged
            syncs = {
                name: round(median(seconds) / SYNC_SECONDS, 3)
                for name, seconds in (("accepting", accepting), ("lists", lists), ("health", health))
            }
            assert min(accepting) > SYNC_SECONDS * 0.9, "no answer came before its sync"
            assert max(accepting) < ACCEPT_SECONDS_MAX
            assert max(syncs["lists"], syncs["health"]) < 0.5, f"reading does not wait for a commit: {syncs}"

            node.program = SERVE
            await asyncio.to_thread(node.start)
            await arrived(receiver, acknowledged)
            books = await asyncio.to_thread(node.books)
            assert (books.imbalance, books.exhausted) == (0, 0)
            assert books.owed >= len(acknowledged)
            assert await asyncio.to_thread(node.stop) == 0
