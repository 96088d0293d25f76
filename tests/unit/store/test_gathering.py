"""Calls that join while they wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import apsw
import pytest

from posthouse.core.errors import NotFound, StoreUnavailable
from posthouse.store.sqlite.gathering import Gatherer
from posthouse.store.sqlite.writer import Steps, Writer

MakeWriter = Callable[..., Awaitable[Writer]]


class Summing:
    """An operation that refuses negative numbers and knows how it was called."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, _connection: apsw.Connection, items: Sequence[int]) -> Steps[int]:
        self.calls.append(list(items))
        if min(items) < 0:
            raise NotFound
        yield len(items)
        return sum(items)


async def test_calls_of_one_turn_are_one_operation(make_writer: MakeWriter) -> None:
    summing = Summing()
    gatherer = Gatherer(await make_writer(), summing)
    results = await asyncio.gather(gatherer.submit([1, 2]), gatherer.submit([3]), gatherer.submit([4]))
    assert list(results) == [(10, 0), (10, 2), (10, 3)]
    assert summing.calls == [[1, 2, 3, 4]]
    assert await gatherer.submit([5]) == (5, 0)


async def test_bad_items_fail_only_their_own_call(make_writer: MakeWriter) -> None:
    gatherer = Gatherer(await make_writer(), Summing())
    results = await asyncio.gather(*(gatherer.submit([n]) for n in (1, -2, 3)), return_exceptions=True)
    assert results[0] == (1, 0)
    assert isinstance(results[1], NotFound)
    assert results[2] == (3, 0)


async def test_a_single_bad_call_is_tried_once_only(make_writer: MakeWriter) -> None:
    summing = Summing()
    gatherer = Gatherer(await make_writer(), summing)
    with pytest.raises(NotFound):
        await gatherer.submit([-1])
    assert summing.calls == [[-1]]


async def test_who_stops_waiting_withdraws_nothing(make_writer: MakeWriter) -> None:
    gatherer = Gatherer(await make_writer(), Summing())
    first, second = (asyncio.ensure_future(gatherer.submit([n])) for n in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == (3, 1)


async def test_an_unavailable_store_is_not_tried_again(make_writer: MakeWriter) -> None:
    summing = Summing()
    writer = await make_writer()
    gatherer = Gatherer(writer, summing)
    await writer.close()
    with pytest.raises(StoreUnavailable):
        await gatherer.submit([1])
    assert summing.calls == []
