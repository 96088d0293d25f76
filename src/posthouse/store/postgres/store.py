"""The PostgreSQL store as a whole: what its facets share, and in which order it ends."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from posthouse.core.errors import StoreUnavailable
from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.limits import COMMIT_INTERVAL_MS
from posthouse.core.ports import Clock
from posthouse.store.postgres.admin import PostgresAdmin
from posthouse.store.postgres.catalogue import PostgresCatalogue
from posthouse.store.postgres.dial import FREE, LISTS, PINNED, Dialler, Session, Wire
from posthouse.store.postgres.dsn import Dsn, parse_dsn
from posthouse.store.postgres.inbound import PostgresInbound
from posthouse.store.postgres.intake import PostgresIntake
from posthouse.store.postgres.jobs import PostgresJobs
from posthouse.store.postgres.lane import Lane, LaneRules, Lanes
from posthouse.store.postgres.ledger import PostgresLedger
from posthouse.store.postgres.migrating import known_migrations, migrate
from posthouse.store.postgres.ownership import PostgresOwnership
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.server import Server, ServerRules, inspect
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.postgres.work import PostgresWork
from posthouse.store.protocol import (
    AdminFacet,
    CatalogueFacet,
    InboundFacet,
    Intake,
    JobsFacet,
    LedgerFacet,
    Ownership,
    WorkFacet,
)
from posthouse.store.shared.custody import custody_of, prove_here
from posthouse.telemetry import Metrics

NODE: Final = 1  #: the number of the node, as long as there is one
LANES_MAX: Final = 16  #: numbers of connections that a node has

QUICK_MS: Final = 30_000  #: the server ends any short statement after so long
SNAPSHOT_MS: Final = 60_000
AUDIT_MS: Final = 15 * 60_000


class PostgresStore:
    """A store in a database. Made by :func:`open_postgres`; implements ``store.protocol.Store``."""

    def __init__(self, lanes: Lanes, readers: Readers, server: Server) -> None:
        #: Never set: a connection that fails is replaced by another one.
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.server = server  #: what it was when the store was opened
        self.lanes = lanes
        self._readers = readers
        self._closing: asyncio.Task[None] | None = None
        self.intake: Intake = PostgresIntake(lanes, readers)
        self.inbound: InboundFacet = PostgresInbound(lanes, readers)
        self.work: WorkFacet = PostgresWork(lanes, readers)
        self.catalogue: CatalogueFacet = PostgresCatalogue(lanes, readers)
        self.ledger: LedgerFacet = PostgresLedger(lanes, readers)
        self.jobs: JobsFacet = PostgresJobs(lanes, readers)
        self.ownership: Ownership = PostgresOwnership(lanes, readers)
        self.admin: AdminFacet = PostgresAdmin(lanes, readers)

    @property
    def alive(self) -> bool:
        """Whether every kind of write may succeed now."""
        return all(lane.alive for lane in self.lanes)

    async def close(self) -> None:
        """Finish what was submitted, then hang up. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await asyncio.gather(self._readers.close(), *(lane.close() for lane in self.lanes))


async def open_postgres(
    dsn: str,
    *,
    clock: Clock,
    commit_interval_ms: int = COMMIT_INTERVAL_MS,
    metrics: Metrics | None = None,
    reach: Reach = pass_by,
    rules: ServerRules = ServerRules(),  # noqa: B008 - frozen
) -> PostgresStore:
    """Open the store in a database; the first time its tables are made.

    Raises:
        ConfigurationError: The DSN is not one.
        StoreIncompatible: The server or the store there is none for this version.
        StoreMoved: The contents of the store there belong to another one.
        UnsafeLibrary: The server may lose what it acknowledged.
        StoreUnavailable: The database cannot be reached or does not write.
    """
    place = parse_dsn(dsn)
    phone = _Phone(Dialler(place), place)
    wire = await phone.dial("open", {}, statement_timeout="0", lock_timeout="30s")()
    try:
        server = await inspect(wire, rules)
        await migrate(wire, place.schema, known_migrations(), now=clock.now_ms(), reach=reach)
    finally:
        await wire.close()
    readers = Readers(
        quick=phone.dial("quick", PINNED, writes=False, statement_timeout=f"{QUICK_MS}"),
        long=phone.dial("long", LISTS, writes=False, statement_timeout=f"{SNAPSHOT_MS}"),
        audit=phone.dial("audit", FREE, writes=False, statement_timeout=f"{AUDIT_MS}"),
    )
    lanes = _lanes(phone, readers, interval_s=commit_interval_ms / 1_000, metrics=metrics or Metrics(), reach=reach)
    store = PostgresStore(lanes, readers, server)
    try:
        await asyncio.gather(*(lane.open() for lane in lanes))
        await lanes.misc.transact(_join(lanes), Guards(catalogue=True))
        # Only now: who moves the contents elsewhere says so first, and then looks who is connected.
        (custody,) = await readers.quick("custody")
        prove_here(custody_of(tuple(custody)))
    except BaseException:
        await store.close()
        raise
    return store


class _Phone:
    """Dials with the settings of each purpose; all connections of a life are named alike."""

    def __init__(self, dialler: Dialler, place: Dsn) -> None:
        self._dialler = dialler
        self._durable = place.durable
        self._life = secrets.token_hex(4)

    def dial(
        self, purpose: str, plans: Mapping[str, str], *, writes: bool = True, **settings: str
    ) -> Callable[[], Awaitable[Wire]]:
        """How to make a connection for a purpose."""
        given = {"idle_in_transaction_session_timeout": "10s", **plans, **settings}
        name = f"posthouse:{self._life}:{purpose}"
        session = Session(name=name, settings=given, writes=writes, durable=self._durable)

        async def make() -> Wire:
            return await self._dialler.dial(session)

        return make


def _lanes(phone: _Phone, readers: Readers, *, interval_s: float, metrics: Metrics, reach: Reach) -> Lanes:
    async def is_gone(wire: Wire) -> bool:
        with contextlib.suppress(StoreUnavailable):
            (row,) = await readers.quick("is_gone", wire.pid, wire.name)
            return bool(row["gone"])
        return False

    def lane(name: str, number: int, *, deadline_s: float = 10.0, interval_s: float = 0.0) -> Lane:
        dial = phone.dial(name, PINNED, statement_timeout=f"{QUICK_MS}", lock_timeout=f"{round(deadline_s * 600)}")
        number += NODE * LANES_MAX
        rules = LaneRules(name=name, number=number, deadline_s=deadline_s, interval_s=interval_s)
        return Lane(rules, dial, is_gone=is_gone, metrics=metrics, reach=reach)

    return Lanes(
        intake=lane("intake", 0, deadline_s=5.0, interval_s=interval_s),
        settle=lane("settle", 1, interval_s=interval_s),
        inbound=lane("inbound", 2, deadline_s=5.0, interval_s=interval_s),
        misc=lane("misc", 3),
        pulse=lane("pulse", 4),
    )


def _join(lanes: Lanes) -> Callable[[Transaction], Awaitable[None]]:
    async def run(transaction: Transaction) -> None:
        await transaction.rows("join_catalogue", [lane.number for lane in lanes])

    return run
