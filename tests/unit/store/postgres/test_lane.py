"""One writing connection: who comes after whom, what each is told, and what becomes of a connection that fails."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import asyncpg
import pytest

from posthouse.core.errors import NotFound, StoreUnavailable
from posthouse.store.postgres.lane import Lane, Turn
from posthouse.store.postgres.outcome import Contended, OutcomeUnknown, Refused
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.testing.postgres.waiting import until
from posthouse.testing.postgres.wire import Held, ScriptedWire


class Exchange(Protocol):
    wires: list[ScriptedWire]
    dialled: int
    refuses: bool
    gone: set[int]
    looks: int
    refused: int


def message(state: str, **fields: str) -> asyncpg.PostgresError:
    error = asyncpg.PostgresError.new({"C": state, "V": "ERROR", "M": "…", **fields})
    assert isinstance(error, asyncpg.PostgresError)
    return error


async def step(transaction: Transaction) -> int:
    return len(await transaction.rows("step"))


# -- what goes over the connection ------------------------------------------------------------------


async def test_a_single_statement_is_sent_alone(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("put", [(1,), (2,)])
    assert [tuple(row) for row in await lane.single("put", 7, "x")] == [(1,), (2,)]
    assert wire.asked == ["put"]
    assert wire.arguments == [(7, "x")]
    assert lane.metrics.commits == 1


async def test_a_transaction_is_committed(lane: Lane, wire: ScriptedWire) -> None:
    assert await lane.transact(step) == 0
    assert wire.asked == ["BEGIN", "step", "COMMIT"]
    assert lane.metrics.commits == 1


async def test_guards_are_locked_in_one_order(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("share_catalogue", [{"version": 4}])
    wire.script("lock_sources", [(8,), (9,)])
    wire.script("share_slots", [_slot(3, 9), _slot(5, 2), _slot(6, 1, owned=False)])

    async def look(transaction: Transaction) -> None:
        assert transaction.version == 4
        assert transaction.held == {3}

    guards = Guards(
        orders=((7, "b"), (7, "a"), (7, "b")),
        sources=(9, 8, 9),
        jobs=(5,),
        slots=((5, 1), (3, 9), (6, 1)),
        catalogue=False,
    )
    await lane.transact(look, guards)
    assert wire.asked == [
        "BEGIN",
        "share_catalogue",
        "share_slots",
        "lock_jobs",
        "lock_sources",
        "lock_orders",
        "COMMIT",
    ]
    own, slots, jobs, sources, (orders,) = wire.arguments
    assert (own, slots, jobs, sources) == ((17,), ([3, 5, 6],), ([5],), ([8, 9],))
    assert isinstance(orders, list)
    assert orders == sorted(set(orders))


async def test_a_source_has_a_guard_from_the_first_time_on(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("lock_sources", [(8,)])
    await lane.transact(step, Guards(sources=(8, 9)))
    assert wire.asked == ["BEGIN", "lock_sources", "make_source_guards", "lock_sources", "step", "COMMIT"]


async def test_nothing_is_locked_against_the_order(lane: Lane, wire: ScriptedWire) -> None:
    async def late(transaction: Transaction) -> None:
        await transaction.lock(Guards(slots=((3, 1),)))

    with pytest.raises(AssertionError, match="slots are locked before jobs"):
        await lane.transact(late, Guards(jobs=(5,)))
    assert wire.asked == ["BEGIN", "lock_jobs", "ROLLBACK"]
    await lane.transact(late, Guards(catalogue=False))


async def test_what_changes_the_catalogue_locks_all_of_it(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("lock_catalogue", [{"lane": 0, "version": 6}, {"lane": 16, "version": 6}])
    seen: list[int | None] = []

    async def look(transaction: Transaction) -> None:
        seen.append(transaction.version)

    await lane.transact(look, Guards(catalogue=True))
    assert seen == [6]


async def test_operations_follow_each_other(lane: Lane, wire: ScriptedWire) -> None:
    await asyncio.gather(lane.single("a"), lane.transact(step), lane.single("b"))
    assert wire.asked == ["a", "BEGIN", "step", "COMMIT", "b"]


async def test_a_turn_is_not_shared(lane: Lane, wire: ScriptedWire) -> None:
    async def twice(turn: Turn) -> int:
        assert turn.number == 17
        await turn.single("a")
        await asyncio.sleep(0)
        await turn.single("b")
        return 1

    await asyncio.gather(lane.submit(twice), lane.single("c"))
    assert wire.asked == ["a", "b", "c"]


async def test_under_load_operations_wait_for_others(make_lane: Callable[..., Lane]) -> None:
    lane = make_lane(interval_s=0.03)
    await lane.open()
    started = asyncio.get_running_loop().time()
    for _ in range(3):
        await lane.single("a")
    assert asyncio.get_running_loop().time() - started >= 0.06
    await lane.close()


# -- who is told what -------------------------------------------------------------------------------


async def test_what_an_operation_raises_is_its_own(lane: Lane, wire: ScriptedWire) -> None:
    async def absent(transaction: Transaction) -> None:
        await transaction.rows("step")
        raise NotFound

    results = await asyncio.gather(lane.transact(absent), lane.transact(step), return_exceptions=True)
    assert isinstance(results[0], NotFound)
    assert results[1] == 0
    assert wire.asked == ["BEGIN", "step", "ROLLBACK", "BEGIN", "step", "COMMIT"]


async def test_a_refusal_says_what_stood_against_it(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("put", message("23505", n="attempts_pkey"))
    with pytest.raises(Refused) as told:
        await lane.single("put")
    assert (told.value.sqlstate, told.value.constraint) == ("23505", "attempts_pkey")
    await lane.single("put")


async def test_an_error_in_a_transaction_ends_it(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("step", message("23514"))
    with pytest.raises(Refused):
        await lane.transact(step)
    assert wire.asked == ["BEGIN", "step", "ROLLBACK"]


async def test_a_commit_that_rolled_back_is_a_refusal(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("COMMIT", "ROLLBACK")
    with pytest.raises(Refused):
        await lane.transact(step)


async def test_a_wait_that_was_cut_short_is_no_commit(lane: Lane, wire: ScriptedWire) -> None:
    wire.warn("COMMIT", "canceling wait for synchronous replication")
    with pytest.raises(OutcomeUnknown):
        await lane.transact(step)
    wire.warn("put", "canceling wait for synchronous replication")
    with pytest.raises(OutcomeUnknown):
        await lane.single("put")
    wire.warn("step", "no transaction is in progress")
    await lane.transact(step)
    await lane.single("put")


async def test_rivals_are_met_again(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("put", message("40P01"), message("23505", n="identities_pkey"), [(1,)])
    assert [tuple(row) for row in await lane.single("put")] == [(1,)]
    wire.script("step", message("40001"))
    wire.script("COMMIT", message("40001"))
    assert await lane.transact(step) == 0
    rolled_back, committed = ["BEGIN", "step", "ROLLBACK"], ["BEGIN", "step", "COMMIT"]
    assert wire.asked[3:] == [*rolled_back, *committed, *committed]


async def test_rivals_are_not_met_for_ever(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("put", *[message("40001") for _ in range(5)])
    with pytest.raises(Contended):
        await lane.single("put")
    assert wire.asked == ["put"] * 5
    wire.script("step", message("55P03"), message("55P03"))
    with pytest.raises(Contended):
        await lane.transact(step)
    assert wire.asked[5:] == ["BEGIN", "step", "ROLLBACK"] * 2


async def test_after_a_change_of_the_schema_statements_are_prepared_anew(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("put", asyncpg.InvalidCachedStatementError("cached plan must not change result type"))
    await lane.single("put")
    assert wire.forgotten == 1


async def test_who_gave_up_before_his_turn_is_left_out(lane: Lane, wire: ScriptedWire) -> None:
    calls = [asyncio.ensure_future(lane.single(name)) for name in "abc"]
    await asyncio.sleep(0)
    calls[1].cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert wire.asked == ["a", "c"]


async def test_what_was_sent_is_never_cancelled(lane: Lane, wire: ScriptedWire) -> None:
    """A cancelled wait for a standby is a commit on one machine."""
    wire.script("put", Held)
    call = asyncio.ensure_future(lane.single("put"))
    await until(lambda: wire.held is not None)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert wire.held is not None
    assert not wire.held.cancelled()
    wire.let_go()
    await lane.single("next")
    assert wire.asked == ["put", "next"]


# -- no answer ---------------------------------------------------------------------------------------


async def test_without_an_answer_the_outcome_is_unknown_and_nobody_queues(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("put", Held)
    first, second = (asyncio.ensure_future(lane.single(name)) for name in ("put", "behind"))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(results[0], OutcomeUnknown)
    assert type(results[1]) is StoreUnavailable
    assert not lane.alive
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await lane.single("late")
    assert wire.asked == ["put"]
    wire.let_go()
    await until(lambda: lane.alive)
    await lane.single("again")
    assert wire.asked == ["put", "again"]


async def test_a_late_answer_may_bring_a_warning(lane: Lane, wire: ScriptedWire) -> None:
    """It was told as unknown already; the next one is judged by its own."""
    wire.script("put", Held)
    wire.warn("put", "canceling wait for synchronous replication")
    with pytest.raises(OutcomeUnknown):
        await lane.single("put")
    wire.let_go()
    await until(lambda: lane.alive)
    await lane.single("again")


async def test_a_transaction_without_an_answer_is_not_committed(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("step", Held)
    with pytest.raises(StoreUnavailable) as told:
        await lane.transact(step)
    assert not isinstance(told.value, OutcomeUnknown)
    assert wire.asked == ["BEGIN", "step"]
    wire.let_go()
    await until(lambda: lane.alive)
    assert wire.asked == ["BEGIN", "step", "ROLLBACK"]


async def test_a_commit_without_an_answer_is_unknown(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("COMMIT", Held)
    with pytest.raises(OutcomeUnknown):
        await lane.transact(step)
    wire.let_go()
    await until(lambda: lane.alive)
    assert wire.asked == ["BEGIN", "step", "COMMIT"]


async def test_an_operation_cannot_go_on_beside_what_it_sent(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("put", Held)

    async def stubborn(turn: Turn) -> None:
        with pytest.raises(OutcomeUnknown):
            await turn.single("put")
        await turn.single("more")

    with pytest.raises(StoreUnavailable, match="nothing was written"):
        await lane.submit(stubborn)
    assert wire.asked == ["put"]
    wire.let_go()


async def test_a_lane_comes_back_when_its_backend_is_gone(lane: Lane, wire: ScriptedWire, exchange: Exchange) -> None:
    """A half-open connection never says so itself."""
    wire.script("put", Held)
    with pytest.raises(OutcomeUnknown):
        await lane.single("put")
    await until(lambda: exchange.looks > 2)
    assert not lane.alive
    assert "terminate" not in wire.asked
    exchange.gone.add(wire.pid)
    await until(lambda: lane.alive)
    assert wire.asked == ["put", "terminate"]
    await lane.single("again")
    assert exchange.wires[1].asked == ["again"]


async def test_a_lane_comes_back_when_its_connection_ends(lane: Lane, wire: ScriptedWire, exchange: Exchange) -> None:
    wire.script("put", Held)
    with pytest.raises(OutcomeUnknown):
        await lane.single("put")
    wire.break_off()
    await until(lambda: lane.alive)
    assert exchange.dialled == 2


# -- a lost connection -------------------------------------------------------------------------------


async def test_a_connection_lost_in_a_write_leaves_it_unknown(
    lane: Lane, wire: ScriptedWire, exchange: Exchange
) -> None:
    wire.script("put", ConnectionResetError())
    with pytest.raises(OutcomeUnknown):
        await lane.single("put")
    await lane.single("again")
    assert exchange.wires[1].asked == ["again"]


@pytest.mark.parametrize(("where", "unknown"), [("BEGIN", False), ("step", False), ("COMMIT", True)])
async def test_a_connection_lost_in_a_transaction(lane: Lane, wire: ScriptedWire, where: str, unknown: bool) -> None:
    wire.script(where, asyncpg.ConnectionDoesNotExistError("closed in the middle of an operation"))
    with pytest.raises(StoreUnavailable) as told:
        await lane.transact(step)
    assert isinstance(told.value, OutcomeUnknown) is unknown
    assert "ROLLBACK" not in wire.asked
    assert await lane.transact(step) == 0


async def test_an_idle_connection_is_replaced_before_anybody_needs_it(
    lane: Lane, wire: ScriptedWire, exchange: Exchange
) -> None:
    wire.break_off()
    await until(lambda: lane.alive)
    assert exchange.dialled == 2
    assert exchange.wires[1].asked == []


async def test_who_comes_while_there_is_no_connection_is_refused(
    lane: Lane, wire: ScriptedWire, exchange: Exchange
) -> None:
    exchange.refuses = True
    wire.break_off()
    with pytest.raises(StoreUnavailable, match="Nobody answers"):
        await lane.single("put")
    with pytest.raises(StoreUnavailable, match="no connection"):
        await lane.single("put")
    exchange.refuses = False
    await until(lambda: lane.alive)
    await lane.single("put")
    assert exchange.wires[1].asked == ["put"]


async def test_a_rollback_that_fails_costs_the_connection(lane: Lane, wire: ScriptedWire, exchange: Exchange) -> None:
    wire.script("step", message("23514"))
    wire.script("ROLLBACK", message("XX000"))
    with pytest.raises(Refused):
        await lane.transact(step)
    assert wire.lost
    await lane.single("again")
    assert exchange.wires[1].asked == ["again"]


async def test_a_rollback_without_an_answer_costs_the_connection(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("step", message("23514"))
    wire.script("ROLLBACK", Held)
    with pytest.raises(Refused):
        await lane.transact(step)
    assert wire.lost


# -- the end -----------------------------------------------------------------------------------------


async def test_closing_finishes_what_was_submitted(lane: Lane, wire: ScriptedWire) -> None:
    calls = [asyncio.ensure_future(lane.single(name)) for name in "abc"]
    await asyncio.sleep(0)
    await lane.close()
    await lane.close()
    await asyncio.gather(*calls)
    assert wire.asked == ["a", "b", "c", "close"]
    with pytest.raises(StoreUnavailable, match="closed"):
        await lane.single("d")


async def test_closing_does_not_wait_for_ever(lane: Lane, wire: ScriptedWire) -> None:
    wire.script("put", Held)
    with pytest.raises(OutcomeUnknown):
        await lane.single("put")
    await lane.close()
    assert wire.lost


async def test_closing_ends_the_search_for_a_connection(lane: Lane, wire: ScriptedWire, exchange: Exchange) -> None:
    exchange.refuses = True
    wire.break_off()
    await until(lambda: exchange.refused > 1)
    await lane.close()
    assert exchange.dialled == 1


def _slot(slot: int, epoch: int, *, owned: bool = True) -> dict[str, object]:
    return {"slot": slot, "epoch": epoch, "owned": owned}
