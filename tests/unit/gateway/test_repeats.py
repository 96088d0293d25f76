"""Finding repeats of management calls."""

import asyncio
import gc

import pytest

from posthouse.core.errors import IdempotencyConflict
from posthouse.core.model import Environment
from posthouse.gateway.repeats import KeyedLocks, Made, RecentRepeats, Repeats, secret_digest
from posthouse.store.protocol import Remembered

LIVE = Environment.LIVE


class Facet:
    def __init__(self) -> None:
        self.kept: dict[tuple[Environment, str], Remembered] = {}

    def keep(self, remembered: Remembered | None) -> None:
        assert remembered is not None
        self.kept[remembered.environment, remembered.key] = remembered

    async def recall(self, environment: Environment, key: str) -> Remembered | None:
        return self.kept.get((environment, key))


async def test_a_repeat_finds_what_was_made_and_the_digest_of_its_secret() -> None:
    facet = Facet()
    repeats = Repeats(facet)  # type: ignore[arg-type]  # only recall is used
    assert await repeats.find(LIVE, "k", ("a", 1)) is None
    facet.keep(repeats.remember(LIVE, "k", ("a", 1), 7, "whsec_x"))
    assert await repeats.find(LIVE, "k", ("a", 1)) == Made(7, secret_digest("whsec_x"))
    assert await repeats.find(Environment.TEST, "k", ("a", 1)) is None
    assert b"whsec_x" not in facet.kept[LIVE, "k"].fingerprint
    with pytest.raises(IdempotencyConflict):
        await repeats.find(LIVE, "k", ("a", 2))


async def test_without_a_key_nothing_is_remembered() -> None:
    repeats = Repeats(Facet())  # type: ignore[arg-type]  # only recall is used
    assert await repeats.find(LIVE, None, "a") is None
    assert repeats.remember(LIVE, None, "a", 1, None) is None
    assert repeats.lock(LIVE, None) is not repeats.lock(LIVE, None)


def test_the_latest_repeats_are_remembered_and_no_more() -> None:
    recent = RecentRepeats(kept_max=2)
    for key in ("a", "b", "c"):
        assert not recent.seen(LIVE, key, "r")
        recent.done(LIVE, key, "r")
    assert [recent.seen(LIVE, key, "r") for key in ("a", "b", "c")] == [False, True, True]
    assert not recent.seen(LIVE, None, "r")
    with pytest.raises(IdempotencyConflict):
        recent.seen(LIVE, "c", "other")


async def test_a_lock_is_shared_while_somebody_uses_it_and_gone_afterwards() -> None:
    locks = KeyedLocks()
    order: list[int] = []

    async def work(number: int) -> None:
        async with locks.of("k"):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(work(number) for number in range(3)))
    assert order == [0, 0, 1, 1, 2, 2]
    gc.collect()
    assert not locks._locks
