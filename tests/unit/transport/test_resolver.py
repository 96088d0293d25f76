"""Names are looked up once for all who ask together, and a slow one holds up nobody else."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from posthouse.core.limits import RESOLVED_SECONDS_MAX
from posthouse.testing.manual_clock import ManualClock
from posthouse.transport import resolver as module
from posthouse.transport.resolver import ResolverClosed, SystemResolver, TooManyLookups


class NameServer:
    """Blocks as a name server does; runs in the resolver's threads."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.slow = threading.Event()
        self.slow.set()

    def __call__(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.slow.wait()
        if host not in self.addresses:
            raise OSError("no such name")
        return self.addresses[host]


@pytest.fixture
def server() -> NameServer:
    server = NameServer()
    server.addresses = {"a": ("192.0.2.1", "192.0.2.2"), "slow": ("192.0.2.3",)}
    return server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def resolver(server: NameServer, clock: ManualClock) -> AsyncIterator[SystemResolver]:
    resolver = SystemResolver(clock, ask=server)
    yield resolver
    server.slow.set()
    resolver.close()


async def test_answer_is_believed_for_a_while(resolver: SystemResolver, server: NameServer, clock: ManualClock) -> None:
    assert await resolver("a") == ("192.0.2.1", "192.0.2.2")
    server.addresses["a"] = ("192.0.2.9",)
    clock.advance(int(RESOLVED_SECONDS_MAX * 1_000))
    assert await resolver("a") == ("192.0.2.1", "192.0.2.2")
    clock.advance(1)
    assert await resolver("a") == ("192.0.2.9",)
    assert server.asked == ["a", "a"]


async def test_failure_is_not_remembered(resolver: SystemResolver, server: NameServer) -> None:
    with pytest.raises(OSError, match="no such name"):
        await resolver("b")
    server.addresses["b"] = ("192.0.2.1",)
    assert await resolver("b") == ("192.0.2.1",)


async def test_those_who_ask_together_share_one_look_up(resolver: SystemResolver, server: NameServer) -> None:
    server.slow.clear()
    tasks = [asyncio.create_task(_ask(resolver, "slow")) for _ in range(50)]
    await asyncio.sleep(0)
    server.slow.set()
    assert {await task for task in tasks} == {("192.0.2.3",)}
    assert server.asked == ["slow"]


async def test_who_stops_waiting_does_not_stop_the_others(resolver: SystemResolver, server: NameServer) -> None:
    server.slow.clear()
    patient, impatient = (asyncio.create_task(_ask(resolver, "slow")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    server.slow.set()
    assert await patient == ("192.0.2.3",)


async def test_slow_name_does_not_hold_up_another(resolver: SystemResolver, server: NameServer) -> None:
    server.slow.clear()
    waiting = asyncio.create_task(_ask(resolver, "slow"))
    await asyncio.sleep(0)
    assert await resolver("a") == ("192.0.2.1", "192.0.2.2")
    assert not waiting.done()
    server.slow.set()
    await waiting


async def test_look_ups_are_bounded(
    resolver: SystemResolver, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESOLVES_WAITING_MAX", 2)
    server.slow.clear()
    waiting = [asyncio.create_task(_ask(resolver, f"slow{number}")) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyLookups):
        await resolver("a")
    server.slow.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await resolver("a")


async def test_answers_kept_are_bounded(
    resolver: SystemResolver, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESOLVED_NAMES_MAX", 2)
    server.addresses = dict.fromkeys("abc", ("192.0.2.1",))
    for name in "abca":
        await resolver(name)
    assert server.asked == ["a", "b", "c", "a"]


async def test_close_ends_the_waiting(resolver: SystemResolver, server: NameServer) -> None:
    server.slow.clear()
    waiting = asyncio.create_task(_ask(resolver, "slow"))
    await asyncio.sleep(0)
    resolver.close()
    with pytest.raises(ResolverClosed):
        await waiting
    resolver.close()


async def _ask(resolver: SystemResolver, host: str) -> tuple[str, ...]:
    return tuple(await resolver(host))
