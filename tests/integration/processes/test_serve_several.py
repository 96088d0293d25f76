"""Law: several processes behind one port are one gateway. Whichever answers, all of them work on the same store."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from posthouse.core.model import SLOTS
from posthouse.demo.node_process import Node
from posthouse.drills.fleet import Database
from posthouse.sdk.client import Client
from posthouse.testing.receiver import Receiver

PROCESSES: Final = 2
ENDPOINTS: Final = 8
LOOK_S: Final = 0.05
PATIENCE_S: Final = 60.0


@contextmanager
def serving(data: Path, *options: str) -> Iterator[Node]:
    """A node with several processes."""
    node = Node(data, options=["--processes", str(PROCESSES), "--drain-seconds", "2", *options])
    try:
        node.start()
        yield node
    finally:
        node.stop()


async def until(node: Node, reached: Callable[[Client], Any]) -> Any:
    """Ask until the answer is something: each time over a new connection, so that either process may answer."""

    def ask() -> Any:
        with Client(node.url, node.api_key) as client:
            return reached(client)

    async with asyncio.timeout(PATIENCE_S):
        while not (found := await asyncio.to_thread(ask)):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(LOOK_S)
    return found


def shares(client: Client) -> set[int] | None:
    """The processes, once each owns about as many slots as the others."""
    found = {each["process_id"]: each["slots"] for each in client.get("/v1/nodes")["data"]}
    even = len(found) == PROCESSES and sum(found.values()) == SLOTS and max(found.values()) <= SLOTS / PROCESSES + 1
    return set(found) if even else None


def publish(node: Node, count: int) -> None:
    """Publish events, each over a connection of its own."""
    for number in range(count):
        with Client(node.url, node.api_key) as client:
            client.post("/v1/events", {"type": "order.paid", "id": f"{count}-{number}", "data": {}})


def all_is_delivered(owed: int) -> Callable[[Client], bool]:
    """Whether so much was owed, and nothing is any more."""

    def delivered(client: Client) -> bool:
        audit = client.get("/v1/audit")
        assert audit["imbalance"] == 0
        return bool(audit["owed"] == audit["delivered"] == owed)

    return delivered


@pytest.fixture(params=["embedded", "database"])
def store(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """How the node is told where its store is."""
    if request.param == "embedded":
        yield ()
        return
    with Database.made() as database:
        yield ("--database", database.dsn)


async def test_they_share_the_work_and_one_that_is_killed_is_replaced(store: tuple[str, ...], tmp_path: Path) -> None:
    async with Receiver() as receiver:
        with serving(tmp_path / "data", *store) as node:
            for _ in range(ENDPOINTS):
                await until(node, lambda client: client.post("/v1/endpoints", {"url": receiver.url, "events": ["*"]}))
            before = await until(node, shares)
            await asyncio.to_thread(publish, node, 40)
            await until(node, all_is_delivered(40 * ENDPOINTS))
            os.kill(min(before), signal.SIGKILL)
            await asyncio.to_thread(publish, node, 60)
            await until(node, all_is_delivered(100 * ENDPOINTS))
            after = await until(node, shares)
            assert len(before - after) == 1, "the one that was killed is off the register, and another one is on it"
        assert not (tmp_path / "data" / "node.json").exists()


async def test_each_has_a_port_of_its_own_too(tmp_path: Path) -> None:
    """Where it tells of itself, and nobody else answers."""
    first = neighbouring_ports(PROCESSES)
    with serving(tmp_path / "data", "--process-port", str(first)) as node:
        listed = await until(node, all_listen)
        assert {each["url"] for each in listed} == {f"http://127.0.0.1:{first + n}" for n in range(PROCESSES)}
        for each in listed:
            for _ in range(3):
                with Client(each["url"], node.api_key) as client:
                    (me,) = [other for other in client.get("/v1/nodes")["data"] if other["is_this"]]
                assert me["process_id"] == each["process_id"]


def all_listen(client: Client) -> list[dict[str, Any]] | None:
    """Who is on the register, once all tell where they listen."""
    listed: list[dict[str, Any]] = client.get("/v1/nodes")["data"]
    return listed if all(each["url"] for each in listed) and len(listed) == PROCESSES else None


def neighbouring_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    while True:
        with ExitStack() as kept:
            sockets = [kept.enter_context(socket.socket()) for _ in range(count)]
            sockets[0].bind(("127.0.0.1", 0))
            first: int = sockets[0].getsockname()[1]
            with suppress(OSError, OverflowError):
                for distance, other in enumerate(sockets[1:], 1):
                    other.bind(("127.0.0.1", first + distance))
                return first


async def test_a_directory_is_served_once(tmp_path: Path) -> None:
    with serving(tmp_path / "data"):
        second = Node(tmp_path / "data")
        with pytest.raises(Exception, match="Another node"):
            await asyncio.to_thread(second.start)
        several = Node(tmp_path / "data", options=["--processes", str(PROCESSES)])
        with pytest.raises(Exception, match="Another node"):
            await asyncio.to_thread(several.start)
