"""What scheduling costs: one delivery each for a hundred thousand endpoints, against a hundred thousand for one.

Usage: ``python tests/rigs/spread_rig.py --endpoints 100000 --rounds 2``
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from unittest import mock

import msgspec
import uvloop
from rig_inside import node_inside

from posthouse.core.address import AddressPolicy
from posthouse.core.ids import EVENT, make_id, next_key
from posthouse.core.limits import ENDPOINTS_PER_TENANT_MAX
from posthouse.core.model import Endpoint, Environment, Event, Lane, Obligation, Secret, Tenant
from posthouse.core.signature import generate_secret
from posthouse.engine import sweeper
from posthouse.node import Node
from posthouse.store.open import open_store
from posthouse.store.protocol import AcceptRequest, NewEvent, Store, Work
from posthouse.system import SystemClock
from posthouse.telemetry import configure_logging
from posthouse.transport.protocol import Exchange, Request, Timings

RATIO_MAX = 1.5  #: of the cost for endpoints that the node works for
CASES = ("known", "first", "found")
_TENANTS = 100  # of the many endpoints; the one has a tenant of its own
_BATCH = 1_000  # events in one transaction
_PUT_AT_ONCE = 2_000
_NEVER_SECONDS = 1e6
_SECONDS_MAX = 600.0
_DATA = b'{"sequence":%d,"object":"invoice","note":"' + b"Thank you for your order. " * 13 + b'"}'  # about 400 bytes


class Figures(msgspec.Struct, frozen=True):
    """CPU microseconds of the process for one delivery; of each case the cheapest round counts."""

    endpoints: int
    rounds: int
    one: dict[str, list[float]]  #: case → all deliveries for one endpoint, each round
    spread: dict[str, list[float]]  #: case → one delivery for each endpoint
    ratio: dict[str, float]
    sent_wrong: int  #: requests more or fewer than deliveries, in all
    undelivered: int  #: by the books, in the end

    def faults(self, ratio_max: float = RATIO_MAX) -> list[str]:
        """Laws that did not hold."""
        found = []
        if self.ratio["known"] > ratio_max:
            found.append(f"the ratio for known endpoints is {self.ratio['known']}, more than {ratio_max}")
        if self.sent_wrong:
            found.append(f"{self.sent_wrong} requests more or fewer than deliveries")
        if self.undelivered:
            found.append(f"by the books {self.undelivered} deliveries are not delivered")
        return found


class Prompt:
    """A transport that answers at once, so that nothing of the network is in the figures."""

    def __init__(self) -> None:
        self.sent = 0
        self._answer = Exchange(failure=None, timings=Timings(900), status=200, body=b"ok", peer="127.0.0.1:80")

    async def send(self, _: Request) -> Exchange:
        """Good, whatever it is."""
        self.sent += 1
        return self._answer

    async def close(self) -> None:
        """Nothing to close."""


class Ground:
    """A folder with a store of many endpoints, and nodes on it, one after the other."""

    def __init__(self, folder: Path, *, endpoints: int, seed: int) -> None:
        self._folder = folder
        self._count = endpoints
        self._chance = Random(seed)
        self._clock = SystemClock()
        self._many: list[Endpoint] = []
        self._key = 0
        self.sent_wrong = 0

    async def make(self) -> None:
        """Store the endpoints, each as the API would, of tenants that are allowed so many."""
        assert self._count <= _TENANTS * ENDPOINTS_PER_TENANT_MAX
        store = await open_store(self._folder, clock=self._clock)
        now = self._clock.now_ms()
        for number in range(_TENANTS + 1):
            name = f"tenant-{number}"
            await store.catalogue.put_tenant(Tenant(id=name, environment=Environment.LIVE, name=name, created_at=now))
        self._many = [self._endpoint(number, now) for number in range(self._count)]
        self._one = self._endpoint(self._count, now, tenant=_TENANTS)
        endpoints = [*self._many, self._one]
        for start in range(0, len(endpoints), _PUT_AT_ONCE):
            await asyncio.gather(*(store.catalogue.put_endpoint(e) for e in endpoints[start : start + _PUT_AT_ONCE]))
        await store.close()

    async def measure(self, *, spread: bool) -> dict[str, float]:
        """CPU microseconds for one delivery, in each case."""
        owed = self._chance.sample(self._many, self._count) if spread else [self._one] * self._count
        store = await open_store(self._folder, clock=self._clock)
        await self._fill(store, owed)
        await store.close()
        costs = {}
        try:
            # A sweep would find what is filled in before the clock is started. The one at the start is not concerned.
            with mock.patch.object(sweeper, "SWEEP_SECONDS", _NEVER_SECONDS):
                cpu = time.process_time()
                async with self._node() as (node, _store):
                    await self._delivered(node, 1)
                    costs["found"] = self._each(time.process_time() - cpu)
                async with self._node() as (node, store):
                    for rounds, case in enumerate(("first", "known"), 1):
                        works = await self._fill(store, owed)
                        _calm()
                        cpu = time.process_time()
                        node.engine.accepted(works)
                        await self._delivered(node, rounds)
                        costs[case] = self._each(time.process_time() - cpu)
        finally:
            gc.unfreeze()
        return costs

    async def undelivered(self) -> int:
        """How much of what is owed is not delivered, by the books."""
        store = await open_store(self._folder, clock=self._clock)
        try:
            return sum(abs(books.owed - books.delivered) for books in await store.ledger.audit(Environment.LIVE))
        finally:
            await store.close()

    @asynccontextmanager
    async def _node(self) -> AsyncIterator[tuple[Node, Store]]:
        """A node whose requests are held against its deliveries when it ends."""
        transport = Prompt()
        async with node_inside(self._folder, transport, policy=AddressPolicy()) as (node, ports):
            yield node, ports.store
        self.sent_wrong += abs(transport.sent - node.metrics.deliveries_settled["delivered"])

    async def _delivered(self, node: Node, rounds: int) -> None:
        async with asyncio.timeout(_SECONDS_MAX):
            while node.metrics.deliveries_settled["delivered"] < rounds * self._count:  # noqa: ASYNC110 - a plain counter
                await asyncio.sleep(0.01)

    async def _fill(self, store: Store, owed: Sequence[Endpoint]) -> list[Work]:
        """Accept an event for each of these endpoints, without a word to any engine."""
        version = (await store.catalogue.load()).version
        self._key = max(self._key, await store.admin.key_floor())
        works: list[Work] = []
        for start in range(0, len(owed), _BATCH):
            new = []
            now = self._clock.now_ms()
            for number, endpoint in enumerate(owed[start : start + _BATCH], start):
                self._key = key = next_key(self._key, now, 1)
                event = Event(
                    key=key,
                    id=make_id(EVENT, key),
                    environment=Environment.LIVE,
                    tenant=endpoint.tenant,
                    type="spread",
                    accepted_at=now,
                    data=_DATA % number,
                )
                new.append(NewEvent(event, (endpoint.key,), Lane.LIVE))
                works.append(Work(Obligation(key, endpoint.key, Lane.LIVE, now, now), event))
            (result,) = await store.intake.accept([AcceptRequest(tuple(new), version)])
            assert isinstance(result, tuple), result
        return works

    def _endpoint(self, number: int, now: int, *, tenant: int | None = None) -> Endpoint:
        self._key = next_key(self._key, now, 1)
        return Endpoint(
            key=self._key,
            environment=Environment.LIVE,
            tenant=f"tenant-{number % _TENANTS if tenant is None else tenant}",
            url=f"https://hooks-{number}.example.com/in",
            events=("spread",),
            secrets=(Secret(generate_secret(self._chance.randbytes(32)), now),),
            created_at=now,
            updated_at=now,
        )

    def _each(self, seconds: float) -> float:
        return round(seconds / self._count * 1e6, 1)


def _calm() -> None:
    """Keep the collector from walking what lives as long as the rig, as a node does when it has started."""
    gc.collect()
    gc.freeze()


async def run(folder: Path, *, endpoints: int, rounds: int, seed: int = 1) -> Figures:
    """Run the rig with its files in ``folder``."""
    ground = Ground(folder / "data", endpoints=endpoints, seed=seed)
    await ground.make()
    one: dict[str, list[float]] = {case: [] for case in CASES}
    many: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(rounds):
        for costs, spread in ((one, False), (many, True)):
            for case, cost in (await ground.measure(spread=spread)).items():
                costs[case].append(cost)
    return Figures(
        endpoints=endpoints,
        rounds=rounds,
        one=one,
        spread=many,
        ratio={case: round(min(many[case]) / min(one[case]), 2) for case in CASES},
        sent_wrong=ground.sent_wrong,
        undelivered=await ground.undelivered(),
    )


def table(figures: Figures) -> str:
    """Each case in a line: the cheapest round of each."""
    lines = [("CPU µs for a delivery", "one endpoint", f"{figures.endpoints:,} of them", "ratio")]
    lines += [
        (case, f"{min(figures.one[case]):.1f}", f"{min(figures.spread[case]):.1f}", f"{figures.ratio[case]:.2f}")
        for case in CASES
    ]
    return "\n".join(f"{first:22}" + "".join(f"{cell:>17}" for cell in rest) for first, *rest in lines)


def main(arguments: Sequence[str]) -> int:
    """Run it from the command line; 1 if a law did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--endpoints", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    configure_logging("warning", "auto")
    with (
        tempfile.TemporaryDirectory(prefix="posthouse-spread-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures = runner.run(run(Path(folder), endpoints=options.endpoints, rounds=options.rounds, seed=options.seed))
    print(table(figures))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    for fault in figures.faults():
        print(f"FAULT: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
