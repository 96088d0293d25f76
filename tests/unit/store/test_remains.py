"""What an earlier process left on a disk that failed carries what the next one acknowledges."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TypeVar

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.core.model import Environment
from posthouse.store.open import open_store
from posthouse.store.protocol import EventQuery, Store
from posthouse.testing.conformance import Stores
from posthouse.testing.disk import Call, Disk, FileKind, memory_folder
from posthouse.testing.manual_clock import ManualClock

T = TypeVar("T")

SEEDS = range(8)  #: what a power cut leaves of the rest is chance


async def in_place(call: Callable[[], T], /) -> T:
    return call()


async def opened(disk: Disk, *, shared: bool = False) -> Store:
    """The store on ``disk``, wherever its directory is by now."""
    return await open_store(
        disk.directory, clock=ManualClock(), commit_interval_ms=0, shared=shared, offload=in_place, vfs=disk.vfs
    )


async def events(store: Store) -> list[int]:
    """Keys of all events."""
    return [record.event.key for record in await store.ledger.events(EventQuery(environment=Environment.LIVE))]


async def test_what_is_acknowledged_behind_a_failed_sync_survives_a_power_cut() -> None:
    """The system takes pages for clean that it could not write: only who writes them again makes them durable."""
    for seed in SEEDS:
        with memory_folder() as folder, Disk(folder, Random(seed)) as disk:
            stores = Stores(partial(opened, disk))
            scene = await stores.open()
            first = await scene.owe(7)
            fault = disk.faults.fail(Call.SYNC, file=FileKind.WAL)
            with pytest.raises(StoreUnavailable):
                await scene.owe(7)
            assert fault.met == 1
            await stores.close()
            disk.crash(power=False)

            scene = await stores.open()
            second = await scene.owe(7)
            disk.crash(power=True)

            scene = await stores.open()
            assert {first.event_key, second.event_key} <= set(await scene.events())
            assert (await scene.total())["owed"] == len(await scene.events())
            await stores.close()


async def test_what_a_process_has_read_survives_a_power_cut() -> None:
    """Also if nobody was told that it was durable: who has seen an event may have sent it on."""
    seen = 0
    for seed in SEEDS:
        with memory_folder() as folder, Disk(folder, Random(seed)) as disk:
            stores = Stores(partial(opened, disk))
            scene = await stores.open()
            disk.faults.fail(Call.SYNC, file=FileKind.WAL)
            with pytest.raises(StoreUnavailable):
                await scene.owe(7)
            await stores.close()
            disk.crash(power=False)

            store = await opened(disk)
            before = await events(store)
            disk.crash(power=True)
            await store.close()

            store = await opened(disk)
            assert await events(store) == before
            await store.close()
            seen += len(before)
    assert seen > 0, "what was written and not synced was there for the next process"


async def test_who_comes_to_others_builds_on_nothing_that_one_of_them_could_not_sync() -> None:
    """It ended because of that; another one has not noticed, and a third one starts."""
    for seed in SEEDS:
        with memory_folder() as folder, Disk(folder, Random(seed)) as disk:
            waiting = await opened(disk, shared=True)
            stores = Stores(partial(opened, disk, shared=True))
            scene = await stores.open()
            disk.faults.fail(Call.SYNC, file=FileKind.WAL)
            with pytest.raises(StoreUnavailable):
                await scene.owe(7)
            scene = await stores.open()
            acknowledged = (await scene.owe(7)).event_key
            disk.crash(power=True)
            await waiting.close()
            await stores.close()
            store = await opened(disk)
            assert acknowledged in await events(store)
            await store.close()
