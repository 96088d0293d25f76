"""A node inside the test's own process: real store, real engine, and whatever network the test makes up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from posthouse.config import Config
from posthouse.core.address import AddressPolicy
from posthouse.core.model import Environment
from posthouse.gateway.endpoint_input import EndpointSpec
from posthouse.gateway.target_check import Resolve
from posthouse.node import Node, Ports
from posthouse.store.open import open_store
from posthouse.system import SystemClock, SystemEntropy
from posthouse.transport.protocol import Transport

WAIT_SECONDS_MAX = 20.0


async def no_names(host: str) -> Sequence[str]:
    """A resolver that knows no name."""
    raise OSError(f"{host} is unknown")


@asynccontextmanager
async def node_inside(
    folder: Path, transport: Transport, *, policy: AddressPolicy, resolve: Resolve = no_names
) -> AsyncIterator[tuple[Node, Ports]]:
    """A node that delivers, with its store in ``folder``; it is stopped at the end."""
    clock = SystemClock()
    ports = Ports(
        clock=clock,
        entropy=SystemEntropy(),
        store=await open_store(folder, clock=clock),
        transport=transport,
        policy=policy,
        resolve=resolve,
    )
    node = Node(Config(data=folder), ports, key_floor=await ports.store.admin.key_floor())
    await node.start(keep_first_key=lambda _text: None)
    try:
        yield node, ports
    finally:
        await node.stop(drain_seconds=0)


async def add_endpoint(node: Node, url: str, event_type: str) -> int:
    """An endpoint for events of one type; its key."""
    issued = await node.gateway.endpoints.create(Environment.LIVE, EndpointSpec(url=url, events=(event_type,)))
    return issued.endpoint.key


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds; TimeoutError if that takes too long."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not holds():  # noqa: ASYNC110 - what is waited for are plain counters
            await asyncio.sleep(0)
