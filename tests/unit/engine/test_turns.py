"""Turns: caps, rates, pauses and batches hold what they should, and nothing longer than it should."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from posthouse.core.model import Endpoint, Environment, Event, Lane, Obligation, Tenant
from posthouse.core.rules import Batch, Order, Rules, TenantRules
from posthouse.core.waiting import Hold
from posthouse.engine.board import Board
from posthouse.engine.windows import UNPROVEN_MAX, Desk
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import Work
from posthouse.testing.manual_clock import ManualClock

LIVE, RETRY, BACKLOG = Lane.LIVE, Lane.RETRY, Lane.BACKLOG


class Bench:
    """A board over endpoints and tenants that the test describes; nothing is sent, but everything is counted."""

    def __init__(self, **bounds: Any) -> None:
        self.clock = ManualClock()
        self.endpoints: dict[int, Endpoint] = {}
        self.tenants: dict[str, Tenant] = {}
        self.woken = 0
        catalogue = SimpleNamespace(endpoint=self.endpoints.get, tenant=lambda _, tenant: self.tenants.get(tenant))
        self.board = Board(cast("Catalogue", catalogue), self.clock, woken=self._wake, **bounds)
        self._keys = iter(range(1_000_000))
        self.sent: list[Work] = []

    def _wake(self, _: Desk | None) -> None:
        self.woken += 1

    def tenant(self, name: str, **rules: Any) -> None:
        self.tenants[name] = Tenant(
            environment=Environment.LIVE, id=name, name=name, created_at=0, rules=TenantRules(**rules)
        )

    def desk(self, key: int, tenant: str = "default", *, proven: bool = True, **rules: Any) -> Desk:
        self.endpoints[key] = Endpoint(
            key=key, environment=Environment.LIVE, tenant=tenant, url="http://127.0.0.1/", rules=Rules(**rules)
        )
        desk = self.board.desk(key)
        assert desk is not None
        desk.prove(proven=proven)
        return desk

    def give(self, desk: Desk, count: int, lane: Lane = LIVE, *, newer: bool = False) -> None:
        """Buffer so many deliveries."""
        for _ in range(count):
            key = next(self._keys)
            event = Event(
                key=key,
                id=f"e{key}",
                environment=Environment.LIVE,
                tenant=desk.endpoint.tenant,
                type="t",
                accepted_at=0,
                data=b"1",
            )
            now = self.clock.now_ms()
            self.board.push(
                desk.window(lane), Work(Obligation(key, desk.endpoint.key, lane, now, now), event, newer=newer)
            )

    def send(self, capacity: int = 1_000) -> list[int]:
        """Start what may start; the endpoints, in order."""
        chosen = self.board.turns.choose(capacity)
        self.sent += [chosen_one.works[0] for chosen_one in chosen]
        return [chosen_one.window.desk.endpoint.key for chosen_one in chosen]

    def land(self, *, proven: bool = True) -> None:
        """All requests come back."""
        sent, self.sent = self.sent, []
        for work in sent:
            desk = self.board.find(work.obligation.endpoint_key)
            assert desk is not None
            self.board.land(desk, [work], brisk=True, proven=proven)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(round(seconds * 1_000))
        self.board.turns.look()


@pytest.fixture
async def bench() -> Bench:
    return Bench()


# -- caps ---------------------------------------------------------------------------------------


async def test_an_endpoint_has_its_own_cap(bench: Bench) -> None:
    bench.give(bench.desk(1, in_flight_max=3), 10)
    assert bench.send() == [1, 1, 1]
    bench.land()
    assert bench.send() == [1, 1, 1]


async def test_a_tenant_at_its_cap_waits_for_its_own_requests_only(bench: Bench) -> None:
    bench.tenant("acme", in_flight_max=2)
    for key in (1, 2, 3):
        bench.give(bench.desk(key, "acme"), 2)
    bench.give(bench.desk(9, "other"), 2)
    assert sorted(bench.send()) == [1, 2, 9, 9]
    assert bench.board.turns.holder(bench.desk(1, "acme"), LIVE) == (Hold.TENANT_CAP, float("inf"))
    assert bench.send() == []
    bench.land()
    assert sorted(bench.send()) == [1, 3]


async def test_the_node_has_a_cap_for_tenants_that_have_none() -> None:
    bench = Bench(in_flight_per_tenant=2)
    bench.tenant("large", in_flight_max=5)
    bench.give(bench.desk(1, "small"), 9)
    bench.give(bench.desk(2, "large"), 9)
    assert sorted(bench.send()) == [1, 1, 2, 2, 2, 2, 2]


async def test_a_cap_that_is_raised_holds_at_once(bench: Bench) -> None:
    bench.tenant("acme", in_flight_max=1)
    bench.give(bench.desk(1, "acme"), 5)
    assert bench.send() == [1]
    bench.tenant("acme", in_flight_max=4)
    bench.board.turns.change_tenant(bench.tenants["acme"])
    assert bench.send() == [1, 1, 1]


# -- shares -------------------------------------------------------------------------------------


async def test_tenants_share_a_busy_node_by_their_weights(bench: Bench) -> None:
    bench.tenant("gold", weight=3)
    for key in range(10):
        bench.give(bench.desk(key, "flood"), 20)
    bench.give(bench.desk(100, "gold"), 20)
    served = [bench.send(1)[0] for _ in range(8)]
    assert served.count(100) == 6
    assert len({key for key in served if key != 100}) == 2, "endpoints of a tenant take turns"


async def test_live_work_of_a_busy_endpoint_leaves_a_fifth_of_its_room_to_its_other_lanes(bench: Bench) -> None:
    """Also where other endpoints' live work takes every turn in between: theirs are counted on their own."""
    busy = bench.desk(1, in_flight_max=1)
    bench.give(busy, 50)
    bench.give(busy, 50, RETRY)
    lanes = []
    for _ in range(20):
        bench.give(bench.desk(2), 3)
        bench.send(4)
        lanes += [work.obligation.lane for work in bench.sent if work.obligation.endpoint_key == 1]
        bench.land()
    assert lanes.count(RETRY) >= len(lanes) // 5 > 0


