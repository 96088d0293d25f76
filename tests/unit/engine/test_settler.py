"""The settle batcher: outcomes go out together, and a store that refuses never loses one."""

import asyncio
from collections.abc import Sequence

import pytest

from posthouse.core.delivery import State
from posthouse.core.errors import StoreUnavailable
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

    def __init__(self, *answers: Settled | StoreUnavailable) -> None:
        self.answers = list(answers)
        self.batches: list[list[int]] = []

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        self.batches.append([s.obligation.event_key for s in settlements])
        answer = self.answers.pop(0) if self.answers else Settled()
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer


async def settle(shelf: Shelf, *keys: int, broken: bool = False) -> tuple[Settler, list[int]]:
    done: list[int] = []

    def record(settlements: Sequence[Settlement], _: Settled) -> None:
        done.extend(s.obligation.event_key for s in settlements)

    settler = Settler(shelf, broken=lambda: broken, done=record)  # type: ignore[arg-type]  # one method of the facet
    for key in keys:
        settler.add(settlement(key))
    assert settler.unsettled == len(keys)
    await settler.drain(10)
    return settler, done


async def test_outcomes_of_one_turn_of_the_loop_are_one_write() -> None:
    shelf = Shelf()
    settler, done = await settle(shelf, 1, 2, 3)
    assert shelf.batches == [[1, 2, 3]]
    assert done == [1, 2, 3]
    assert settler.unsettled == 0


async def test_a_refused_write_is_tried_again_with_the_same_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not lose an outcome: the delivery went out, and going out again is the lesser evil only."""
    monkeypatch.setattr(settler_module, "AGAIN_SECONDS", 0)
    shelf = Shelf(StoreUnavailable(), StoreUnavailable())
    settler, done = await settle(shelf, 1, 2)
    assert shelf.batches == [[1, 2]] * 3
    assert done == [1, 2]
    assert settler.unsettled == 0


async def test_a_broken_store_ends_the_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler_module, "AGAIN_SECONDS", 0)
    settler, done = await settle(Shelf(StoreUnavailable()), 1, broken=True)
    assert done == []
    assert settler.unsettled == 1


async def test_outcomes_that_come_while_one_write_is_under_way_do_not_wait_for_it() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    batches: list[int] = []

    class Slow:
        async def settle(self, settlements: Sequence[Settlement]) -> Settled:
            batches.append(len(settlements))
            await gate
            return Settled()

    settler = Settler(Slow(), broken=lambda: False, done=lambda *_: None)  # type: ignore[arg-type]  # as above
    settler.add(settlement(1))
    for _ in range(3):
        await asyncio.sleep(0)
    settler.add(settlement(2))
    for _ in range(3):
        await asyncio.sleep(0)
    assert batches == [1, 1]
    gate.set_result(None)
    await settler.drain(10)
    assert settler.unsettled == 0


async def test_a_drain_ends_although_the_store_goes_on_refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not keep a node from stopping; what it could not write is still owed."""
    monkeypatch.setattr(settler_module, "AGAIN_SECONDS", 3_600)
    settler = Settler(Shelf(StoreUnavailable()), broken=lambda: False, done=lambda *_: None)  # type: ignore[arg-type]  # as above
    settler.add(settlement(1))
    await settler.drain(0)
    assert settler.unsettled == 1
