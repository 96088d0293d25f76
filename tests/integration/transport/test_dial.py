"""Names are resolved, checked and dialled as checked; each failure on the way has its class."""

import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest

from posthouse.core.address import AddressPolicy
from posthouse.system import SystemClock
from posthouse.testing.names import Names
from posthouse.testing.receiver import Answer, Receiver
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Exchange, Failure, Request

Post = Callable[..., Coroutine[None, None, Exchange]]

SLACK_US = 3_000_000


@pytest.fixture
async def strict(names: Names) -> AsyncIterator[AiohttpTransport]:
    """Allows no address but public ones, as a node does by default."""
    transport = AiohttpTransport(AddressPolicy(), SystemClock(), resolve=names)
    yield transport
    await transport.close()


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        OSError("resolver is broken"),
        UnicodeError("label too long"),
        TimeoutError(),
        RuntimeError("a resolver of one's own may raise anything"),
    ],
    ids=repr,
)
async def test_name_that_cannot_be_resolved(post: Post, names: Names, error: Exception) -> None:
    names.error = error
    exchange = await post("http://gone.example/")
    assert exchange.failure is Failure.DNS
    assert exchange.error is not None
    assert "gone.example" in exchange.error
    assert exchange.timings.dns_us is not None
    assert exchange.timings.connect_us is None


async def test_name_without_address(post: Post) -> None:
    exchange = await post("http://empty.example/")
    assert (exchange.failure, exchange.peer) == (Failure.DNS, None)
    assert exchange.error == "The name empty.example has no address."


async def test_name_server_that_does_not_answer(post: Post, names: Names) -> None:
    names.answers.clear()
    exchange = await post("http://slow.example/", connect_timeout_ms=150)
    assert exchange.failure is Failure.DNS
    assert exchange.error == "The name slow.example could not be resolved within 150 ms."
    assert exchange.timings.total_us < 150_000 + SLACK_US


async def test_system_resolver_is_the_default(receiver: Receiver) -> None:
    transport = AiohttpTransport(AddressPolicy(["127.0.0.0/8", "::1/128"]), SystemClock())
    try:
        good = await transport.send(Request(f"http://localhost:{receiver.port}/", {}, b"{}"))
        assert good.failure is None
        assert good.timings.dns_us is not None
        bad = await transport.send(Request(f"http://{'a.' * 20}invalid/", {}, b"{}"))
        assert bad.failure is Failure.DNS
    finally:
        await transport.close()


async def test_refused(post: Post, closed_port: int) -> None:
    exchange = await post(f"http://127.0.0.1:{closed_port}/")
    assert exchange.failure is Failure.REFUSED
    assert exchange.error == f"No connection to 127.0.0.1:{closed_port}: connection refused."
    assert (exchange.peer, exchange.timings.connect_us is not None) == (None, True)


async def test_tcp_black_hole(post: Post, black_hole: int) -> None:
    exchange = await post(f"http://127.0.0.1:{black_hole}/", connect_timeout_ms=150)
    assert exchange.failure is Failure.CONNECT_TIMEOUT
    assert exchange.error == f"No connection to 127.0.0.1:{black_hole} within 150 ms."
    assert 150_000 * 0.95 < exchange.timings.total_us < 150_000 + SLACK_US


async def test_connect_limit_is_never_longer_than_the_whole(post: Post, black_hole: int) -> None:
    exchange = await post(f"http://127.0.0.1:{black_hole}/", connect_timeout_ms=60_000, timeout_ms=150)
    assert exchange.failure is Failure.CONNECT_TIMEOUT
    assert exchange.timings.total_us < 150_000 + SLACK_US


async def test_next_address_is_tried(post: Post, names: Names, receiver: Receiver) -> None:
    """Also while an earlier one hangs: it does not use the time up."""
    names.addresses["two.example"] = ("127.0.0.2", "127.0.0.1")
    exchange = await post(f"http://two.example:{receiver.port}/")
    assert (exchange.failure, exchange.peer) == (None, f"127.0.0.1:{receiver.port}")


async def test_all_addresses_refuse(post: Post, names: Names, closed_port: int) -> None:
    names.addresses["two.example"] = ("127.0.0.2", "127.0.0.1")
    exchange = await post(f"http://two.example:{closed_port}/")
    assert exchange.failure is Failure.REFUSED
    assert exchange.error is not None
    assert f"127.0.0.2:{closed_port} or 127.0.0.1:{closed_port}" in exchange.error


