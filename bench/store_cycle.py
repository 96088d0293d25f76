"""What the embedded store costs for one event: accepted, delivered at the first attempt, settled.

Prints CPU microseconds (all threads, kernel included) and wall microseconds for an event, by batch size.
``steady`` writes the next batch and settles the one before in the same transaction, as a node
under load does; ``apart`` gives each its own; ``callers`` makes each event a call of its own, all at once.

Run: ``python bench/store_cycle.py [--events 40000] [--endpoints 200] [--identities] [--directory DIR]``
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from posthouse.core import ids
from posthouse.core.delivery import State
from posthouse.core.model import Attempt, Environment, Event, Lane, Obligation, slot_of
from posthouse.store.open import open_store
from posthouse.store.protocol import AcceptRequest, NewEvent, Settled, Settlement, Store
from posthouse.testing.seizing import seize

DATA = b'{"id": "' + b"x" * 437 + b'"}'  # 450 bytes
BATCHES = (1, 4, 16, 64, 256)


class SystemClock:
    """The clocks of the machine."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class Load:
    """Makes requests and the settlements that belong to them."""

    def __init__(self, epochs: dict[int, int], endpoints: int, *, identities: bool) -> None:
        self._now = SystemClock().now_ms()
        self._epochs = epochs
        self._identities = identities
        self._endpoints = []
        self._last = 0
        for i in range(endpoints):
            self._last = ids.next_key(self._last, self._now - 1_000_000 + 977 * i, 1)
            self._endpoints.append(self._last)

    def batch(self, size: int) -> list[AcceptRequest]:
        """The next events, a request each."""
        return [AcceptRequest(events=(self._event(),), catalogue_version=0) for _ in range(size)]

    def outcomes(self, batch: Sequence[AcceptRequest]) -> list[Settlement]:
        """Each delivered at the first attempt."""
        return [
            Settlement(
                obligation=Obligation(new.event.key, endpoint, new.lane, self._now, self._now),
                epoch=self._epochs[slot_of(endpoint)],
                attempt=Attempt(
                    number=1,
                    started_at=self._now,
                    outcome="success",
                    status=200,
                    peer="127.0.0.1:8080",
                    first_byte_us=800,
                    total_us=900,
                    reused=True,
                    response_headers="content-type: text/plain\r\ncontent-length: 2\r\n",
                    response_body=b"ok",
                ),
                state=State.DELIVERED,
                settled_at=self._now,
            )
            for request in batch
            for new in request.events
            for endpoint in new.owed
        ]

    def _event(self) -> NewEvent:
        self._last = key = ids.next_key(self._last, self._now, 1)
        public_id = ids.make_id(ids.EVENT, key)
        return NewEvent(
            event=Event(
                key=key,
                id=public_id,
                environment=Environment.LIVE,
                tenant="default",
                type="order.created",
                accepted_at=self._now,
                data=DATA,
            ),
            owed=(self._endpoints[key % len(self._endpoints)],),
            lane=Lane.LIVE,
            identities=(("id", f"{key * 2_654_435_761 % (1 << 64):x}"),) if self._identities else (),
            fingerprint=b"f" * 16 if self._identities else b"",
        )


async def steady(store: Store, load: Load, size: int, events: int) -> tuple[float, float]:
    """Accept one batch and settle the one before at the same time."""
    batches = [load.batch(size) for _ in range(events // size)]
    outcomes = [load.outcomes(batch) for batch in batches]
    cpu, wall = time.process_time(), time.perf_counter()
    await store.intake.accept(batches[0])
    for batch, before in zip(batches[1:], outcomes[:-1], strict=True):
        _, settled = await asyncio.gather(store.intake.accept(batch), store.work.settle(before))
        assert settled == Settled()
    await store.work.settle(outcomes[-1])
    return time.process_time() - cpu, time.perf_counter() - wall


async def apart(store: Store, load: Load, size: int, events: int) -> tuple[float, float]:
    """Accept a batch, then settle it."""
    batches = [load.batch(size) for _ in range(events // size)]
    outcomes = [load.outcomes(batch) for batch in batches]
    cpu, wall = time.process_time(), time.perf_counter()
    for batch, outcome in zip(batches, outcomes, strict=True):
        await store.intake.accept(batch)
        assert await store.work.settle(outcome) == Settled()
    return time.process_time() - cpu, time.perf_counter() - wall


async def callers(store: Store, load: Load, size: int, events: int) -> tuple[float, float]:
    """As ``steady``, but each event is accepted and settled by a call of its own."""
    batches = [load.batch(size) for _ in range(events // size)]
    outcomes = [load.outcomes(batch) for batch in batches]
    cpu, wall = time.process_time(), time.perf_counter()
    before: list[Settlement] = []
    for batch, outcome in zip(batches, outcomes, strict=True):
        await asyncio.gather(
            *(store.intake.accept([request]) for request in batch), *(store.work.settle([one]) for one in before)
        )
        before = outcome
    await store.work.settle(before)
    return time.process_time() - cpu, time.perf_counter() - wall


async def run(arguments: argparse.Namespace) -> None:
    """Measure every batch size in every way, each on a new store."""
    for measure in (steady, apart, callers):
        for size in BATCHES:
            events = max(size * 8, arguments.events * min(size, 64) // 64)
            with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
                store = await open_store(Path(directory) / "store", clock=SystemClock(), commit_interval_ms=0)
                epochs = dict((await seize(store.ownership, "bench", now=0)).epochs)
                load = Load(epochs, arguments.endpoints, identities=arguments.identities)
                cpu, wall = await measure(store, load, size, events)
                await store.close()
            done = events // size * size
            cost = f"CPU {cpu / done * 1e6:6.1f} us/event, wall {wall / done * 1e6:6.1f}"
            print(f"{measure.__name__:8} batch {size:4}: {cost}")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000, help="events for batches of 64 and more")
    parser.add_argument("--endpoints", type=int, default=200, help="endpoints that the events go to, one each")
    parser.add_argument("--identities", action="store_true", help="give every event an id of the publisher's own")
    parser.add_argument(
        "--directory", default=None, help="where the stores are made (default: the temporary directory)"
    )
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
