"""Through PgBouncer in transaction mode: found out if nobody said so, and usable if somebody did."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from posthouse.cli.database_checks import check_database
from posthouse.core.delivery import State
from posthouse.core.errors import ConfigurationError
from posthouse.store.postgres.dial import ROLE, Unfit
from posthouse.store.postgres.server import examine
from posthouse.testing.house import House
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import (
    EMPTY,
    UNSAFE,
    administer,
    connect,
    drop_database,
    make_database,
    open_store_at,
)
from posthouse.testing.postgres.pooler import BACKENDS, Pooler

Put = Callable[..., Pooler]

#: What a node asks of a session, and a pooler may be told to take without doing it.
ASKED = ("search_path", "client_min_messages", *ROLE, "default_transaction_read_only")


@pytest.fixture
async def role(cluster: Cluster) -> AsyncIterator[str]:
    """A role that is not a superuser, and a new database of its own with the same name."""
    name = await make_database(cluster, template=EMPTY)
    await administer(cluster, f"CREATE ROLE {name} LOGIN")
    await administer(cluster, f"ALTER DATABASE {name} OWNER TO {name}")
    yield name
    await drop_database(cluster, name)
    await administer(cluster, f"DROP ROLE {name}")


@pytest.fixture
def put(cluster: Cluster, role: str) -> Iterator[Put]:
    """Puts poolers before the server."""
    with ExitStack() as stack:

        def start(**options: tuple[str, ...]) -> Pooler:
            pooler = Pooler.start(cluster, users=(role,), **options)
            stack.callback(pooler.stop)
            return pooler

        yield start


async def equip(cluster: Cluster, pooler: Pooler, role: str) -> None:
    """Do what the hint says."""
    with pytest.raises(ConfigurationError, match="lacks search_path, plan_cache_mode") as told:
        await open_store_at(pooler.dsn(role, role, pgbouncer="true"))
    lines = re.findall(r"ALTER ROLE [^;]*;", told.value.advice)
    assert len(lines) == len(ROLE) + 1  # the schema and the disk that is not waited for, but the isolation is as it is
    for line in lines:
        await administer(cluster, line)
    await pooler.reconnect(role)


@pytest.mark.parametrize("ignored", [(), ASKED])
async def test_one_that_nobody_told_of_is_refused(role: str, put: Put, ignored: tuple[str, ...]) -> None:
    """Whether it refuses what a session is asked for, or takes it and forgets it."""
    with pytest.raises(ConfigurationError) as told:
        await open_store_at(put(ignored=ignored).dsn(role, role))
    assert "pgbouncer=true" in told.value.advice


async def test_one_that_forgets_nothing_that_is_seen_is_found_out_by_its_backends(
    cluster: Cluster, role: str, put: Put
) -> None:
    """The role has all the settings, so only the number of the backend gives it away."""
    pooler = put(ignored=ASKED)
    await equip(cluster, pooler, role)
    with pytest.raises(Unfit, match="pooler"):
        await examine(pooler.dsn(role, role), rules=UNSAFE)


def test_doctor_says_so(role: str, put: Put) -> None:
    (finding,) = check_database(put().dsn(role, role))
    assert "pgbouncer=true" in finding.advice


async def test_a_node_works_through_it(cluster: Cluster, role: str, put: Put, tmp_path: Path) -> None:
    pooler = put()
    await equip(cluster, pooler, role)
    address = pooler.dsn(role, role, pgbouncer="true")
    assert (await examine(address, rules=UNSAFE)).pooled
    house = await House.start(tmp_path, store=await open_store_at(address))
    try:
        endpoint = await house.endpoint(order="fifo")
        events = [await house.publish(data=n, ordering_key=f"k{n % 3}") for n in range(30)]
        await house.settled(30)
        assert (await house.states())[State.DELIVERED] == 30
        assert (await house.delivery(events[0], endpoint)).attempts == 1
        looker = await connect(cluster, role)
        backends = await looker.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", role)
        await looker.close()
        assert 1 <= backends <= BACKENDS
    finally:
        await house.node.stop(drain_seconds=0)


async def test_an_audit_may_take_longer_than_the_role_allows(cluster: Cluster, role: str, put: Put) -> None:
    """What a session would be asked for once is said in each transaction, and is gone with it."""
    pooler = put()
    await equip(cluster, pooler, role)
    store = await open_store_at(pooler.dsn(role, role, pgbouncer="true"))
    asked = ["statement_timeout", "plan_cache_mode", "enable_seqscan", "search_path"]
    try:
        for audit, served in (
            (False, ["1min", "force_custom_plan", "off"]),
            (True, ["15min", "force_custom_plan", "on"]),
        ):
            (row,) = await store._readers.snapshot(lambda t: t.rows("describe_session", asked), audit=audit)
            assert row["values"] == [*served, "posthouse"]
        (row,) = await store._readers.quick("describe_session", asked)
        assert row["values"] == ["30s", "force_generic_plan", "off", "posthouse"]
    finally:
        await store.close()
