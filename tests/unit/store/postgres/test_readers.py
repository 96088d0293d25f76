"""Reading connections: one reader at a time, another connection where one ended, and an end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from posthouse.core.errors import NotFound, StoreUnavailable
from posthouse.store.postgres import readers as readers_module
from posthouse.store.postgres.dial import Wire
from posthouse.store.postgres.readers import STAND_STILL, Readers
from posthouse.store.postgres.transact import Transaction
from posthouse.testing.postgres.waiting import until
from posthouse.testing.postgres.wire import Held, ScriptedWire


class Desk:
    """Readers, and the connections that they made, by purpose."""

    def __init__(self) -> None:
        self.wires: dict[str, list[ScriptedWire]] = {"quick": [], "long": [], "audit": []}
        self.next: dict[str, list[ScriptedWire]] = {"quick": [], "long": [], "audit": []}
        self.refuses = False
        self.readers = Readers(quick=self._dial("quick"), long=self._dial("long"), audit=self._dial("audit"))

    def holds(self, purpose: str) -> bool:
        """Whether something is under way on its first connection."""
        return any(wire.held is not None for wire in self.wires[purpose])

    def _dial(self, purpose: str) -> Callable[[], Awaitable[Wire]]:
        async def dial() -> Wire:
            await asyncio.sleep(0)
            if self.refuses:
                raise StoreUnavailable("Nobody answers.")
            wire = self.next[purpose].pop(0) if self.next[purpose] else ScriptedWire()
            self.wires[purpose].append(wire)
            return wire

        return dial


@pytest.fixture
def desk() -> Desk:
    return Desk()


def scripted(name: str, *answers: Any) -> ScriptedWire:
    wire = ScriptedWire()
    wire.script(name, *answers)
    return wire


async def look(transaction: Transaction) -> int:
    return len(await transaction.rows("look"))


async def test_a_short_question_is_asked_as_it_is(desk: Desk) -> None:
    desk.next["quick"].append(scripted("look", [(1,)]))
    assert [tuple(row) for row in await desk.readers.quick("look", 7)] == [(1,)]
    (wire,) = desk.wires["quick"]
    assert (wire.asked, wire.arguments) == (["look"], [(7,)])


async def test_a_long_look_is_one_snapshot(desk: Desk) -> None:
    assert await desk.readers.snapshot(look) == 0
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    assert desk.wires["long"][0].asked == [begin, STAND_STILL, "look", "ROLLBACK"]


async def test_a_connection_has_one_reader_at_a_time(desk: Desk) -> None:
    await asyncio.gather(*(desk.readers.quick("look") for _ in range(5)))
    assert len(desk.wires["quick"]) == 2
    await asyncio.gather(*(desk.readers.snapshot(look) for _ in range(3)))
    one, other = desk.wires["long"]
    snapshot = ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", STAND_STILL, "look", "ROLLBACK"]
    assert sorted((one.asked, other.asked), key=len) == [snapshot, snapshot * 2]


async def test_an_audit_holds_up_no_list(desk: Desk) -> None:
    desk.next["audit"].append(scripted("look", Held))
    audit = asyncio.ensure_future(desk.readers.snapshot(look, audit=True))
    await until(lambda: desk.holds("audit"))
    assert await desk.readers.snapshot(look) == 0
    desk.wires["audit"][0].let_go()
    assert await audit == 0


async def test_another_connection_answers_where_one_ended(desk: Desk) -> None:
    lost = asyncpg.ConnectionDoesNotExistError("closed in the middle of an operation")
    desk.next["quick"].extend((scripted("look", lost), scripted("look", [(1,)])))
    assert len(await desk.readers.quick("look")) == 1
    desk.next["long"].extend((scripted("look", lost), scripted("look", [(1,), (2,)])))
    assert await desk.readers.snapshot(look) == 2


async def test_a_connection_that_ended_meanwhile_is_not_used(desk: Desk) -> None:
    await desk.readers.quick("look")
    desk.wires["quick"][0].break_off()
    await desk.readers.quick("look")
    assert len(desk.wires["quick"]) == 2


async def test_what_cannot_be_read_is_said(desk: Desk) -> None:
    error = asyncpg.QueryCanceledError("statement timeout")
    desk.next["quick"].append(scripted("look", error))
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await desk.readers.quick("look")
    desk.next["long"].append(scripted("look", error))
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await desk.readers.snapshot(look)
    assert await desk.readers.snapshot(look) == 0
    desk.refuses = True
    with pytest.raises(StoreUnavailable, match="Nobody answers"):
        await desk.readers.snapshot(look, audit=True)


async def test_what_a_reader_raises_is_his_own(desk: Desk) -> None:
    async def absent(_transaction: Transaction) -> None:
        raise NotFound

    with pytest.raises(NotFound):
        await desk.readers.snapshot(absent)
    assert await desk.readers.snapshot(look) == 0


async def test_nobody_waits_for_ever_for_a_short_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "QUICK_S", 0.02)
    desk.next["quick"].append(scripted("look", Held))
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await desk.readers.quick("look")
    assert desk.wires["quick"][0].lost
    await desk.readers.quick("look")


async def test_who_stops_waiting_leaves_a_connection_in_order(desk: Desk) -> None:
    desk.next["audit"].append(scripted("look", Held))
    reading = asyncio.ensure_future(desk.readers.snapshot(look, audit=True))
    await until(lambda: desk.holds("audit"))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    desk.wires["audit"][0].let_go()
    assert await desk.readers.snapshot(look, audit=True) == 0
    assert len(desk.wires["audit"]) == 1


async def test_closing_waits_for_who_reads(desk: Desk) -> None:
    desk.next["long"].append(scripted("look", Held))
    reading = asyncio.ensure_future(desk.readers.snapshot(look))
    await until(lambda: desk.holds("long"))
    closing = asyncio.ensure_future(desk.readers.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await desk.readers.quick("look")
    desk.wires["long"][0].let_go()
    assert await reading == 0
    await closing
    await desk.readers.close()
    assert desk.wires["long"][0].asked[-1] == "close"
