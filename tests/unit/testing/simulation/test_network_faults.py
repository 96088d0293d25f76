"""Each fault of the network as both sides see it, and what it means for a connection that a process dies."""

import asyncio
import random

import pytest
from tests.unit.testing.simulation.conftest import SERVER, Pair, Side

from posthouse.testing.simulation.loop import SimLoop, pass_time
from posthouse.testing.simulation.network import NetworkFaults, SimNetwork
from posthouse.testing.simulation.trace import Trace

# -- faults ----------------------------------------------------------------------------------------


def test_loss_delays_and_loses_nothing(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.faults.loss = 0.2
    network.faults.retransmit_s = 0.5

    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        expected = b"".join(b"%d," % i for i in range(50))
        for part in expected.split(b",")[:-1]:
            near.transport.write(part + b",")
        await pass_time(0.4)
        assert expected.startswith(far.data)
        assert far.data != expected
        await pass_time(10)
        assert far.data == expected

    loop.simulate(main())
    assert network.happened["lost"] > 3


def test_a_lost_syn_is_sent_again(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.faults.loss = 1

    async def main() -> None:
        await pair.listen()
        loop.call_later(0.5, setattr, network.faults, "loss", 0.0)
        start = loop.time()
        await loop.create_connection(Side, *SERVER)
        assert 1 < loop.time() - start < 1.1

    loop.simulate(main())


def test_a_reset_breaks_both_sides(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        network.faults.reset = 1
        near.transport.write(b"x")
        await pass_time(1)
        for side in (near, far):
            assert isinstance(side.error, ConnectionResetError)
            assert side.events == ["made", "lost"]

    loop.simulate(main())
    assert network.happened["reset"] == 1
    assert not network.connections


def test_a_reset_may_overtake_what_was_sent_before(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.faults.latency = (0.001, 0.1)

    async def main() -> None:
        await pair.listen()
        came = []
        for _ in range(20):
            near, _ = await pair.connect()
            await pass_time(1)
            far = pair.accepted[-1]
            far.transport.pause_reading()
            near.transport.write(b"x")
            await pass_time(1)
            far.transport.write(b"answer")
            far.transport.close()  # with an unread byte
            await pass_time(1)
            assert isinstance(near.error, ConnectionResetError)
            came.append(near.data)
        assert {b"", b"answer"} == set(came)

    loop.simulate(main())


def test_a_black_hole_swallows_in_both_directions_and_says_nothing(
    loop: SimLoop, network: SimNetwork, pair: Pair
) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        network.faults.black_holes.add(SERVER)
        near.transport.write(b"x")
        far.transport.write(b"y")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_connection(Side, *SERVER), 30)
        assert near.events == far.events == ["made"]
        assert network.connections == {SERVER: 1}
        network.faults.black_holes.clear()
        await pass_time(60)
        assert far.data == b"x", "TCP sends again what it has no answer for"
        assert near.data == b"y"

    loop.simulate(main())
    assert network.happened["swallowed"] > 3


def test_a_black_hole_ends_a_connection_only_after_a_long_time(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        network.faults.black_holes.add(SERVER)
        near.transport.write(b"x")
        await pass_time(600)
        assert near.events == ["made"]
        await pass_time(600)
        assert isinstance(near.error, TimeoutError)
        assert far.events == ["made"], "it sent nothing, and knows of nothing"

    loop.simulate(main())


def test_closing_in_a_black_hole_is_heard_once_it_is_gone(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        network.faults.black_holes.add(SERVER)
        near.transport.close()
        await pass_time(5)
        assert near.events == ["made", "lost"]
        assert far.events == ["made"]
        network.faults.black_holes.clear()
        await pass_time(60)
        assert far.events == ["made", "eof", "lost"]

    loop.simulate(main())


def test_chunks_tear_what_was_written_and_keep_its_order(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.faults.chunk = (1, 3)
    sizes: list[int] = []

    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        receive = far.data_received

        def measure(data: bytes) -> None:
            sizes.append(len(data))
            receive(data)

        far.data_received = measure  # type: ignore[method-assign]
        near.transport.write(b"0123456789" * 10)
        await pass_time(1)
        assert far.data == b"0123456789" * 10

    loop.simulate(main())
    assert set(sizes) == {1, 2, 3}
    assert network.happened["chunked"] == 1


@pytest.mark.parametrize("seed", range(30))
def test_what_arrives_is_always_a_beginning_of_what_was_sent(seed: int) -> None:
    """Whatever goes wrong, no byte is invented, lost from the middle, or out of its place."""
    chance = random.Random(seed)
    loop = SimLoop(seed, shuffle=0.3, trace=Trace())
    network = SimNetwork(loop, random.Random(seed), loop.trace)
    pair = Pair(loop)
    whole = 0

    async def main() -> None:
        nonlocal whole
        await pair.listen()
        for _ in range(20):
            network.faults = NetworkFaults()
            near, far = await pair.connect()
            network.faults = NetworkFaults(
                latency=(0, 0.1), loss=0.02, reset=chance.choice((0, 0.02)), chunk=chance.choice((None, (1, 50)))
            )
            sent = {near: b"", far: b""}
            for i in range(100):
                side = chance.choice((near, far))
                if not side.transport.is_closing():
                    data = b"%d," % i * chance.choice((1, 1, 100, 1_000))
                    side.transport.write(data)
                    sent[side] += data
                if chance.random() < 0.1:
                    network.faults.black_holes = {SERVER} if chance.random() < 0.3 else set()
                await pass_time(chance.random() * 0.1)
            network.faults.black_holes = set()
            await pass_time(200)
            assert sent[near].startswith(far.data)
            assert sent[far].startswith(near.data)
            if near.error is far.error is None:
                assert (sent[near], sent[far]) == (far.data, near.data)
                whole += 1

    loop.simulate(main())
    loop.close()
    assert not loop.complaints
    assert whole > 0
    assert network.happened["reset"] > 0
    assert network.happened["swallowed"] > 0


# -- lives -----------------------------------------------------------------------------------------


async def _node(pair: Pair, sides: list[Side]) -> None:
    """A process that listens, and has a connection to a server outside."""
    await pair.listen()
    _, side = await pair.loop.create_connection(Side, "203.0.114.5", 80)
    assert isinstance(side, Side)
    sides.append(side)


async def _scene(loop: SimLoop, pair: Pair) -> tuple[Side, Side, list[Side]]:
    """A client of the node, a server that the node uses, and the node's own two sides."""
    outside = Pair(loop)
    await outside.listen("203.0.114.5")
    sides: list[Side] = []
    await loop.in_life(1, _node(pair, sides))
    client, accepted = await pair.connect()
    return client, outside.accepted[0], [*sides, accepted]


def test_callbacks_run_in_the_life_of_their_side(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        client, used, own = await _scene(loop, pair)
        client.transport.write(b"x")
        used.transport.write(b"y")
        client.transport.close()
        used.transport.abort()
        await pass_time(1)
        assert [side.events for side in own] == [["made", "data", "eof", "lost"]] * 2
        assert [side.lives for side in own] == [{1}, {1}]
        assert client.lives == used.lives == {0}

    loop.simulate(main())


def test_a_process_that_dies_resets_its_connections(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    async def main() -> None:
        client, used, own = await _scene(loop, pair)
        own[1].transport.write(b"last words")
        loop.kill(1)
        network.cut_life(1, silently=False)
        own[0].transport.write(b"after death")
        own[1].transport.abort()
        await pass_time(1)
        for side in (client, used):
            assert isinstance(side.error, ConnectionResetError)
        assert used.data == b""
        assert [side.events for side in own] == [["made"]] * 2, "the dead are told nothing"
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, *SERVER)
        assert not network.connections
        await loop.in_life(2, pair.listen())
        await pair.connect()
        loop.bury(1)

    loop.simulate(main())
    assert network.happened["cut"] == 2


def test_the_dead_send_nothing_even_before_they_are_cut(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    """What a killed process still writes while its coroutines are unwound reaches nobody."""

    async def main() -> None:
        client, used, own = await _scene(loop, pair)
        loop.kill(1)
        own[0].transport.write(b"after death")
        own[0].transport.write_eof()
        own[1].transport.close()
        own[1].transport.get_extra_info("socket").close()
        await pass_time(60)
        assert client.events == used.events == ["made"]
        network.cut_life(1, silently=False)
        await pass_time(1)
        assert isinstance(client.error, ConnectionResetError), "closing it was the dead's own business"

    loop.simulate(main())


def test_a_listener_of_the_dead_is_gone_even_before_it_is_cut(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await _scene(loop, pair)
        loop.kill(1)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, *SERVER)

    loop.simulate(main())


def test_a_machine_without_power_says_nothing_until_it_is_back(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    async def main() -> None:
        client, used, _ = await _scene(loop, pair)
        loop.kill(1)
        network.cut_life(1, silently=True)
        client.transport.write(b"anybody there?")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_connection(Side, *SERVER), 30)
        assert client.events == used.events == ["made"], "half-open"
        network.revive()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, *SERVER)
        await pass_time(30)
        assert isinstance(client.error, ConnectionResetError), "what it sent again was answered"
        assert used.events == ["made"], "it sent nothing, and believes in its connection"
        used.transport.write(b"still there?")
        await pass_time(1)
        assert isinstance(used.error, ConnectionResetError)

    loop.simulate(main())
    assert not network.connections


def test_bytes_under_way_when_the_power_went_are_answered_later(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.faults.latency = (0.001, 0.001)

    async def main() -> None:
        client, _, own = await _scene(loop, pair)
        client.transport.write(b"x")
        loop.kill(1)
        network.cut_life(1, silently=True)
        await pass_time(5)
        network.revive()
        await pass_time(30)
        assert own[1].data == b""
        assert isinstance(client.error, ConnectionResetError)

    loop.simulate(main())


def test_a_process_may_cut_itself_while_it_dies(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    """A world that kills a node does so from one of the node's own callbacks."""

    def die() -> None:
        loop.kill(1)
        network.cut_life(1, silently=False)

    async def node() -> None:
        loop.call_soon(die)

    async def main() -> None:
        client, used, _ = await _scene(loop, pair)
        await loop.start_life(1, node())
        await pass_time(1)
        assert isinstance(client.error, ConnectionResetError)
        assert isinstance(used.error, ConnectionResetError)

    loop.simulate(main())


def test_a_frozen_process_reads_nothing_and_its_machine_still_answers(
    loop: SimLoop, network: SimNetwork, pair: Pair
) -> None:
    async def main() -> None:
        client, used, own = await _scene(loop, pair)
        loop.freeze(1)
        client.transport.write(b"one")
        client.transport.write(b"two")
        used.transport.close()
        late = await pair.dial()
        late.transport.write(bytes(1_000_000))
        await pass_time(60)
        assert [side.events for side in own] == [["made"]] * 2
        assert len(pair.accepted) == 1
        assert late.events == ["made", "pause"], "its machine takes no more than a window"
        assert network.connections[SERVER] == 2
        loop.thaw(1)
        await pass_time(1)
        assert own[1].data == b"onetwo"
        assert own[0].events == ["made", "eof", "lost"]
        assert len(pair.accepted[1].data) == 1_000_000
        assert late.events == ["made", "pause", "resume"]

    loop.simulate(main())


def test_a_dead_caller_connects_to_nobody(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.faults.latency = (1, 1)

    async def main() -> None:
        await pair.listen()
        for seconds in (0.5, 1.5):  # before and after the SYN has arrived
            life = int(seconds * 10)
            loop.start_life(life, loop.create_connection(Side, *SERVER))
            await pass_time(seconds)
            loop.kill(life)
            network.cut_life(life, silently=False)
            await pass_time(10)
            loop.bury(life)
        assert [side.events for side in pair.accepted] == [["made", "lost"]]

    loop.simulate(main())
    assert not network.connections
