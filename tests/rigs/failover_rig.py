"""A rig: the primary of a PostgreSQL is lost with its disk, again and again, while events are accepted and delivered.

`python tests/rigs/failover_rig.py --failovers 50` runs it at full length and prints what it found.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.model import Environment, Lane, slot_of
from posthouse.store.open import open_store
from posthouse.store.protocol import Accepted, AcceptRequest, DeliveryQuery, EventQuery, Settlement, Store
from posthouse.system import SystemClock
from posthouse.testing.conformance.scene import Scene, Stores
from posthouse.testing.conformance.values import NOW, attempt
from posthouse.testing.postgres.replication import Replicas

DATABASE: Final = "posthouse_failover"
PUBLISHERS: Final = 12
ENDPOINTS: Final = (3, 5, 8)
LOAD_S: Final = (0.2, 0.8)  #: so long a primary lives
CUT_OFF_S: Final = 0.15  #: so long before its end it sends nothing to a standby, or to all of them
AGAIN_S: Final = 0.02
SETTLED_AT_ONCE: Final = 50
DAY_S: Final = 60.0  #: nothing of it may take longer


class Found(msgspec.Struct, frozen=True):
    """What a run found."""

    failovers: int
    acknowledged: int
    settled: int
    unanswered: int  #: calls that were told that their outcome is unknown, or that nothing can be written
    events: int
    missing: int  #: acknowledged and not there
    doubled: int  #: there more than once
    unsettled: int  #: acknowledged as settled and open
    imbalance: int
    back_s: tuple[float, ...]  #: from the loss of each primary to the next acknowledgement


class Rig:
    """Publishers and a sender on one store, and what they were told."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self._scene = scene
        self._chance = chance
        self.acknowledged: dict[str, int] = {}
        self.settled: set[tuple[int, int]] = set()
        self.unanswered = 0
        self._latest_at = 0.0
        self._news = asyncio.Event()  # something was acknowledged
        self._stopping = False

    async def publish(self, publisher: int) -> None:
        """Publish one event after the other, each until it is acknowledged."""
        number = 0
        while not self._stopping:
            name = f"{publisher}-{number}"
            number += 1
            while name not in self.acknowledged:
                new = self._scene.values.new_event(
                    self._chance.choice(ENDPOINTS), identities=(("id", name),), fingerprint=name.encode(), id=name
                )
                try:
                    (result,) = await self._scene.store.intake.accept([AcceptRequest((new,), catalogue_version=0)])
                except StoreUnavailable:
                    self.unanswered += 1
                    await asyncio.sleep(AGAIN_S)
                    continue
                assert isinstance(result, tuple), result
                (accepted,) = result
                assert isinstance(accepted, Accepted)
                self.acknowledged[name] = accepted.key
                self._latest_at = time.monotonic()
                self._news.set()

    async def deliver(self) -> None:
        """Settle what is open, as it comes."""
        while not self._stopping:
            for endpoint_key in ENDPOINTS:
                try:
                    await self._settle(endpoint_key)
                except StoreUnavailable:
                    self.unanswered += 1
            await asyncio.sleep(AGAIN_S)

    async def _settle(self, endpoint_key: int) -> None:
        page = await self._scene.store.work.fetch(
            endpoint_key, Lane.LIVE, now=NOW + 1, limit=SETTLED_AT_ONCE, bytes_max=1 << 20
        )
        outcomes = [
            Settlement(
                obligation=work.obligation,
                epoch=self._scene.epochs[slot_of(endpoint_key)],
                attempt=attempt(work.obligation.last_number + 1),
                state=State.DELIVERED,
                settled_at=NOW + 2,
            )
            for work in page.work
        ]
        result = await self._scene.store.work.settle(outcomes)
        assert not result.fenced
        self.settled |= {(work.obligation.event_key, endpoint_key) for work in page.work}

    async def accepts_again(self, since: float) -> float:
        """How long after ``since`` the next event was acknowledged."""
        async with asyncio.timeout(DAY_S):
            while self._latest_at < since:
                self._news.clear()
                await self._news.wait()
        return self._latest_at - since

    def stop(self) -> None:
        """Let everybody finish what is under way."""
        self._stopping = True


async def run(failovers: int, *, seed: int = 1, waiting: bool = True) -> Found:
    """Lose so many primaries, one after the other; what was found then.

    Shortly before each loss one standby receives nothing. Unless the primaries are ``waiting`` for standbys, none of
    them does: so it is known what would be lost.
    """
    chance = random.Random(seed)
    with replicas(**({} if waiting else {"synchronous_standby_names": ""})) as servers:
        servers.ask(servers.primary, f"CREATE DATABASE {DATABASE}")
        stores = Stores(lambda: open_store(servers.dsn(DATABASE), clock=SystemClock()))
        rig = Rig(await stores.open(), chance)
        back_s = []
        async with asyncio.TaskGroup() as group:
            for publisher in range(PUBLISHERS):
                group.create_task(rig.publish(publisher))
            group.create_task(rig.deliver())
            for _ in range(failovers):
                await asyncio.sleep(chance.uniform(*LOAD_S))
                servers.server(servers.primary).stop_sending(1 if waiting else len(servers.standbys))
                await asyncio.sleep(CUT_OFF_S)
                lost = await asyncio.to_thread(servers.lose_primary)
                lost_at = time.monotonic()
                await asyncio.to_thread(servers.fail_over)
                back_s.append(round(await rig.accepts_again(lost_at), 3))
                await asyncio.to_thread(servers.join, lost)
            rig.stop()
        found = await _compare(rig, await _told(stores), failovers, tuple(back_s))
        await stores.close()
    return found


@contextmanager
def replicas(**settings: str) -> Iterator[Replicas]:
    """Three servers."""
    servers = Replicas.start(**settings)
    try:
        yield servers
    finally:
        servers.stop()


async def _told(stores: Stores) -> Store:
    """The store, opened anew: what its memory says counts for nothing."""
    return (await stores.open()).store


async def _compare(rig: Rig, store: Store, failovers: int, back_s: tuple[float, ...]) -> Found:
    ids: list[str] = []
    after = None
    while page := await store.ledger.events(EventQuery(environment=Environment.LIVE, after=after, limit=500)):
        ids += [record.event.id for record in page]
        after = page[-1].event.key
    delivered: set[tuple[int, int]] = set()
    place = None
    while records := await store.ledger.deliveries(
        DeliveryQuery(environment=Environment.LIVE, state=State.DELIVERED, after=place, limit=500)
    ):
        delivered |= {(record.event_key, record.endpoint_key) for record in records}
        place = (records[-1].event_key, records[-1].endpoint_key)
    books = await store.ledger.audit(Environment.LIVE)
    paid = sum(b.delivered + b.waiting + b.retrying + b.exhausted + sum(b.discarded.values()) for b in books)
    return Found(
        failovers=failovers,
        acknowledged=len(rig.acknowledged),
        settled=len(rig.settled),
        unanswered=rig.unanswered,
        events=len(ids),
        missing=len(rig.acknowledged.keys() - set(ids)),
        doubled=len(ids) - len(set(ids)),
        unsettled=len(rig.settled - delivered),
        imbalance=sum(b.owed for b in books) - paid,
        back_s=back_s,
    )


def main() -> None:
    """Run it, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failovers", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(msgspec.json.format(msgspec.json.encode(asyncio.run(run(given.failovers, seed=given.seed)))).decode())


if __name__ == "__main__":
    main()
