"""The catalogue in memory: after any changes it answers as if it had been read anew."""

import random

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.model import Endpoint, EndpointState, Environment
from posthouse.core.rules import Order, Rules
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import CatalogueSnapshot


class Source:
    """A catalogue facet that only reads."""

    def __init__(self) -> None:
        self.endpoints: dict[int, Endpoint] = {}
        self.version = 0

    async def load(self) -> CatalogueSnapshot:
        alive = tuple(e for e in self.endpoints.values() if e.state is not EndpointState.DELETED)
        return CatalogueSnapshot(self.version, alive, (), ())


def change(source: Source, chance: random.Random) -> Endpoint:
    key = chance.randrange(1, 8)
    endpoint = Endpoint(
        key=key,
        environment=Environment.LIVE if key % 2 else Environment.TEST,
        tenant=f"t{key % 3}",
        url="https://example.com/",
        events=tuple(chance.sample(["*", "order.*", "order.paid", "user.*"], 2)),
        state=chance.choice(list(EndpointState)),
        rules=Rules(order=chance.choice(list(Order)), filter=chance.choice([None, "true"])),
    )
    source.endpoints[key] = endpoint
    source.version += 1
    return endpoint


@given(seed=st.integers(0, 2**32), changes=st.integers(0, 40))
async def test_changes_applied_one_by_one_equal_a_fresh_read(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    source = Source()
    lived = Catalogue(source)  # type: ignore[arg-type]  # one method of the facet
    await lived.refresh()
    for _ in range(changes):
        lived.apply_endpoint(change(source, chance), source.version)
        lived.routes(Environment.LIVE, "t1")  # routers made on the way must not go stale
    fresh = Catalogue(source)  # type: ignore[arg-type]  # as above
    await fresh.refresh()
    assert lived.version == fresh.version
    for environment in Environment:
        assert lived.endpoints(environment) == fresh.endpoints(environment)
        for tenant in ("t0", "t1", "t2", "nobody"):
            assert lived.endpoints(environment, tenant) == fresh.endpoints(environment, tenant)
            assert lived.endpoint_count(environment, tenant) == len(fresh.endpoints(environment, tenant))
            for event_type in ("order.paid", "order.sent", "user.made", "x"):
                routes = [catalogue.routes(environment, tenant) for catalogue in (lived, fresh)]
                assert routes[0].router.match(event_type) == routes[1].router.match(event_type)
                assert routes[0].filters == routes[1].filters
                assert routes[0].orders == routes[1].orders


async def test_an_older_snapshot_never_replaces_a_newer_one() -> None:
    source = Source()
    catalogue = Catalogue(source)  # type: ignore[arg-type]  # as above
    endpoint = change(source, random.Random(1))
    catalogue.apply_endpoint(endpoint, 5)
    await catalogue.refresh()
    assert catalogue.version == 5
