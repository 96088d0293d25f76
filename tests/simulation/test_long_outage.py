"""Days and weeks of an endpoint that is down, in virtual time: a whole node, but for its API's socket.

What a node does every few seconds to be safe (renewing leases, looking at all queues, at jobs, at the inbox, at
sources, at the catalogue and at the clock) it does every hour here, or there would be millions of such turns in which
nothing happens. Retries, probes and the recovery keep their own times. Chance adds nothing to any delay.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from posthouse.assembly import Machine, assemble
from posthouse.config import Config
from posthouse.core.health import PROBE_SECONDS_MAX, RAMP_FACTOR
from posthouse.core.model import Environment
from posthouse.drills.measures import most_within
from posthouse.engine import jobs, membership, ownership, sweeper, timers
from posthouse.gateway.books import Books
from posthouse.gateway.endpoint_input import EndpointSpec
from posthouse.inbox import inbox, keeper
from posthouse.node import Node
from posthouse.store.protocol import Store
from posthouse.testing.disk import memory_folder
from posthouse.testing.scripted_transport import ScriptedTransport, answer, broken
from posthouse.testing.simulation.loop import SimLoop, pass_time
from posthouse.testing.simulation.machine import SimClock, SimEntropy
from posthouse.testing.simulation.offload import SimOffload
from posthouse.testing.simulation.trace import Trace
from posthouse.transport.protocol import Exchange, Failure, Request

pytestmark = pytest.mark.timeout(600)

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
DOWN_DAYS: Final = 12
THREE_WEEKS_DAYS: Final = sum(n**4 + 15 for n in range(25)) / DAY
ANSWER_SECONDS: Final = 0.01

USUAL: Final = 40  #: events a second while the endpoint is well
WELL_SECONDS: Final = 40
WAITING: Final = 600  #: events at the beginning of the outage; later one comes every 20 minutes
EVERY: Final = 20 * 60


class NoJitter(SimEntropy):
    """Chance that never adds to a delay."""

    def random(self) -> float:
        return 0.0


class Receiver:
    """What stands behind the endpoint, in place of a network."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.reply: Callable[[], Exchange] = answer
        self.came: list[float] = []  #: when each request came, in loop time
        self.delivered: dict[str, float] = {}  #: event → when it was answered first

    def __call__(self, request: Request) -> asyncio.Future[Exchange]:
        self.came.append(self.loop.now)
        answered: asyncio.Future[Exchange] = self.loop.create_future()
        self.loop.call_later(ANSWER_SECONDS, self._answer, request.headers["webhook-id"], answered)
        return answered

    def _answer(self, event: str, answered: asyncio.Future[Exchange]) -> None:
        if answered.done():
            return
        exchange = self.reply()
        if exchange.failure is None:
            self.delivered.setdefault(event, self.loop.now)
        answered.set_result(exchange)


class Scene:
    """A life of the node."""

    def __init__(self, node: Node, store: Store, receiver: Receiver) -> None:
        self.node = node
        self.store = store
        self.receiver = receiver

    async def create_endpoint(self) -> None:
        spec = EndpointSpec(url="http://203.0.114.1/hook", events=("*",))
        await self.node.gateway.endpoints.create(Environment.LIVE, spec)

    async def publish(self) -> str:
        accepted = await self.node.gateway.publisher.publish(Environment.LIVE, b'{"type":"t","data":1}', None)
        return accepted.id

    async def states(self) -> dict[str, int]:
        total = (await Books(self.store.ledger, self.store.inbound).audit(Environment.LIVE)).total
        return {"open": total.waiting + total.retrying, "delivered": total.delivered, "exhausted": total.exhausted}


@asynccontextmanager
async def open_scene(config: Config, receiver: Receiver) -> AsyncIterator[Scene]:
    machine = Machine(
        clock=SimClock(receiver.loop),
        entropy=NoJitter(random.Random(receiver.loop.now)),
        offload=SimOffload(receiver.loop, random.Random(2)),
        around_transport=lambda _: ScriptedTransport(receiver),
    )
    assembled = await assemble(config, machine)
    try:
        await assembled.node.start(keep_first_key=lambda _: None)
        yield Scene(assembled.node, assembled.store, receiver)
        await assembled.node.stop(drain_seconds=1)
    finally:
        await assembled.close()


