"""The catalogue in memory: after any changes, here and at other nodes, it answers as if it had been read anew."""

import asyncio
import random
from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from posthouse.core.errors import StoreUnavailable
from posthouse.core.inbound import Source, SourceState
from posthouse.core.model import ApiKey, Endpoint, EndpointState, Environment, Scope, Tenant
from posthouse.core.rules import Order, Rules, TenantRules
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.deciding import DECISIONS_MAX, decided
from posthouse.store.protocol import CatalogueChanges, CatalogueSnapshot, Outdated

LIVE = Environment.LIVE
Thing = Endpoint | Source | Tenant | ApiKey


class Shelf:
    """A catalogue facet that only reads; what changed stands in it at the version that did."""

    def __init__(self) -> None:
        self.things: dict[object, Thing] = {}
        self.version = 0
        self.asked = 0
        self.before_answer: list[Awaitable[None]] = []

    def put(self, thing: Thing) -> Thing:
        """Write a thing, as some node does; as it is in the store then."""
        self.version += 1
        stored = replace(thing, revision=self.version)
        self.things[type(thing), thing.id if isinstance(thing, Tenant) else thing.key] = stored
        return stored

    def since(self, version: int) -> CatalogueChanges:
        new = [thing for thing in self.things.values() if thing.revision > version]
        return CatalogueChanges(
            self.version,
            tuple(t for t in new if isinstance(t, Endpoint)),
            tuple(t for t in new if isinstance(t, Tenant)),
            tuple(t for t in new if isinstance(t, ApiKey)),
            tuple(t for t in new if isinstance(t, Source)),
        )

    async def changes(self, since: int) -> CatalogueChanges:
        self.asked += 1
        found = self.since(since)
        if self.before_answer:
            await self.before_answer.pop(0)
        await asyncio.sleep(0)
        return found

    async def load(self) -> CatalogueSnapshot:
        found = self.since(0)
        return CatalogueSnapshot(
            found.version,
            tuple(e for e in found.endpoints if e.state is not EndpointState.DELETED),
            found.tenants,
            tuple(k for k in found.api_keys if k.revoked_at is None),
            found.sources,
        )


class Ears:
    """Whoever hears of changes: remembers them in their sequence."""

    def __init__(self) -> None:
        self.heard: list[Thing] = []
        self.endpoint_changed = self.tenant_changed = self.source_changed = self.heard.append


def endpoint(key: int = 7, **fields: object) -> Endpoint:
    return Endpoint(**{"key": key, "environment": LIVE, "tenant": "t1", "url": "https://example.com/", **fields})  # type: ignore[arg-type]  # fields of an endpoint


def api_key(key: int = 5, **fields: object) -> ApiKey:
    given = {"key": key, "hash": b"%d" % key, "prefix": "p", "environment": LIVE, "scope": Scope.ADMIN, "name": "n"}
    return ApiKey(**{**given, "created_at": 0, **fields})  # type: ignore[arg-type]  # as above


def source(key: int = 3, **fields: object) -> Source:
    given = {"key": key, "environment": LIVE, "tenant": "t1", "name": "s", "provider": "custom", "token": f"t{key}"}
    return Source(**{**given, **fields})  # type: ignore[arg-type]  # as above


def tenant(name: str, *, weight: int = 1) -> Tenant:
    return Tenant(environment=LIVE, id=name, name=name, created_at=0, rules=TenantRules(weight=weight))


async def opened(shelf: Shelf) -> tuple[Catalogue, Ears]:
    catalogue, ears = Catalogue(shelf), Ears()  # type: ignore[arg-type]  # the facet's reading half
    catalogue.tell(ears, ears)
    await catalogue.refresh()
    return catalogue, ears


