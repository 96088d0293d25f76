"""Opening a database: which servers are refused, and what becomes of connections that end."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from posthouse.core.errors import ConfigurationError, StoreIncompatible, StoreUnavailable, UnsafeLibrary
from posthouse.store.open import open_store
from posthouse.store.postgres.dial import PINNED, Answer, Dialler, Session, Unfit, check
from posthouse.store.postgres.dsn import SCHEMA, parse_dsn
from posthouse.store.postgres.migrating import LOCK
from posthouse.store.postgres.server import ServerRules, inspect
from posthouse.store.postgres.store import PostgresStore, open_postgres
from posthouse.testing.manual_clock import ManualClock
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
from posthouse.testing.postgres.waiting import until
from posthouse.testing.postgres.wire import ScriptedWire

DESCRIBED = {
    "version": "15.18",
    "number": 150_018,
    "fsync": "on",
    "full_page_writes": "on",
    "encoding": "UTF8",
    "synchronous_commit": "on",
    "synchronous_commit_given": "on",
    "standbys": "ANY 1 (a, b)",
    "autovacuum": "on",
}
BEGUN = {"standby": False, "read_only": False, "plans": "auto", "search_path": SCHEMA, "pid": 1}
PLACE = parse_dsn("postgresql://app@db/post")


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    name = await make_database(cluster)
    yield name
    await drop_database(cluster, name)


class Described(ScriptedWire):
    def __init__(self, statement: str, **row: Any) -> None:
        super().__init__()
        self.script(statement, [row])


# -- which servers --------------------------------------------------------------------------------


async def test_a_sound_server_has_nothing_to_say() -> None:
    found = await inspect(Described("describe_server", **DESCRIBED), ServerRules())
    assert (found.version, found.warnings) == ("15.18", ())


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("number", 140_012, StoreIncompatible),
        ("encoding", "SQL_ASCII", StoreIncompatible),
        ("fsync", "off", UnsafeLibrary),
        ("full_page_writes", "off", UnsafeLibrary),
    ],
)
async def test_a_server_that_cannot_keep_a_store_is_refused(
    setting: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await inspect(Described("describe_server", **{**DESCRIBED, setting: value}), ServerRules())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        *(({"synchronous_commit": weak}, f"synchronous_commit is {weak}: an") for weak in ("off", "local")),
        ({"synchronous_commit": "remote_write", "synchronous_commit_given": "off"}, "synchronous_commit is remote"),
        ({"synchronous_commit_given": "off"}, "The node's own writes wait"),
        ({"standbys": ""}, "one machine only"),
        ({"autovacuum": "off"}, "grow without bound"),
    ],
)
async def test_what_an_operator_should_know_is_said(fields: dict[str, object], says: str) -> None:
    found = await inspect(Described("describe_server", **{**DESCRIBED, **fields}), ServerRules())
    (warning,) = found.warnings
    assert says in warning


async def test_the_servers_of_tests_are_refused_by_everybody_else(cluster: Cluster, database: str) -> None:
    with pytest.raises(UnsafeLibrary, match="fsync"):
        await open_store(cluster.dsn(database), clock=ManualClock())


@pytest.mark.parametrize(
    ("fields", "why", "unfit"),
    [
        ({"standby": True}, "no writes", False),
        ({"read_only": True}, "no writes", False),
        ({"plans": "force_custom_plan"}, "pooler", True),
        ({"search_path": "public"}, "pooler", True),
        ({"pid": 2}, "pooler", True),
    ],
)
async def test_a_connection_that_cannot_write_as_it_must_is_not_used(
    fields: dict[str, object], why: str, unfit: bool
) -> None:
    """A lost setting is a plan a thousand times slower, or a write into somebody else's tables."""
    wire = Described("begin_session", **{**BEGUN, **fields})
    with pytest.raises(StoreUnavailable, match=why) as told:
        await check(wire, Session(name="test", settings={}), PLACE)
    assert isinstance(told.value, Unfit) is unfit


async def test_a_database_that_takes_no_writes_is_refused(cluster: Cluster, database: str) -> None:
    await administer(cluster, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="takes no writes"):
        await open_store_at(cluster.dsn(database))


@pytest.mark.parametrize(("durability", "setting"), [("full", "on"), ("server", "off")])
async def test_sessions_wait_for_the_disk_where_the_server_would_not(
    cluster: Cluster, database: str, durability: str, setting: str
) -> None:
    """The test's server has synchronous_commit off."""
    place = parse_dsn(cluster.dsn(database, durability=durability))
    wire = await Dialler(place).dial(Session(name="test", settings={}, durable=place.durable))
    rows: Sequence[Any] = (await wire.ask("describe_server", ())).rows
    assert rows[0]["synchronous_commit"] == setting
    await wire.close()


# -- which host -----------------------------------------------------------------------------------


async def test_the_host_that_answers_is_used(cluster: Cluster, database: str, tmp_path: Path) -> None:
    place = parse_dsn(cluster.dsn(database))
    (there,) = place.hosts
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hosts = ((str(tmp_path), 1), ("127.0.0.1", silent.getsockname()[1]), there)
        wire = await Dialler(_with_hosts(place, *hosts)).dial(Session(name="test", settings={}))
        assert isinstance(await wire.ask("has_migrations", ()), Answer)
        await wire.close()


