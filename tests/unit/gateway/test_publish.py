"""Publishing: what is refused before acceptance, and how a request becomes what the store is asked to accept."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from posthouse.core import limits
from posthouse.core.envelope import rfc3339
from posthouse.core.errors import (
    IdempotencyConflict,
    InvalidInput,
    MalformedJson,
    Overloaded,
    PosthouseError,
    ShuttingDown,
    StoreUnavailable,
    TooLarge,
)
from posthouse.core.ids import EVENT, make_id
from posthouse.core.model import Endpoint, EndpointState, Environment, Lane, Tenant
from posthouse.core.rules import Order, Rules, TenantRules
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.publish import Publisher
from posthouse.gateway.routes import EventRouter
from posthouse.store.protocol import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    CatalogueChanges,
    CatalogueSnapshot,
    IdentityReused,
    Overtaken,
    StaleCatalogue,
    Work,
)
from posthouse.telemetry import Metrics
from posthouse.testing.histories.still_loop import StillLoop
from posthouse.testing.manual_clock import ManualClock

NOW = 1_800_000_000_000


class Shelf:
    """A scripted store and the engine's ear: records what it is asked, answers what it is told."""

    def __init__(self) -> None:
        self.batches: list[list[AcceptRequest]] = []
        self.told: list[Work] = []
        self.answers: list[AcceptResult | Exception] = []
        self.snapshot = CatalogueSnapshot(1, (), (), ())

    @property
    def requests(self) -> list[AcceptRequest]:
        return [request for batch in self.batches for request in batch]

    async def accept(self, requests: Sequence[AcceptRequest]) -> list[AcceptResult]:
        self.batches.append(list(requests))
        results: list[AcceptResult] = []
        for request in requests:
            answer = self.answers.pop(0) if self.answers else None
            if isinstance(answer, Exception):
                raise answer
            results.append(
                answer or tuple(Accepted(e.event.key, e.event.id, len(e.owed), False) for e in request.events)
            )
        return results

    async def load(self) -> CatalogueSnapshot:
        self.loaded = self.snapshot
        return self.snapshot

    async def changes(self, since: int) -> CatalogueChanges:
        """There is what the snapshot says; what was loaded and is not in it is deleted."""
        assert since == self.loaded.version
        gone = {e.key: msgspec.structs.replace(e, state=EndpointState.DELETED) for e in self.loaded.endpoints}
        now = gone | {e.key: e for e in self.snapshot.endpoints}
        return CatalogueChanges(self.snapshot.version, tuple(now.values()), self.snapshot.tenants)

    def accepted(self, work: Sequence[Work]) -> None:
        self.told += work

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"publishing must not use {name}")


class FixedClock:
    def now_ms(self) -> int:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def endpoint(key: int, *events: str, tenant: str = "default") -> Endpoint:
    return Endpoint(key=key, environment=Environment.LIVE, tenant=tenant, url="https://example.com/", events=events)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def publisher(shelf: Shelf) -> Publisher:
    shelf.snapshot = CatalogueSnapshot(
        7, (endpoint(1, "*"), endpoint(2, "order.*"), endpoint(3, "x", tenant="b")), (), ()
    )
    catalogue = Catalogue(shelf)
    await catalogue.refresh()
    keys = KeySource(FixedClock(), node=1, floor=0)
    batcher = IntakeBatcher(shelf, shelf, Metrics(), room=lambda: 1_000)
    return Publisher(catalogue, EventRouter(catalogue), batcher, FixedClock(), keys)


async def publish(publisher: Publisher, key: str | None = None, **fields: object) -> Accepted:
    return await publisher.publish(Environment.LIVE, json.dumps(fields).encode(), key)


async def test_an_event_owes_one_delivery_to_each_endpoint_that_subscribed(publisher: Publisher, shelf: Shelf) -> None:
    accepted = await publish(publisher, type="order.paid", data={"n": 1})
    (new,) = shelf.requests[0].events
    assert new.owed == (1, 2)
    assert accepted.id == new.event.id == make_id(EVENT, new.event.key)
    assert (new.event.tenant, new.event.accepted_at, new.lane) == ("default", NOW, Lane.LIVE)
    assert shelf.requests[0].catalogue_version == 7
    assert [(w.obligation.event_key, w.obligation.endpoint_key) for w in shelf.told] == [
        (new.event.key, 1),
        (new.event.key, 2),
    ]