async def test_ipv6(post: Post) -> None:
    try:
        async with Receiver(host="::1") as receiver:
            exchange = await post(receiver.url)
            assert (exchange.failure, exchange.peer) == (None, f"[::1]:{receiver.port}")
            assert receiver.requests[0].header("host") == f"[::1]:{receiver.port}"
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ],
)
async def test_blocked_address_in_the_url_is_not_dialled(
    strict: AiohttpTransport, receiver: Receiver, host: str
) -> None:
    exchange = await strict.send(Request(f"http://{host}:{receiver.port}/", {}, b"{}"))
    assert (exchange.failure, exchange.peer) == (Failure.BLOCKED_ADDRESS, None)
    assert exchange.error is not None
    assert "--allow-network" in exchange.error
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1%lo", "not an address", "127.1"]
)
async def test_blocked_address_behind_a_name_is_not_dialled(
    strict: AiohttpTransport, names: Names, receiver: Receiver, address: str
) -> None:
    names.addresses["inside.example"] = (address,)
    exchange = await strict.send(Request(f"http://inside.example:{receiver.port}/", {}, b"{}"))
    assert exchange.failure is Failure.BLOCKED_ADDRESS
    assert exchange.error is not None
    assert exchange.error.startswith(f"inside.example leads to {address} (")
    assert receiver.connections == 0


async def test_blocked_addresses_of_a_name_are_left_out(post: Post, names: Names, receiver: Receiver) -> None:
    names.addresses["mixed.example"] = ("10.0.0.1", "127.0.0.1", "169.254.169.254")
    exchange = await post(f"http://mixed.example:{receiver.port}/")
    assert (exchange.failure, exchange.peer) == (None, f"127.0.0.1:{receiver.port}")


async def test_blocked_addresses_of_a_name_are_not_even_dialled(names: Names) -> None:
    """A connection that is made and dropped tells an attacker what listens inside."""
    dialled: list[str] = []

    async def connect(infos: Sequence[Any]) -> socket.socket:
        dialled.extend(str(info[4][0]) for info in infos)
        raise ConnectionRefusedError

    transport = AiohttpTransport(AddressPolicy(["127.0.0.1/32"]), SystemClock(), resolve=names, connect=connect)
    names.addresses["mixed.example"] = ("10.0.0.1", "127.0.0.1", "169.254.169.254")
    assert (await transport.send(Request("http://mixed.example/", {}, b"{}"))).failure is Failure.REFUSED
    assert dialled == ["127.0.0.1"]
    await transport.close()


async def test_left_out_addresses_are_named_when_the_others_fail(post: Post, names: Names, closed_port: int) -> None:
    names.addresses["mixed.example"] = ("10.0.0.1", "127.0.0.1")
    exchange = await post(f"http://mixed.example:{closed_port}/")
    assert exchange.failure is Failure.REFUSED
    assert exchange.error is not None
    assert "(blocked and left out: 10.0.0.1)" in exchange.error


async def test_name_that_changes_its_answer_is_checked_at_every_dial(names: Names) -> None:
    """Rebinding: public when the endpoint was saved and at one attempt, inside at the next."""
    async with Receiver(Answer(close=True)) as receiver:
        transport = AiohttpTransport(AddressPolicy(["127.0.0.1/32"]), SystemClock(), resolve=names)
        url = f"http://rebind.example:{receiver.port}/"
        outcomes = []
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
            names.addresses["rebind.example"] = (address,)
            outcomes.append((await transport.send(Request(url, {}, b"{}"))).failure)
        assert outcomes == [None, Failure.BLOCKED_ADDRESS, None]
        assert names.asked == ["rebind.example"] * 3
        assert len(receiver.requests) == 2
        await transport.close()


async def test_what_is_dialled_is_what_was_checked(names: Names, receiver: Receiver) -> None:
    """One look-up a dial: a name server cannot show one address to the check and another to the socket."""
    transport = AiohttpTransport(AddressPolicy(["127.0.0.0/8"]), SystemClock(), resolve=names)
    names.addresses["once.example"] = ("127.0.0.1",)
    await transport.send(Request(f"http://once.example:{receiver.port}/", {}, b"{}"))
    assert names.asked == ["once.example"]
    await transport.close()


async def test_peer_is_checked_before_anything_is_written(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a connection leads is decided by the kernel; the policy has the last word."""
    policy = AddressPolicy(["127.0.0.0/8"])
    answers = iter([None, "moved"])
    monkeypatch.setattr(AddressPolicy, "refusal", lambda _, address: next(answers))
    transport = AiohttpTransport(policy, SystemClock())
    exchange = await transport.send(Request(receiver.url, {}, b"{}"))
    assert exchange.failure is Failure.BLOCKED_ADDRESS
    assert exchange.error is not None
    assert "moved" in exchange.error
    await receiver.accepted(1)
    await receiver.hung_up()
    assert not receiver.requests
    await transport.close()
