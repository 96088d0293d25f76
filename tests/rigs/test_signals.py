"""Law: one signal drains, a second one stops at once; either way what was acknowledged is still owed or done."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rig_node import RigNode, rig_node

from posthouse.sdk.client import Client, Unreachable
from posthouse.testing.receiver import Answer, Connection, Hang, Receiver

pytestmark = pytest.mark.rig

CUT_SHORT = 128 + signal.SIGTERM


class AnswerLater:
    """A receiver that answers when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def act(self, connection: Connection) -> bool:
        await self.go_on.wait()
        return await Answer().act(connection)


def publish(node: RigNode, url: str) -> None:
    node.start()
    node.add_endpoint(url, ["*"])
    with node.client() as client:
        client.post("/v1/events", {"type": "order.paid", "data": {}})


def wait_until_closed(node: RigNode) -> None:
    """Return when the node takes no connections any more: it has seen the signal."""
    with Client(node.url, None, timeout_s=5.0, tries=1) as client:
        while True:
            try:
                client.get("/healthz")
            except Unreachable:
                return


async def exit_code(node: RigNode) -> int:
    return await asyncio.to_thread(node.process.wait, 30)


async def test_a_signal_waits_for_the_answer_that_is_on_its_way_and_settles_it(tmp_path: Path) -> None:
    later = AnswerLater()
    with rig_node(tmp_path) as node:
        async with Receiver(later) as receiver:
            await asyncio.to_thread(publish, node, receiver.url)
            await receiver.received(1)
            node.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(wait_until_closed, node)
            assert node.process.poll() is None, "it waits for the answer"
            later.go_on.set()
            assert await exit_code(node) == 0
        await asyncio.to_thread(node.start)
        books = await asyncio.to_thread(node.books)
        assert (books.delivered, books.open, books.imbalance) == (1, 0, 0)


async def test_a_second_signal_cuts_it_short_and_the_delivery_is_still_owed(tmp_path: Path) -> None:
    with rig_node(tmp_path) as node:
        async with Receiver(Hang()) as receiver:
            await asyncio.to_thread(publish, node, receiver.url)
            await receiver.received(1)
            node.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(wait_until_closed, node)
            node.process.send_signal(signal.SIGTERM)
            assert await exit_code(node) == CUT_SHORT
        async with Receiver(Answer()) as receiver:
            await asyncio.to_thread(node.start)
            books = await asyncio.to_thread(node.books)
            assert (books.owed, books.open, books.imbalance) == (1, 1, 0)


def test_a_port_that_is_taken_is_said_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "posthouse", "serve", "--data", str(tmp_path / "data"), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in done.stderr
    assert "Traceback" not in done.stderr