async def test_the_data_bytes_are_kept_as_they_came(publisher: Publisher, shelf: Shelf) -> None:
    raw = '{ "b" : 1.0,\n "a":"\\u00e9\u00e9" ,"n":1e400}'.encode()
    await publisher.publish(Environment.LIVE, b'{"type":"t","data":' + raw + b" }", None)
    assert shelf.requests[0].events[0].event.data == raw


async def test_tenants_are_apart_and_new_ones_come_into_being(publisher: Publisher, shelf: Shelf) -> None:
    await publish(publisher, type="x", data=1, tenant="b")
    assert shelf.requests[0].events[0].owed == (3,)
    assert [t.id for t in shelf.requests[0].new_tenants] == ["b"]


async def test_an_old_event_starts_in_the_backlog_lane(publisher: Publisher, shelf: Shelf) -> None:
    await publish(publisher, type="t", data=1, occurred_at="2027-01-15T07:00:00Z")
    await publish(publisher, type="t", data=1, occurred_at="2027-01-15T07:59:00Z")
    assert [r.events[0].lane for r in shelf.requests] == [Lane.BACKLOG, Lane.LIVE]


async def test_identities_come_from_the_id_and_the_key(publisher: Publisher, shelf: Shelf) -> None:
    await publish(publisher, "k1", type="t", data=1, id="order-1")
    await publish(publisher, "k1", type="t", data=2, id="order-1")
    one, two = (r.events[0] for r in shelf.requests)
    assert one.identities == (("id", "order-1"), ("key", "k1"))
    assert one.event.id == "order-1"
    assert one.fingerprint != two.fingerprint, "another body is another event"
    await publish(publisher, "k1", type="t", data=1, id="order-1")
    assert shelf.requests[2].events[0].fingerprint == one.fingerprint


async def test_equal_events_without_an_id_are_two_events(publisher: Publisher, shelf: Shelf) -> None:
    """What is alike is no repeat: two equal payments are two payments."""
    for _ in range(2):
        await publish(publisher, type="t", data=1)
    one, two = (r.events[0] for r in shelf.requests)
    assert one.event.key != two.event.key
    assert one.identities == two.identities == ()


async def test_under_one_key_an_event_with_another_id_is_another_event(publisher: Publisher, shelf: Shelf) -> None:
    for own in ("a", "b", None):
        body = {"type": "t", "data": 1} | ({} if own is None else {"id": own})
        await publisher.publish(Environment.LIVE, json.dumps(body).encode(), "one key")
    fingerprints = [request.events[0].fingerprint for request in shelf.requests]
    assert len(set(fingerprints)) == 3


async def test_each_item_of_a_keyed_batch_has_an_identity_of_its_own(publisher: Publisher, shelf: Shelf) -> None:
    body = json.dumps({"events": [{"type": "t", "data": n} for n in range(3)]}).encode()
    await publisher.publish_batch(Environment.LIVE, body, "k")
    identities = [e.identities for e in shelf.requests[0].events]
    assert len(set(identities)) == 3


async def test_a_moved_catalogue_is_read_again_and_the_event_routed_anew(publisher: Publisher, shelf: Shelf) -> None:
    """An endpoint that was made before an event was published gets it, on every node."""
    shelf.answers = [StaleCatalogue(8)]
    shelf.snapshot = CatalogueSnapshot(8, (endpoint(9, "*"),), (), ())
    accepted = await publish(publisher, type="t", data=1)
    assert [(r.catalogue_version, r.events[0].owed) for r in shelf.requests] == [(7, (1,)), (8, (9,))]
    assert accepted.owed == 1
    assert [w.obligation.endpoint_key for w in shelf.told] == [9]


async def test_what_another_node_overtook_gets_keys_above_it(publisher: Publisher, shelf: Shelf) -> None:
    """Its clock is ahead. The publisher's own ids stay, ours are made of the key."""
    floor = publisher._new_key() + (1 << 40)
    shelf.answers = [Overtaken(floor)]
    items = [{"type": "t", "data": 1, "ordering_key": "k", **own} for own in ({}, {"id": "mine"})]
    accepted = await publisher.publish_batch(Environment.LIVE, json.dumps({"events": items}).encode(), "key")
    before, after = ([new.event for new in request.events] for request in shelf.requests)
    keys = [event.key for event in after]
    assert floor < keys[0] < keys[1] < publisher._new_key()
    assert [event.id for event in after] == [make_id(EVENT, keys[0]), "mine"] == [a.id for a in accepted]
    for old, new in zip(before, after, strict=True):
        assert old.key < floor
        assert msgspec.structs.replace(new, key=old.key, id=old.id) == old
    assert [new.identities for new in shelf.requests[1].events] == [new.identities for new in shelf.requests[0].events]
    assert [w.obligation.event_key for w in shelf.told] == keys


