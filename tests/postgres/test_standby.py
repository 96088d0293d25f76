"""A server that keeps what it acknowledges, and waits for a standby that is not there."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import asyncpg
import msgspec
import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.store.open import open_store
from posthouse.store.postgres.dial import Dialler, Session
from posthouse.store.postgres.dsn import parse_dsn
from posthouse.store.postgres.keepalive import UNANSWERED_MS
from posthouse.store.postgres.outcome import OutcomeUnknown
from posthouse.store.postgres.store import PostgresStore
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import EMPTY, connect, drop_database, make_database
from posthouse.testing.postgres.replication import free_ports
from posthouse.testing.postgres.waiting import until
from posthouse.testing.seizing import seize

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def primary() -> Iterator[Cluster]:
    (port,) = free_ports(1)
    primary = Cluster.start(
        durable=True, wal_level="replica", max_wal_senders="4", listen_addresses="127.0.0.1", port=str(port)
    )
    yield primary
    primary.stop()


@pytest.fixture
async def store(primary: Cluster) -> AsyncIterator[PostgresStore]:
    """Through the front door: this server is good enough for everybody."""
    name = await make_database(primary, template=EMPTY)
    store = await open_store(primary.dsn(name), clock=ManualClock(), commit_interval_ms=0)
    assert isinstance(store, PostgresStore)
    for lane in store.lanes:
        lane.rules = msgspec.structs.replace(lane.rules, deadline_s=0.3)
    yield store
    await wait_for_standby(primary, "")
    await store.close()
    await drop_database(primary, name)


async def wait_for_standby(primary: Cluster, name: str) -> None:
    looker = await connect(primary)
    await looker.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    await looker.execute("SELECT pg_reload_conf()")
    query = "SELECT current_setting('synchronous_standby_names') = $1"
    await until(lambda: looker.fetchval(query, name))
    if not name:
        await until(lambda: looker.fetchval(f"SELECT NOT EXISTS ({WAITING})"))
    await looker.close()


async def who_waits(looker: "asyncpg.Connection[asyncpg.Record]") -> int:
    await until(lambda: looker.fetchval(WAITING))
    pid: int = await looker.fetchval(WAITING)
    return pid


async def nothing(_transaction: Transaction) -> None:
    """Write nothing."""


async def test_without_a_standby_nothing_is_acknowledged_and_nobody_queues(
    primary: Cluster, store: PostgresStore
) -> None:
    await store.admin.probe(now=1)
    await wait_for_standby(primary, "absent")
    with pytest.raises(OutcomeUnknown):
        await store.admin.probe(now=2)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await store.admin.probe(now=3)
    looker = await connect(primary)
    assert len(await looker.fetch(WAITING)) == 1
    await looker.close()
    assert (await store.admin.stats()).schema_version >= 1
    await wait_for_standby(primary, "")
    await until(lambda: store.lanes.pulse.alive)
    await store.admin.probe(now=4)


async def test_a_transaction_that_only_locks_waits_like_a_write(primary: Cluster, store: PostgresStore) -> None:
    """So an answer to a repeated request is as durable as the first would have been."""
    await wait_for_standby(primary, "absent")
    with pytest.raises(OutcomeUnknown):
        await store.lanes.intake.transact(nothing, Guards(catalogue=False))
    await store.lanes.settle.transact(nothing)


@pytest.mark.parametrize(("function", "lost"), [("pg_cancel_backend", False), ("pg_terminate_backend", True)])
async def test_a_wait_that_is_cut_short_is_no_acknowledgement(
    primary: Cluster, store: PostgresStore, function: str, lost: bool
) -> None:
    store.lanes.pulse.rules = msgspec.structs.replace(store.lanes.pulse.rules, deadline_s=5.0)
    looker = await connect(primary)
    await wait_for_standby(primary, "absent")
    probing = asyncio.ensure_future(store.admin.probe(now=2))
    await looker.execute(f"SELECT {function}($1)", await who_waits(looker))
    with pytest.raises(OutcomeUnknown):
        await probing
    await looker.close()
    await wait_for_standby(primary, "")
    await until(lambda: store.lanes.pulse.alive)
    await store.admin.probe(now=3)


async def test_nobody_is_told_what_it_owns_by_a_server_that_nothing_copies(
    primary: Cluster, store: PostgresStore
) -> None:
    """It may be one that all others have left, and whose slots they have shared out anew."""
    held = await seize(store.ownership, "me", now=1)
    assert await store.ownership.acquire("me") == held
    await wait_for_standby(primary, "absent")
    with pytest.raises(OutcomeUnknown):
        await store.ownership.acquire("me")


async def test_who_does_not_wait_any_longer_cancels_nothing(primary: Cluster, store: PostgresStore) -> None:
    await wait_for_standby(primary, "absent")
    looker = await connect(primary)
    probing = asyncio.ensure_future(store.admin.probe(now=2))
    pid = await who_waits(looker)
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    await until(lambda: not store.lanes.pulse.alive)
    assert await who_waits(looker) == pid
    await looker.close()


async def test_a_stalled_lane_leaves_a_backend_that_ended(primary: Cluster, store: PostgresStore) -> None:
    await wait_for_standby(primary, "absent")
    with pytest.raises(OutcomeUnknown):
        await store.admin.probe(now=2)
    looker = await connect(primary)
    await looker.execute("SELECT pg_terminate_backend($1)", await who_waits(looker))
    await looker.close()
    await until(lambda: store.lanes.pulse.alive)


async def test_a_store_outlives_a_crash_of_its_server(primary: Cluster, store: PostgresStore) -> None:
    await seize(store.ownership, "me", now=1)
    primary.crash()
    with pytest.raises(StoreUnavailable):
        await store.admin.probe(now=2)
    with pytest.raises(StoreUnavailable):
        await store.admin.stats()
    primary.begin()
    await until(lambda: store.alive, within_s=10)
    await store.admin.probe(now=3)
    assert {owner for owner, _epoch, _until in (await store.ownership.owners()).values()} == {"me"}
    assert not store.failed.done()


async def test_closing_leaves_what_is_under_way_to_the_server(primary: Cluster, store: PostgresStore) -> None:
    await wait_for_standby(primary, "absent")
    with pytest.raises(OutcomeUnknown):
        await store.admin.probe(now=2)
    async with asyncio.timeout(5):
        await store.close()


async def test_a_vanished_peer_is_noticed(primary: Cluster) -> None:
    """Also by whoever sends nothing."""
    place = parse_dsn(f"postgresql://postgres@127.0.0.1:{primary.port}/postgres?schema=public")
    wire = await Dialler(place).dial(Session(name="test", settings={}))
    wired: socket.socket = wire._connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    assert wired.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert wired.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNANSWERED_MS
    await wire.close()
