"""The settle batcher: outcomes go out together, and a store that refuses never loses one."""

import asyncio
from collections.abc import Sequence

import pytest

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.model import Attempt, Lane, Obligation
from posthouse.engine import settler as settler_module
from posthouse.engine.settler import Settler
from posthouse.store.protocol import Settled, Settlement


def settlement(event_key: int) -> Settlement:
    return Settlement(
        obligation=Obligation(event_key, 1, Lane.LIVE, 0, 0),
        epoch=1,
        attempt=Attempt(number=1, started_at=0, outcome="success"),
        state=State.DELIVERED,
        settled_at=0,
    )


class Shelf:
    """A store facet that answers what the script says."""

    def __init__(self, *answers: Settled | Exception, unwritable: frozenset[int] = frozenset()) -> None:
        self.answers = list(answers)
        self.unwritable = unwritable
        self.batches: list[list[int]] = []

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        keys = [s.obligation.event_key for s in settlements]
        self.batches.append(keys)
        if self.unwritable.intersection(keys):
            raise ValueError("one of them cannot be written")
        answer = self.answers.pop(0) if self.answers else Settled()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bench:
    """A settler, and who hears what became of the outcomes."""

    def __init__(self, store: object, *, broken: bool = False, reach: Reach = pass_by) -> None:
        self.done: list[int] = []
        self.refused: list[tuple[int, str]] = []
        self.lost: list[int] = []
        self.settler = Settler(
            store,  # type: ignore[arg-type]  # one method of the facet
            broken=lambda: broken,
            done=lambda settlements, _: self.done.extend(keys_of(settlements)),
            refused=lambda one, error: self.refused.append((one.obligation.event_key, type(error).__name__)),
            lost=lambda settlements: self.lost.extend(keys_of(settlements)),
            reach=reach,
        )

    async def settle(self, *keys: int, seconds: float = 10) -> None:
        for key in keys:
            self.settler.add(settlement(key))
        assert self.settler.unsettled == len(keys)
        await self.settler.drain(seconds)


def keys_of(settlements: Sequence[Settlement]) -> list[int]:
    return [s.obligation.event_key for s in settlements]


async def test_outcomes_of_one_turn_of_the_loop_are_one_write() -> None:
    shelf = Shelf()
    bench = Bench(shelf)
    await bench.settle(1, 2, 3)
    assert shelf.batches == [[1, 2, 3]]
    assert bench.done == [1, 2, 3]
    assert bench.settler.unsettled == 0


async def test_a_refused_write_is_tried_again_with_the_same_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not lose an outcome: the delivery went out, and going out again is the lesser evil only."""
    monkeypatch.setattr(settler_module, "AGAIN_SECONDS", 0)
    shelf = Shelf(StoreUnavailable(), StoreUnavailable())
    bench = Bench(shelf)
    await bench.settle(1, 2)
    assert shelf.batches == [[1, 2]] * 3
    assert bench.done == [1, 2]
    assert bench.settler.unsettled == 0


async def test_a_broken_store_ends_the_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler_module, "AGAIN_SECONDS", 0)
    bench = Bench(Shelf(StoreUnavailable()), broken=True)
    await bench.settle(1)
    assert (bench.done, bench.refused, bench.lost) == ([], [], [])
    assert bench.settler.unsettled == 1


async def test_outcomes_that_come_while_one_write_is_under_way_do_not_wait_for_it() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    batches: list[int] = []

    class Slow:
        async def settle(self, settlements: Sequence[Settlement]) -> Settled:
            batches.append(len(settlements))
            await gate
            return Settled()

    settler = Bench(Slow()).settler
    settler.add(settlement(1))
    for _ in range(3):
        await asyncio.sleep(0)
    settler.add(settlement(2))
    for _ in range(3):
        await asyncio.sleep(0)
    assert batches == [1, 1]
    assert settler.deliveries() == {(1, 1), (1, 2)}
    gate.set_result(None)
    await settler.drain(10)
    assert settler.unsettled == 0
    assert settler.deliveries() == set()


async def test_a_drain_ends_although_the_store_goes_on_refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not keep a node from stopping; what it could not write is still owed."""
    monkeypatch.setattr(settler_module, "AGAIN_SECONDS", 3_600)
    bench = Bench(Shelf(StoreUnavailable()))
    await bench.settle(1, seconds=0)
    assert bench.settler.unsettled == 1


@pytest.mark.parametrize("unwritable", [{1}, {7}, {20}, {3, 4, 19}])
async def test_an_outcome_that_cannot_be_written_keeps_no_other_from_it(unwritable: set[int]) -> None:
    shelf = Shelf(unwritable=frozenset(unwritable))
    bench = Bench(shelf)
    await bench.settle(*range(1, 21))
    assert bench.done == [key for key in range(1, 21) if key not in unwritable], "each once, in order"
    assert bench.refused == [(key, "ValueError") for key in sorted(unwritable)]
    assert bench.settler.unsettled == 0
    assert len(shelf.batches) <= 1 + 2 * 5 * len(unwritable), "found by halves"


@pytest.mark.parametrize("point", [Failpoint.SETTLE_HANDED_IN, Failpoint.SETTLE_DURABLE])
async def test_what_nobody_was_told_of_is_let_go(point: Failpoint) -> None:
    """Else it would stay in hand for ever, and count for ever as an outcome that waits for its commit."""

    def fail(reached: Failpoint) -> None:
        if reached is point:
            raise RuntimeError("a fault of the program")

    bench = Bench(Shelf(), reach=fail)
    await bench.settle(1, 2)
    assert (bench.done, bench.lost) == ([], [1, 2])
    assert bench.settler.unsettled == 0
    assert bench.settler.deliveries() == set()