async def test_endpoints_that_do_not_answer_get_a_part_of_the_node_only() -> None:
    bench = Bench(in_flight_max=20)
    for key in range(30):
        bench.give(bench.desk(key, proven=False), 5)
    assert len(bench.send()) == 10
    bench.give(bench.desk(99), 5)
    assert bench.send() == [99] * 5
    assert bench.board.turns.holder(bench.desk(29, proven=False), LIVE) == (Hold.NODE_CAP, float("inf"))


async def test_who_waits_for_room_among_the_slow_gets_it_when_one_comes_back() -> None:
    bench = Bench(in_flight_max=4)
    for key in range(3):
        bench.give(bench.desk(key, proven=False), 1)
    assert bench.send() == [0, 1]
    bench.land(proven=False)
    assert bench.send() == [2]


async def test_an_endpoint_that_has_not_answered_lately_gets_few_requests_at_once(bench: Bench) -> None:
    bench.give(bench.desk(1, proven=False), 20)
    assert bench.send() == [1] * UNPROVEN_MAX
    bench.land(proven=True)
    assert len(bench.send()) == 8
    bench.land(proven=False)
    assert len(bench.send()) == UNPROVEN_MAX


# -- rates --------------------------------------------------------------------------------------


async def test_a_rate_spaces_requests_and_wakes_who_waits(bench: Bench) -> None:
    desk = bench.desk(1, rate="8/s", in_flight_max=100)
    bench.give(desk, 50)
    bench.give(bench.desk(2), 3)
    assert bench.send() == [1, 2, 2, 2]
    assert bench.board.turns.holder(desk, LIVE) == (Hold.RATE, bench.clock.monotonic() + 0.125)
    times = []
    for eighth in range(1, 21):
        bench.pass_time(0.125)
        times += [eighth] * len(bench.send())
    assert times == list(range(1, 21))
    assert bench.woken == 20


async def test_a_rate_is_changed_while_work_waits(bench: Bench) -> None:
    desk = bench.desk(1, rate="1/h", in_flight_max=100)
    bench.give(desk, 50)
    assert bench.send() == [1]
    changed = bench.endpoints[1] = Endpoint(
        key=1, environment=Environment.LIVE, tenant="default", url="http://127.0.0.1/", rules=Rules(rate="8/s")
    )
    bench.board.change(changed)
    bench.pass_time(0.125)
    assert bench.send() == [1]


async def test_a_tenants_rate_is_for_all_its_endpoints_together(bench: Bench) -> None:
    bench.tenant("acme", rate="8/s")
    for key in (1, 2):
        bench.give(bench.desk(key, "acme"), 10)
    served = bench.send()
    for _ in range(9):
        bench.pass_time(0.125)
        served += bench.send()
    assert sorted(served) == [1] * 5 + [2] * 5


# -- batches ------------------------------------------------------------------------------------


async def test_a_full_batch_leaves_at_once_and_another_one_when_its_oldest_waited(bench: Bench) -> None:
    desk = bench.desk(1, batch=Batch(max_events=3, max_wait_ms=1_000))
    bench.give(desk, 4)
    assert [len(chosen.works) for chosen in bench.board.turns.choose(10)] == [3]
    assert bench.board.turns.holder(desk, LIVE) == (Hold.BATCH, bench.clock.monotonic() + 1)
    bench.pass_time(1)
    assert [len(chosen.works) for chosen in bench.board.turns.choose(10)] == [1]


async def test_a_batch_of_what_is_due_later_does_not_wait(bench: Bench) -> None:
    """It was pulled forward, or the wall clock was set back behind the time at which it was due."""
    desk = bench.desk(1, batch=Batch(max_events=3, max_wait_ms=1_000))
    bench.clock.step(60_000)
    bench.give(desk, 1)
    bench.clock.step(-60_000)
    assert [len(chosen.works) for chosen in bench.board.turns.choose(10)] == [1]


# -- who is held --------------------------------------------------------------------------------


async def test_what_a_newer_event_supersedes_is_not_sent(bench: Bench) -> None:
    desk = bench.desk(1, order=Order.LATEST)
    bench.give(desk, 1, newer=True)
    bench.give(desk, 1)
    assert bench.send() == [1]
    assert [work.event.id for work in bench.board.turns.superseded] == ["e0"]
    assert [work.event.id for work in bench.sent] == ["e1"]


async def test_a_job_holds_the_backlog_and_nothing_else(bench: Bench) -> None:
    desk = bench.desk(1)
    desk.holders = 1
    bench.give(desk, 1, BACKLOG)
    bench.give(desk, 1, RETRY)
    bench.give(desk, 1)
    bench.send()
    assert sorted(work.obligation.lane for work in bench.sent) == [LIVE, RETRY]
    assert bench.board.turns.holder(desk, BACKLOG) == (Hold.JOB, float("inf"))


async def test_an_endpoint_that_keeps_order_waits_out_what_the_node_before_sent(bench: Bench) -> None:
    desk = bench.desk(1, order=Order.FIFO)
    desk.starts_at = bench.clock.monotonic() + 5
    bench.give(desk, 1)
    assert bench.send() == []
    assert bench.board.turns.holder(desk, LIVE) == (Hold.TAKEOVER, desk.starts_at)
    bench.pass_time(5)
    assert bench.send() == [1]
