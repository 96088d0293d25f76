"""Connections of the simulated network while nothing goes wrong with it."""

import asyncio
import errno
import socket

import pytest
from tests.unit.testing.simulation.conftest import SERVER, Pair, Side

from posthouse.testing.simulation.loop import SimLoop, pass_time
from posthouse.testing.simulation.network import NetworkFaults, SimNetwork

# -- without faults --------------------------------------------------------------------------------


def test_bytes_go_both_ways_in_order_and_take_their_time(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.faults.latency = (0.01, 0.03)

    async def main() -> None:
        await pair.listen()
        start = loop.time()
        near = await pair.dial()
        assert 0.02 <= loop.time() - start <= 0.06, "there and back"
        far = pair.accepted[0]
        expected = b""
        for i in range(100):
            near.transport.write(b"%d," % i)
            far.transport.writelines([b"%d" % i, b";"])
            expected += b"%d," % i
        assert far.data == b""
        await pass_time(0.01)
        assert far.data == b""
        await pass_time(0.03)
        assert far.data == expected
        assert near.data == expected.replace(b",", b";")
        near.transport.close()
        await pass_time(1)
        assert near.events == ["made", "data", "lost"]
        assert far.events == ["made", "data", "eof", "lost"]
        assert near.error is None
        assert far.error is None

    loop.simulate(main())
    assert not network.connections
    assert not network.happened


def test_both_sides_know_each_other(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        server = await pair.listen(port=0)
        host, port = server.sockets[0].getsockname()  # type: ignore[attr-defined]  # asyncio's has it too
        _, near = await loop.create_connection(Side, host, port)
        await pass_time(0.01)
        far = pair.accepted[0]
        assert near.transport.get_extra_info("peername") == (host, port)
        assert near.transport.get_extra_info("sockname") == far.transport.get_extra_info("peername")
        assert near.transport.get_extra_info("sslcontext") is None
        sock = near.transport.get_extra_info("socket")
        assert sock.getpeername() == (host, port)
        assert sock.family == socket.AF_INET

    loop.simulate(main())


def test_what_was_written_before_close_arrives(loop: SimLoop, pair: Pair) -> None:
    size = 1_000_000  # more than is under way at once

    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        near.transport.write(bytes(size))
        near.transport.close()
        assert near.transport.is_closing()
        assert near.transport.get_write_buffer_size() > 0
        await pass_time(1)
        assert len(far.data) == size
        assert far.events == ["made", "data", "eof", "lost"]
        assert near.events == ["made", "pause", "resume", "lost"]

    loop.simulate(main())


def test_abort_drops_what_is_not_under_way(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        near.transport.write(bytes(1_000_000))
        near.transport.abort()
        near.transport.write(b"more")
        await pass_time(1)
        assert 0 < len(far.data) < 1_000_000
        assert far.events[-1] == "lost"
        assert near.events[-1] == "lost"

    loop.simulate(main())


def test_closing_with_unread_bytes_resets(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        far.transport.pause_reading()
        near.transport.write(b"unread")
        await pass_time(1)
        far.transport.close()
        await pass_time(1)
        assert isinstance(near.error, ConnectionResetError)

    loop.simulate(main())


def test_writing_to_a_closed_side_resets(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        near.keep_open = True
        far.transport.close()
        await pass_time(1)
        assert near.events == ["made", "eof"]
        near.transport.write(b"anybody there?")
        await pass_time(1)
        assert isinstance(near.error, ConnectionResetError)

    loop.simulate(main())


def test_a_half_closed_connection_goes_on_in_the_other_direction(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        far.keep_open = True
        near.transport.write(b"question")
        assert near.transport.can_write_eof()
        near.transport.write_eof()
        with pytest.raises(RuntimeError):
            near.transport.write(b"more")
        await pass_time(1)
        assert far.events == ["made", "data", "eof"]
        far.transport.write(b"answer")
        far.transport.close()
        await pass_time(1)
        assert near.data == b"answer"
        assert near.events == ["made", "data", "eof", "lost"]
        assert near.error is None

    loop.simulate(main())


def test_whoever_does_not_read_stops_the_writer(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        far.transport.pause_reading()
        assert not far.transport.is_reading()
        for _ in range(20):
            near.transport.write(bytes(50_000))
        await pass_time(60)
        assert near.events == ["made", "pause"]
        assert near.transport.get_write_buffer_size() > 64 * 1024
        assert far.data == b""
        far.transport.resume_reading()
        assert far.data == b"", "not before the next turn"
        await pass_time(1)
        assert len(far.data) == 1_000_000
        assert near.events == ["made", "pause", "resume"]
        assert near.transport.get_write_buffer_size() == 0

    loop.simulate(main())


def test_water_marks_can_be_set(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        far.transport.pause_reading()
        near.transport.set_write_buffer_limits(high=0)
        assert near.transport.get_write_buffer_limits() == (0, 0)
        near.transport.write(bytes(256 * 1024))
        assert near.events == ["made"]
        near.transport.write(b"x")
        assert near.events == ["made", "pause"]
        with pytest.raises(ValueError, match="high"):
            near.transport.set_write_buffer_limits(high=1, low=2)

    loop.simulate(main())


def test_a_fault_in_a_protocol_breaks_its_connection(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        near, far = await pair.connect()
        far.data_received = lambda _: 1 / 0  # type: ignore[assignment, method-assign]
        near.transport.write(b"x")
        await pass_time(1)
        assert isinstance(far.error, ZeroDivisionError)
        assert near.events[-1] == "lost"

    loop.simulate(main())
    [complaint] = loop.complaints
    assert "ZeroDivisionError" in complaint
    loop.complaints.clear()


def test_a_fault_while_a_connection_is_made_does_not_hide_it(loop: SimLoop, pair: Pair) -> None:
    class Faulty(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        await pair.listen()
        transport, _ = await loop.create_connection(Faulty, *SERVER)
        transport.close()
        await pass_time(1)
        assert pair.accepted[0].events == ["made", "eof", "lost"]

    loop.simulate(main())
    [complaint] = loop.complaints
    assert "ZeroDivisionError" in complaint
    loop.complaints.clear()


def test_asyncio_streams_work_on_it(loop: SimLoop, network: SimNetwork) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_server(echo, *SERVER) as server:
            assert server.is_serving()
            reader, writer = await asyncio.open_connection(*SERVER)
            for i in range(10):
                writer.write(b"line %d\n" % i)
                assert await reader.readline() == b"LINE %d\n" % i
            writer.close()
            await writer.wait_closed()
            await pass_time(1)

    loop.simulate(main())
    assert not network.connections


# -- listening and dialling ------------------------------------------------------------------------


def test_a_taken_address_cannot_be_taken_again(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        server = await pair.listen()
        for host in (SERVER[0], "0.0.0.0"):
            with pytest.raises(OSError, match=r"203\.0\.114\.1:80|0\.0\.0\.0:80") as caught:
                await pair.listen(host)
            assert caught.value.errno == errno.EADDRINUSE
        await pair.listen("203.0.114.2")
        server.close()
        server.close()
        await pair.listen()

    loop.simulate(main())


def test_an_open_address_takes_connections_for_all(loop: SimLoop, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen("0.0.0.0")
        near, far = await pair.connect()
        near.transport.write(b"x")
        await pass_time(1)
        assert far.data == b"x"

    loop.simulate(main())


def test_nobody_listening_refuses(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, *SERVER)
        server = await pair.listen()
        network.faults.refused.add(SERVER)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, *SERVER)
        network.faults.refused.clear()
        near, far = await pair.connect()
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Side, *SERVER)
        near.transport.write(b"x")
        await pass_time(1)
        assert far.data == b"x", "what is open stays open"

    loop.simulate(main())
    assert network.happened["refused"] == 3


def test_names_resolve_as_they_are_told(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.names["r.example"] = ("203.0.114.9", SERVER[0])

    async def main() -> None:
        assert await network.resolve("r.example") == ("203.0.114.9", SERVER[0])
        with pytest.raises(socket.gaierror):
            await network.resolve("other.example")
        network.faults.dead_names.add("r.example")
        with pytest.raises(socket.gaierror):
            await network.resolve("r.example")
        network.faults = NetworkFaults(slow_names=3)
        start = loop.time()
        await network.resolve("r.example")
        assert loop.time() - start > 3
        await pair.listen()
        await loop.create_connection(Side, "r.example", 80)

    loop.simulate(main())
    assert network.happened["unresolved"] == 2
    assert network.connections == {SERVER: 1}


def test_the_next_address_is_dialled_when_one_does_not_answer(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    """RFC 8305, by the same library that a node uses on a real network."""
    network.faults.black_holes.add(("203.0.114.9", 80))
    infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)) for host in ("203.0.114.9", SERVER[0])]

    async def main() -> None:
        await pair.listen()
        start = loop.time()
        sock = await network.connect(infos)
        assert sock.getpeername() == SERVER
        assert 0.25 <= loop.time() - start < 0.3
        _, near = await loop.create_connection(Side, sock=sock)
        near.transport.write(b"x")
        await pass_time(1)
        assert pair.accepted[0].data == b"x"

    loop.simulate(main())


def test_what_arrives_before_there_is_a_protocol_is_kept(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    async def main() -> None:
        await pair.listen()
        sock = await network.connect([(socket.AF_INET, socket.SOCK_STREAM, 6, "", SERVER)])
        await pass_time(1)
        pair.accepted[0].transport.write(b"first")
        pair.accepted[0].transport.close()
        await pass_time(1)
        _, near = await loop.create_connection(Side, sock=sock)
        await pass_time(1)
        assert near.data == b"first"
        assert near.events == ["made", "data", "eof", "lost"]

    loop.simulate(main())


def test_a_dial_that_was_given_up_leaves_nothing(loop: SimLoop, network: SimNetwork, pair: Pair) -> None:
    network.faults.latency = (1, 1)

    async def main() -> None:
        await pair.listen()
        for seconds in (0.5, 1.5):  # before and after the other side has taken it
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.create_connection(Side, *SERVER), seconds)
        await pass_time(10)
        assert [side.events for side in pair.accepted] == [["made", "eof", "lost"]] * 2

    loop.simulate(main())
    assert not network.connections
