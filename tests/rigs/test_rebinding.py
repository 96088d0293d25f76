"""Law: an address that must not be called is refused when it is saved and again each time it is dialled."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from rig_inside import add_endpoint, node_inside, until

from posthouse.core.address import AddressPolicy
from posthouse.core.delivery import State
from posthouse.core.errors import BlockedAddress
from posthouse.core.model import Environment
from posthouse.system import SystemClock
from posthouse.testing.receiver import Receiver
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Failure

PUBLIC = "93.184.215.14"
HOST = "hooks.example.com"


class Rebinding:
    """A name server whose owner changes the answer."""

    def __init__(self) -> None:
        self.addresses: list[str] = [PUBLIC]
        self.asked = 0

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of ``host`` at this moment."""
        assert host == HOST
        self.asked += 1
        return list(self.addresses)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "::ffff:127.0.0.1", "fd00:ec2::254", "64:ff9b::7f00:1"],
)
async def test_a_name_that_changes_its_answer_is_refused_when_dialled(tmp_path: Path, address: str) -> None:
    """The receiver listens on the very port, so only the refusal keeps the request away from it."""
    names = Rebinding()
    policy = AddressPolicy()
    transport = AiohttpTransport(policy, SystemClock(), resolve=names)
    async with (
        Receiver() as receiver,
        node_inside(tmp_path, transport, policy=policy, resolve=names) as (node, ports),
    ):
        url = f"http://{HOST}:{receiver.port}/"
        endpoint = await add_endpoint(node, url, "order.paid")
        asked = names.asked
        names.addresses = [address]

        accepted = await node.gateway.publisher.publish(Environment.LIVE, b'{"type":"order.paid","data":{}}', None)
        await until(lambda: node.metrics.deliveries_settled["retrying"] == 1)

        (attempt,) = await ports.store.ledger.attempts(accepted.key, endpoint)
        delivery = await ports.store.ledger.delivery(accepted.key, endpoint)
        assert delivery is not None
        assert attempt.outcome == Failure.BLOCKED_ADDRESS
        assert attempt.status is None
        assert delivery.state is State.RETRYING, "the name may come to its senses"
        assert names.asked > asked, "the address is looked up anew for the attempt"
        assert not receiver.connections

        with pytest.raises(BlockedAddress):
            await add_endpoint(node, url, "order.paid")
