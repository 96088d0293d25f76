"""Law: a node whose disk fills up acknowledges nothing that is not there, says so, and goes on when there is room."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from rig_arrivals import arrived
from rig_node import SERVE, RigNode, rig_node

from posthouse.sdk.client import Client, Problem, Unreachable
from posthouse.testing.receiver import Receiver

pytestmark = pytest.mark.rig

DISK_BYTES = 4_000_000
ROOM_BYTES = 64_000_000
PUBLISHERS = 4
EVENTS_MAX = 2_000  #: of one publisher; far more than the disk holds
END_SECONDS_MAX = 30.0


def publish_until_refused(node: RigNode) -> tuple[list[str], str]:
    """Publish events of 4 KiB one after the other; ids of those with a 202, and the code of the refusal."""
    acknowledged = []
    with Client(node.url, node.api_key, timeout_s=30.0, tries=1) as client:
        for number in range(EVENTS_MAX):
            try:
                acknowledged.append(client.post("/v1/events", {"type": "t", "data": f"{number}" + "x" * 4_096})["id"])
            except Problem as problem:
                return acknowledged, problem.code
            except Unreachable:
                return acknowledged, "unreachable"
    raise AssertionError("the disk never was full")


def fill(node: RigNode) -> tuple[set[str], set[str]]:
    """Publish from several sides until each is refused; everything acknowledged, and all codes."""
    with ThreadPoolExecutor(PUBLISHERS) as publishers:
        ends = list(publishers.map(lambda _: publish_until_refused(node), range(PUBLISHERS)))
    return {event_id for acknowledged, _ in ends for event_id in acknowledged}, {code for _, code in ends}


@contextmanager
def file_system(node: RigNode) -> Iterator[Callable[[], None]]:
    """A small file system for the data; the call that makes room."""
    node.data.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "posthouse-rig", str(node.data)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")

    def make_room() -> None:
        subprocess.run(["mount", "-o", f"remount,size={ROOM_BYTES}", str(node.data)], check=True)

    try:
        yield make_room
    finally:
        if node.runs:
            node.kill()
        subprocess.run(["umount", str(node.data)], check=True)


@contextmanager
def quota(node: RigNode) -> Iterator[Callable[[], None]]:
    """A disk that takes no more than so much; the call that makes room."""
    node.program = (str(Path(__file__).with_name("faulty_disk_node.py")), "--disk-bytes", str(DISK_BYTES))

    def make_room() -> None:
        node.program = SERVE

    yield make_room


def there(node: RigNode, event_ids: Sequence[str]) -> bool:
    """Whether the node has each of these events."""
    with node.client() as client:
        return all(client.get(f"/v1/events/{event_id}")["id"] == event_id for event_id in event_ids)


@pytest.mark.parametrize("small_disk", [file_system, quota])
async def test_a_node_whose_disk_is_full_loses_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Callable[[RigNode], AbstractContextManager[Callable[[], None]]]
) -> None:
    with rig_node(tmp_path) as node, small_disk(node) as make_room:
        async with Receiver() as receiver:
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(node.add_endpoint, receiver.url, ["*"])
            acknowledged, codes = await asyncio.to_thread(fill, node)
            assert len(acknowledged) > DISK_BYTES / 4_096 / 10, "it worked, until it was full"
            assert codes <= {"store_unavailable", "unreachable"}, "an unknown outcome is never called success"
            assert await asyncio.to_thread(node.process.wait, END_SECONDS_MAX) == 1
            assert "store_failed" in node.log()

            await asyncio.to_thread(node.spawn)
            assert await asyncio.to_thread(node.process.wait, END_SECONDS_MAX) == 1, "still full: it says so and ends"
            assert "FullError" in node.log()

            make_room()
            await asyncio.to_thread(node.start)
            assert await asyncio.to_thread(there, node, sorted(acknowledged))
            with node.client() as client:
                last = await asyncio.to_thread(client.post, "/v1/events", {"type": "t", "data": 1})
            await arrived(receiver, {*acknowledged, last["id"]})
            books = await asyncio.to_thread(node.books)
            assert (books.imbalance, books.exhausted) == (0, 0)
            assert await asyncio.to_thread(node.stop) == 0