def some_change(chance: random.Random) -> Thing:
    key = chance.randrange(1, 6)
    environment = LIVE if key % 2 else Environment.TEST
    things: list[Thing] = [
        endpoint(
            key,
            environment=environment,
            tenant=f"t{key % 3}",
            events=tuple(chance.sample(["*", "order.*", "order.paid", "user.*"], 2)),
            state=chance.choice(list(EndpointState)),
            rules=Rules(order=chance.choice(list(Order)), filter=chance.choice([None, "true"])),
        ),
        tenant(f"t{key}", weight=chance.randrange(1, 9)),
        source(key, environment=environment, state=chance.choice(list(SourceState)), token=f"{key}-{chance.random()}"),
        api_key(key, environment=environment, revoked_at=chance.choice([None, 9])),
    ]
    return chance.choice(things)


def apply(catalogue: Catalogue, thing: Thing) -> None:
    """As the node does that wrote it."""
    if isinstance(thing, Endpoint):
        catalogue.apply_endpoint(thing, thing.revision)
    elif isinstance(thing, Tenant):
        catalogue.apply_tenant(thing, thing.revision)
    elif isinstance(thing, Source):
        catalogue.apply_source(thing, thing.revision)
    else:
        catalogue.apply_api_key(thing, thing.revision)


def contents(catalogue: Catalogue) -> object:
    return catalogue.version, [
        (
            catalogue.endpoints(environment),
            catalogue.tenants(environment),
            catalogue.sources(environment),
            [catalogue.source(key) for key in range(6)],
            [catalogue.source_by_token(s.token) for s in catalogue.sources(environment)],
            catalogue.api_keys(environment),
            [catalogue.api_key_by_hash(b"%d" % key) for key in range(6)],
            [catalogue.endpoints(environment, f"t{n}") for n in range(4)],
            [catalogue.endpoint_count(environment, f"t{n}") for n in range(4)],
            [
                (routes.router.match(event_type), routes.filters, routes.orders)
                for n in range(4)
                for routes in [catalogue.routes(environment, f"t{n}")]
                for event_type in ("order.paid", "order.sent", "user.made", "x")
            ],
        )
        for environment in Environment
    ]