async def test_hosts_that_do_not_answer_are_named(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await open_store_at(f"postgresql:///post?host={tmp_path}&port=7&user=app&password=secret")


async def test_what_is_no_address_is_no_folder_either() -> None:
    with pytest.raises(ConfigurationError):
        await open_store("postgresql://a", clock=ManualClock())


async def test_a_dropped_password_is_not_told(cluster: Cluster) -> None:
    with pytest.raises(ConfigurationError, match="absent") as told:
        await open_store_at(cluster.dsn("absent", password="secret"))
    assert "secret" not in str(told.value) + told.value.advice


# -- connections that end ---------------------------------------------------------------------------


async def test_a_store_outlives_its_connections(cluster: Cluster, database: str) -> None:
    store = await open_store_at(cluster.dsn(database))
    looker = await connect(cluster)
    try:
        for _ in range(2):
            await looker.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
            await until(lambda: writes(store))
            assert (await store.admin.stats()).schema_version >= 1
            assert await store.ownership.owners()
        assert not store.failed.done()
    finally:
        await looker.close()
        await store.close()


async def test_what_was_under_way_is_told_as_it_is(cluster: Cluster, database: str) -> None:
    """A writer that waited for a lock when its connection ended does not know; the next one goes through."""
    store = await open_store_at(cluster.dsn(database))
    blocker = await connect(cluster, database)
    try:
        await blocker.execute(f"BEGIN; LOCK TABLE {SCHEMA}.probe")
        probing = asyncio.ensure_future(store.admin.probe(now=1))
        query = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1"
        await until(lambda: blocker.fetchval(query, database))
        await blocker.execute("SELECT pg_terminate_backend($1)", await blocker.fetchval(query, database))
        with pytest.raises(StoreUnavailable, match="unknown"):
            await probing
        await blocker.execute("COMMIT")
        await store.admin.probe(now=2)
    finally:
        await blocker.close()
        await store.close()


async def test_plans_are_pinned_where_they_are_asked_for_all_the_time(cluster: Cluster, database: str) -> None:
    """Else the statistics of a table that was empty make a plan for one that is not."""
    store = await open_store_at(cluster.dsn(database))
    try:
        for lane in store.lanes:
            (row,) = await lane.single("begin_session", False)
            assert row["plans"] == "force_generic_plan"
    finally:
        await store.close()


async def test_nothing_stays_connected(cluster: Cluster, database: str) -> None:
    store = await open_store_at(cluster.dsn(database))
    await store.admin.stats()
    await store.close()
    looker = await connect(cluster)
    try:
        query = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1)"
        await until(lambda: looker.fetchval(query, database))
    finally:
        await looker.close()


async def test_a_new_database_becomes_a_store(cluster: Cluster) -> None:
    name = await make_database(cluster, template=EMPTY)
    stores = await asyncio.gather(*(open_store_at(cluster.dsn(name)) for _ in range(2)))
    await asyncio.gather(*(store.admin.probe(now=1) for store in stores))
    for store in stores:
        await store.close()
    await drop_database(cluster, name)


async def writes(store: PostgresStore) -> bool:
    with contextlib.suppress(StoreUnavailable):
        await store.admin.probe(now=1)
        return store.alive
    return False


def _with_hosts(place: Any, *hosts: tuple[str, int]) -> Any:
    return type(place)(hosts=hosts, database=place.database, user=place.user)


# -- a database that is not there yet -----------------------------------------------------------------


async def test_a_database_that_does_not_answer_yet_is_waited_for(cluster: Cluster, database: str) -> None:
    """A machine starts its services in any order; what is waited for is said once."""
    await administer(cluster, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with capture_logs() as logs:
        opening = asyncio.ensure_future(
            open_postgres(cluster.dsn(database), clock=ManualClock(), rules=UNSAFE, patience_s=30)
        )
        await until(lambda: bool(logs))
        await administer(cluster, f"ALTER DATABASE {database} RESET default_transaction_read_only")
        store = await opening
    assert [line["event"] for line in logs] == ["store_awaited"]
    assert "takes no writes" in logs[0]["detail"]
    await store.close()


async def test_who_stops_while_it_opens_leaves_nothing_behind(cluster: Cluster, database: str) -> None:
    blocker, looker = await connect(cluster, database), await connect(cluster)
    await blocker.execute(f"BEGIN; SELECT pg_advisory_xact_lock({LOCK})")
    opening = asyncio.ensure_future(open_store_at(cluster.dsn(database)))
    waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = $1)"
    await until(lambda: looker.fetchval(waiting, database))
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await blocker.execute("COMMIT")
    gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'posthouse:%' AND datname = $1)"
    await until(lambda: looker.fetchval(gone, database))
    await blocker.close()
    await looker.close()


async def test_statements_are_prepared_once(cluster: Cluster, database: str) -> None:
    """Parsed and planned each time, they would cost more than what they do."""
    place = parse_dsn(cluster.dsn(database))
    wire = await Dialler(place).dial(Session(name="test", settings=PINNED))
    for _ in range(3):
        await wire.ask("probe", (1, 1))
    (row,) = await wire._connection.fetch(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name LIKE 'probe%'"
    )
    assert tuple(row) == (3, 0)
    wire.forget_statements()
    await wire.ask("probe", (1, 1))
    await wire.close()


async def test_what_is_known_of_the_server_is_shown(cluster: Cluster, database: str) -> None:
    store = await open_store_at(cluster.dsn(database))
    findings = (await store.admin.stats()).findings
    assert findings == store.server.warnings
    assert [finding.split()[0] for finding in findings][:2] == ["fsync", "full_page_writes"]
    await store.close()