History = Callable[[Scene], Coroutine[Any, Any, None]]
Live = Callable[..., None]


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Lives histories in virtual time, one after the other on the same store, each with a node of its own."""
    monkeypatch.setattr(ownership, "LEASE_MS", 3 * HOUR * 1_000)
    monkeypatch.setattr(ownership, "LEASE_RENEW_MS", HOUR * 1_000)
    monkeypatch.setattr(membership, "_LEASE_SECONDS", 3 * HOUR)
    monkeypatch.setattr(membership, "_RENEW_SECONDS", HOUR)
    monkeypatch.setattr(sweeper, "SWEEP_SECONDS", HOUR)
    monkeypatch.setattr(jobs, "LOOK_SECONDS", HOUR)
    monkeypatch.setattr(timers, "_SLEEP_MS_MAX", HOUR * 1_000)
    monkeypatch.setattr(inbox, "SWEEP_SECONDS", HOUR)
    monkeypatch.setattr(keeper, "LOOK_SECONDS", HOUR)
    monkeypatch.setattr("posthouse.node._STATS_SECONDS", HOUR)
    monkeypatch.setattr("posthouse.gateway.follower.CATALOGUE_LOOK_MS", HOUR * 1_000)
    loop = SimLoop(1, shuffle=0.0, trace=Trace(), steps_max=100_000_000)

    def live(*histories: History) -> None:
        async def main() -> None:
            receiver = Receiver(loop)
            with memory_folder() as folder:
                for history in histories:
                    async with open_scene(Config(data=folder / "data"), receiver) as scene:
                        await history(scene)

        asyncio.set_event_loop(loop)
        loop.simulate(main())
        assert loop.complaints == []

    yield live
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.parametrize("failure", ["poison", "down"])
def test_without_recovery_the_last_retry_comes_after_three_weeks(live: Live, failure: str) -> None:
    """One event, and an endpoint that answers it with an error, or that does not answer at all."""

    async def history(scene: Scene) -> None:
        scene.receiver.reply = lambda: answer(500) if failure == "poison" else broken(Failure.REFUSED)
        await scene.create_endpoint()
        began = scene.receiver.loop.now
        event = await scene.publish()
        while (await scene.states())["open"]:
            await pass_time(HOUR)
            assert scene.receiver.loop.now - began < 1.05 * THREE_WEEKS_DAYS * DAY
        took_days = (scene.receiver.came[-1] - began) / DAY
        assert took_days == pytest.approx(THREE_WEEKS_DAYS, rel=0.01)
        assert await scene.states() == {"open": 0, "delivered": 0, "exhausted": 1}
        assert event not in scene.receiver.delivered
        if failure == "poison":
            assert len(scene.receiver.came) == 26, "an answer that concerns one event needs no probes"

    live(history)


def test_after_twelve_days_all_is_delivered_within_a_minute_and_not_at_once(live: Live) -> None:
    """Half-way the node is started anew: what it knew of the endpoint outlives it."""
    waiting: list[str] = []
    rates: list[float] = []

    async def be_down(scene: Scene) -> None:
        receiver, loop = scene.receiver, scene.receiver.loop
        receiver.reply = lambda: broken(Failure.REFUSED)
        until = loop.now + DOWN_DAYS / 2 * DAY
        while loop.now < until:
            await pass_time(EVERY)
            waiting.append(await scene.publish())

    async def begin(scene: Scene) -> None:
        await scene.create_endpoint()
        for _ in range(USUAL * WELL_SECONDS):
            await scene.publish()
            await pass_time(1 / USUAL)
        rates.append(most_within(scene.receiver.came, 10.0) / 10.0)
        scene.receiver.came.clear()
        scene.receiver.reply = lambda: broken(Failure.REFUSED)
        waiting.extend([await scene.publish() for _ in range(WAITING)])
        await be_down(scene)

    async def end(scene: Scene) -> None:
        receiver, loop = scene.receiver, scene.receiver.loop
        await be_down(scene)
        assert len(receiver.came) < 1.1 * DOWN_DAYS * DAY / PROBE_SECONDS_MAX + 100, "one probe at a time, no more"
        assert await scene.states() == {"open": len(waiting), "delivered": USUAL * WELL_SECONDS, "exhausted": 0}

        receiver.reply = answer
        receiver.came.clear()
        back_at = loop.now
        while (await scene.states())["open"] and loop.now < back_at + HOUR:
            await pass_time(1.0)
        assert max(receiver.delivered.get(event, loop.now) for event in waiting) - back_at <= 60
        ramp = most_within(receiver.came, 2.0) / 2.0
        assert rates[0] < ramp <= 1.1 * RAMP_FACTOR * rates[0]
        delivered = USUAL * WELL_SECONDS + len(waiting)
        assert await scene.states() == {"open": 0, "delivered": delivered, "exhausted": 0}

    live(begin, end)