@given(seed=st.integers(0, 2**32), changes=st.integers(0, 40))
async def test_what_was_changed_here_and_elsewhere_is_as_if_read_anew(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    shelf = Shelf()
    lived, _ears = await opened(shelf)
    for _ in range(changes):
        stored = shelf.put(some_change(chance))
        if chance.random() < 0.6:  # otherwise it was another node
            apply(lived, stored)
        if chance.random() < 0.2:
            await lived.refresh()
        lived.routes(LIVE, "t1")  # routers made on the way must not go stale
        assert lived.version <= shelf.version
    await lived.refresh()
    assert contents(lived) == contents((await opened(shelf))[0])


async def test_an_own_change_hides_none_of_another_node() -> None:
    """Whoever accepts by the copy must find out that it is behind."""
    shelf = Shelf()
    catalogue, _ears = await opened(shelf)
    shelf.put(endpoint(1))
    catalogue.apply_endpoint(endpoint(2), shelf.put(endpoint(2)).revision)
    assert (catalogue.version, catalogue.behind.is_set()) == (0, True)
    assert [e.key for e in catalogue.endpoints(LIVE)] == [2]
    await catalogue.refresh()
    assert (catalogue.version, [e.key for e in catalogue.endpoints(LIVE)]) == (2, [1, 2])


async def test_own_changes_are_taken_over_whichever_is_heard_of_first() -> None:
    shelf = Shelf()
    catalogue, _ears = await opened(shelf)
    first, second, third = shelf.put(endpoint(1)), shelf.put(tenant("b")), shelf.put(endpoint(3))
    for thing, version in ((second, 0), (third, 0), (first, 3)):
        apply(catalogue, thing)
        assert catalogue.version == version
    assert shelf.asked == 0


async def test_each_change_of_another_node_is_told_once() -> None:
    shelf = Shelf()
    known = [shelf.put(thing) for thing in (endpoint(1), tenant("t1"), source(3), api_key(5))]
    catalogue, ears = await opened(shelf)
    assert ears.heard == []
    changed = [
        shelf.put(replace(known[1], rules=TenantRules(weight=7))),
        shelf.put(replace(known[0], state=EndpointState.PAUSED)),
        shelf.put(replace(known[2], state=SourceState.PAUSED)),
    ]
    shelf.put(replace(known[3], revoked_at=1))
    own = shelf.put(endpoint(2))
    apply(catalogue, own)
    await catalogue.refresh()
    await catalogue.refresh()
    assert ears.heard == changed
    assert catalogue.endpoint(1) == changed[1]
    assert catalogue.api_keys(LIVE) == []
    deleted = shelf.put(replace(changed[1], state=EndpointState.DELETED))
    await catalogue.refresh()
    assert ears.heard[3:] == [deleted]
    assert catalogue.endpoint(1) is None


async def test_what_was_deleted_here_while_it_was_read_stays_deleted() -> None:
    """What was read is older than what this node wrote meanwhile, so it is read once more."""
    shelf = Shelf()
    catalogue, ears = await opened(shelf)
    known = shelf.put(endpoint(1))
    apply(catalogue, known)
    shelf.put(tenant("b"))

    async def delete() -> None:
        apply(catalogue, shelf.put(replace(known, state=EndpointState.DELETED)))

    shelf.put(replace(known, url="https://example.org/"))
    shelf.before_answer = [delete()]
    await catalogue.refresh()
    assert (catalogue.version, catalogue.endpoint(1), shelf.asked) == (4, None, 2)
    assert [type(thing) for thing in ears.heard] == [Tenant]


async def test_who_asks_at_once_shares_an_answer() -> None:
    shelf = Shelf()
    catalogue, _ears = await opened(shelf)
    shelf.put(endpoint(1))
    await asyncio.gather(*(catalogue.refresh() for _ in range(50)))
    assert (catalogue.version, shelf.asked) == (1, 2)  # one for the first, one for those who came while that ran


async def test_an_answer_that_nobody_got_is_shared_by_nobody() -> None:
    shelf = Shelf()
    catalogue, _ears = await opened(shelf)

    async def fail() -> None:
        raise StoreUnavailable

    shelf.before_answer = [fail()]
    shelf.put(endpoint(1))
    first, second = await asyncio.gather(catalogue.refresh(), catalogue.refresh(), return_exceptions=True)
    assert isinstance(first, StoreUnavailable)
    assert (second, catalogue.version) == (None, 1)


async def test_what_a_failover_forgot_is_forgotten_here_too() -> None:
    """The store's version went back: whatever came of it counts no longer, and everybody hears what is true now."""
    shelf = Shelf()
    kept, forgotten = shelf.put(endpoint(1)), endpoint(2)
    later = Shelf()
    later.things, later.version = dict(shelf.things), shelf.version
    catalogue, ears = await opened(later)
    shelf_things = [forgotten, replace(kept, url="https://example.org/"), tenant("b", weight=3), source(3), api_key(5)]
    for thing in shelf_things:
        apply(catalogue, later.put(thing))
    later.things, later.version = shelf.things, shelf.version
    await catalogue.refresh()
    assert contents(catalogue) == contents((await opened(shelf))[0])
    assert {(type(t), getattr(t, "state", None)) for t in ears.heard} == {
        (Endpoint, EndpointState.DELETED),
        (Endpoint, EndpointState.ACTIVE),
        (Tenant, None),
        (Source, SourceState.DELETED),
    }
    assert kept in ears.heard


async def test_a_decision_is_made_again_by_what_is_true_now() -> None:
    shelf = Shelf()
    catalogue, _ears = await opened(shelf)
    tries: list[int] = []

    async def decide() -> int:
        tries.append(catalogue.version)
        if len(tries) < 3:
            shelf.put(endpoint(len(tries)))
            raise Outdated
        return len(catalogue.endpoints(LIVE))

    assert await decided(catalogue, decide) == 2
    assert tries == [0, 1, 2]


async def test_decisions_end() -> None:
    catalogue, _ears = await opened(Shelf())
    tries: list[None] = []

    async def decide() -> None:
        tries.append(None)
        raise Outdated

    with pytest.raises(StoreUnavailable):
        await decided(catalogue, decide)
    assert len(tries) == DECISIONS_MAX
