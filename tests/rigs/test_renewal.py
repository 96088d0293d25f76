"""Law: a node that keeps its slots keeps its work; only another owner fences an outcome."""

import asyncio
from pathlib import Path

import pytest
from rig_inside import WAIT_SECONDS_MAX, add_endpoint, node_inside, until

from posthouse.core.address import AddressPolicy
from posthouse.core.model import Environment
from posthouse.store.protocol import Store
from posthouse.testing.scripted_transport import ScriptedTransport, answer
from posthouse.transport.protocol import Exchange

pytestmark = pytest.mark.rig


async def beat(store: Store) -> int:
    """How often the node has renewed its leases."""
    (node,) = await store.ownership.nodes()
    return node.beat


async def test_what_is_on_its_way_while_the_leases_are_renewed_is_settled_and_not_sent_again(tmp_path: Path) -> None:
    held: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    transport = ScriptedTransport(lambda _: held)
    async with node_inside(tmp_path, transport, policy=AddressPolicy(("127.0.0.0/8",))) as (node, ports):
        await add_endpoint(node, "http://127.0.0.1/", "*")
        await node.gateway.publisher.publish(Environment.LIVE, b'{"type":"order.paid","data":{}}', None)
        await transport.sent(1)

        before = await beat(ports.store)
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while await beat(ports.store) == before:
                pass
        held.set_result(answer(200))

        await until(lambda: node.metrics.deliveries_settled["delivered"] == 1)
        await node.engine.settler.drain(10)
        assert node.metrics.fenced == 0
        assert len(transport.requests) == 1