async def test_a_reused_identity_is_a_conflict_that_names_the_items(publisher: Publisher, shelf: Shelf) -> None:
    shelf.answers = [IdentityReused((0,)), IdentityReused((1,))]
    with pytest.raises(IdempotencyConflict):
        await publish(publisher, type="t", data=1, id="a")
    body = json.dumps({"events": [{"type": "t", "data": 1, "id": i} for i in "ab"]}).encode()
    with pytest.raises(IdempotencyConflict) as caught:
        await publisher.publish_batch(Environment.LIVE, body, None)
    assert [e["path"] for e in caught.value.errors] == ["events[1]"]
    assert shelf.told == []


@pytest.mark.parametrize(
    ("body", "error", "path"),
    [
        (b"", MalformedJson, None),
        (b"{", MalformedJson, None),
        (b"[]", InvalidInput, "body"),
        (b'{"type":"t"}', InvalidInput, "body"),
        (b'{"type":1,"data":1}', InvalidInput, "type"),
        (b'{"type":"","data":1}', InvalidInput, "type"),
        (b'{"type":"a b","data":1}', InvalidInput, "type"),
        (b'{"type":"t","data":1,"more":1}', InvalidInput, "body"),
        (b'{"type":"t","data":"\xff"}', MalformedJson, None),
        (b'{"type":"t","data":"\\u0000"}', InvalidInput, "data"),
        (b'{"type":"t","data":' + b"[" * 65 + b"]" * 65 + b"}", InvalidInput, "data"),
        (b'{"type":"t","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", InvalidInput, "body"),
        (b'{"type":"t","data":1,"id":"a.b"}', InvalidInput, "id"),
        (b'{"type":"t","data":1,"id":""}', InvalidInput, "id"),
        (b'{"type":"t","data":1,"id":"' + make_id(EVENT, 5).encode() + b'"}', InvalidInput, "id"),
        (b'{"type":"t","data":1,"tenant":" "}', InvalidInput, "tenant"),
        (b'{"type":"t","data":1,"occurred_at":"yesterday"}', InvalidInput, "occurred_at"),
        (b'{"type":"t","data":1,"ordering_key":"a\\nb"}', InvalidInput, "ordering_key"),
        (b'{"type":"t","data":"' + b"x" * limits.EVENT_BODY_BYTES_MAX + b'"}', TooLarge, None),
    ],
)
async def test_a_bad_event_is_refused_before_acceptance(
    publisher: Publisher, shelf: Shelf, body: bytes, error: type[PosthouseError], path: str | None
) -> None:
    with pytest.raises(error) as caught:
        await publisher.publish(Environment.LIVE, body, None)
    assert type(caught.value) is error
    if path is not None:
        assert [e["path"] for e in caught.value.errors] == [path]
    assert shelf.batches == []


async def test_a_bad_batch_names_every_bad_item_and_stores_nothing(publisher: Publisher, shelf: Shelf) -> None:
    body = b'{"events":[{"type":"t","data":1},{"type":"t"},{"type":"t","data":1,"x":1},{"type":"","data":1}]}'
    with pytest.raises(InvalidInput) as caught:
        await publisher.publish_batch(Environment.LIVE, body, None)
    assert [e["path"] for e in caught.value.errors] == ["events[1].body", "events[2].body", "events[3].type"]
    body = b'{"events":[{"type":"t","data":1},{"type":"","data":1},{"type":"t","data":1,"id":"."}]}'
    with pytest.raises(InvalidInput) as caught:
        await publisher.publish_batch(Environment.LIVE, body, None)
    assert [e["path"] for e in caught.value.errors] == ["events[1].type", "events[2].id"]
    for body in (b'{"events":[]}', b'{"events":[' + b",".join([b"{}"] * 1_001) + b"]}", b'{"events":1}', b"null"):
        with pytest.raises((InvalidInput, TooLarge)):
            await publisher.publish_batch(Environment.LIVE, body, None)
    assert shelf.batches == []


async def test_requests_of_one_turn_of_the_loop_go_to_the_store_together(publisher: Publisher, shelf: Shelf) -> None:
    await asyncio.gather(*(publish(publisher, type="t", data=n) for n in range(20)))
    assert [len(batch) for batch in shelf.batches] == [20]


async def test_an_unknown_outcome_is_never_called_success(publisher: Publisher, shelf: Shelf) -> None:
    shelf.answers = [StoreUnavailable(), StoreUnavailable()]
    with pytest.raises(StoreUnavailable):
        await publish(publisher, type="t", data=1)
    assert shelf.told == []


async def test_accepting_paces_itself_while_the_engine_is_crowded_but_not_for_ever(shelf: Shelf) -> None:
    looks: list[int] = []

    def room() -> int:
        looks.append(1)
        return 0

    batcher = IntakeBatcher(shelf, shelf, Metrics(), room=room)
    await batcher.submit(AcceptRequest((), 1))
    assert len(looks) > 1
    assert len(shelf.batches) == 1


async def test_held_requests_go_in_their_order_as_room_appears(shelf: Shelf, publisher: Publisher) -> None:
    rooms = [1, 0, 2, 1_000]
    publisher._intake = IntakeBatcher(shelf, shelf, Metrics(), room=lambda: rooms.pop(0) if rooms else 1_000)
    await asyncio.gather(*(publish(publisher, type="t", data=n) for n in range(5)))
    assert [[r.events[0].event.data for r in batch] for batch in shelf.batches] == [[b"0"], [b"1", b"2"], [b"3", b"4"]]


async def test_beyond_its_bound_the_intake_refuses_and_after_close_too(shelf: Shelf) -> None:
    batcher = IntakeBatcher(shelf, shelf, Metrics(), room=lambda: 1_000)
    batcher.waiting = limits.INTAKE_WAITING_MAX
    with pytest.raises(Overloaded):
        await batcher.submit(AcceptRequest((), 1))
    batcher.waiting = 0
    await batcher.close()
    with pytest.raises(ShuttingDown):
        await batcher.submit(AcceptRequest((), 1))


def test_requests_that_are_held_when_the_intake_closes_are_answered_at_once() -> None:
    """Time stands still here: what waits for it, or asks again and again, never comes to an end."""
    shelf = Shelf()
    loop = StillLoop(ManualClock())

    async def close() -> list[AcceptResult]:
        batcher = IntakeBatcher(shelf, shelf, Metrics(), room=lambda: 0)
        held = [asyncio.ensure_future(batcher.submit(AcceptRequest((), 1))) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not any(result.done() for result in held)
        await batcher.close()
        assert all(result.done() for result in held)
        return [result.result() for result in held]

    assert loop.run(close()) == [()] * 3
    loop.close()


async def test_one_request_owes_a_bounded_number_of_deliveries(
    publisher: Publisher, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUEST_DELIVERIES_MAX", 5)
    events = [{"type": "order.paid", "data": n} for n in range(3)]
    with pytest.raises(TooLarge, match="6 deliveries"):
        await publisher.publish_batch(Environment.LIVE, json.dumps({"events": events}).encode(), None)
    await publisher.publish_batch(Environment.LIVE, json.dumps({"events": events[:2]}).encode(), None)
    assert len(shelf.requests) == 1


async def test_a_fault_of_the_engine_costs_no_caller_the_answer(
    shelf: Shelf, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is durable then, so its 202 is owed; the engine finds it in the store later."""

    def fail(_: Sequence[Work]) -> None:
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(shelf, "accepted", fail)
    async with asyncio.timeout(10):
        assert (await publish(publisher, type="t", data=1)).owed == 1


def ruled(key: int, tenant: str = "default", **rules: Any) -> Endpoint:
    return msgspec.structs.replace(endpoint(key, "*", tenant=tenant), rules=Rules(**rules))


async def stock(
    shelf: Shelf, publisher: Publisher, endpoints: Sequence[Endpoint], tenants: Sequence[Tenant] = ()
) -> None:
    """Let the publisher know these endpoints and tenants."""
    shelf.snapshot = CatalogueSnapshot(8, tuple(endpoints), tuple(tenants), ())
    await publisher._catalogue.refresh()


async def test_an_endpoint_whose_filter_says_false_is_not_owed_the_event(publisher: Publisher, shelf: Shelf) -> None:
    wanted = [ruled(1, filter="data.n > 1"), ruled(2, filter="data.n <= 1"), ruled(3), ruled(4, filter="data.x == 1")]
    await stock(shelf, publisher, wanted)
    for n in (1, 2):
        await publish(publisher, type="a", data={"n": n})
    owed = [request.events[0].owed for request in shelf.requests]
    assert owed == [(2, 3, 4), (1, 3, 4)], "what cannot be evaluated is owed, and evaluated again when it is sent"


async def test_a_stored_filter_that_is_none_owes_the_event(publisher: Publisher, shelf: Shelf) -> None:
    await stock(shelf, publisher, [ruled(1, filter="nosuch(")])
    await publish(publisher, type="a", data=1)
    assert shelf.requests[0].events[0].owed == (1,)


async def test_beyond_so_many_evaluations_the_rest_is_owed(publisher: Publisher, shelf: Shelf) -> None:
    await stock(shelf, publisher, [ruled(1, filter="false"), ruled(2, filter="false")])
    events = [{"type": "a", "data": 1}] * (limits.FILTERS_PER_REQUEST_MAX // 2 + 1)
    half = len(events) // 2
    await publisher.publish_batch(Environment.LIVE, json.dumps({"events": events[:half] * 2}).encode(), None)
    assert {event.owed for event in shelf.requests[0].events} == {()}
    await publisher.publish_batch(Environment.LIVE, json.dumps({"events": events}).encode(), None)
    assert [event.owed for event in shelf.requests[1].events] == [()] * (len(events) - 1) + [(1, 2)]


async def test_beyond_so_many_steps_the_rest_is_owed(publisher: Publisher, shelf: Shelf) -> None:
    await stock(shelf, publisher, [ruled(1, filter="data.map(x, x) == []")])
    events = [{"type": "a", "data": list(range(250))}] * 50
    await publisher.publish_batch(Environment.LIVE, json.dumps({"events": events}).encode(), None)
    owed = [event.owed for event in shelf.requests[0].events]
    evaluated = owed.count(())
    assert 1 <= evaluated <= limits.FILTER_STEPS_PER_REQUEST_MAX // 60_000 + 1
    assert owed == [()] * evaluated + [(1,)] * (50 - evaluated)


async def test_orders_are_those_of_the_endpoints_if_the_event_has_an_ordering_key(
    publisher: Publisher, shelf: Shelf
) -> None:
    kept = [ruled(1), ruled(2, order=Order.FIFO), ruled(3, order=Order.LATEST), ruled(4, filter="false")]
    await stock(shelf, publisher, [*kept, ruled(5, tenant="plain")])
    await publish(publisher, type="a", data=1, ordering_key="k")
    await publish(publisher, type="a", data=1)
    await publish(publisher, type="a", data=1, ordering_key="k", tenant="plain")
    new = [request.events[0] for request in shelf.requests]
    assert [(event.owed, event.orders) for event in new] == [
        ((1, 2, 3), (Order.NONE, Order.FIFO, Order.LATEST)),
        ((1, 2, 3), ()),
        ((5,), ()),
    ]


@pytest.mark.parametrize(
    ("fresh_seconds", "age_seconds", "lane"),
    [
        (None, 300, Lane.LIVE),
        (None, 301, Lane.BACKLOG),
        (60, 61, Lane.BACKLOG),
        (3_600, 3_600, Lane.LIVE),
        (1, -86_400, Lane.LIVE),
        (1, None, Lane.LIVE),
    ],
)
async def test_a_tenant_says_how_long_its_events_are_fresh(
    publisher: Publisher, shelf: Shelf, fresh_seconds: int | None, age_seconds: int | None, lane: Lane
) -> None:
    rules = TenantRules(fresh_seconds=fresh_seconds)
    tenant = Tenant(environment=Environment.LIVE, id="default", name="d", created_at=0, rules=rules)
    await stock(shelf, publisher, [ruled(1)], [tenant])
    when = {} if age_seconds is None else {"occurred_at": rfc3339(NOW - age_seconds * 1_000)}
    await publish(publisher, type="a", data=1, **when)
    assert shelf.requests[0].events[0].lane is lane


async def test_the_node_says_it_where_the_tenant_does_not(shelf: Shelf) -> None:
    catalogue = Catalogue(shelf)
    await catalogue.refresh()
    batcher = IntakeBatcher(shelf, shelf, Metrics(), room=lambda: 1_000)
    router = EventRouter(catalogue, fresh_seconds=10)
    publisher = Publisher(catalogue, router, batcher, FixedClock(), KeySource(FixedClock(), node=1, floor=0))
    for age_ms in (10_000, 10_001):
        await publish(publisher, type="a", data=1, occurred_at=rfc3339(NOW - age_ms))
    assert [request.events[0].lane for request in shelf.requests] == [Lane.LIVE, Lane.BACKLOG]
