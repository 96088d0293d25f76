"""The PostgreSQL store as a whole: what its facets share, and in which order it ends."""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from posthouse.core.errors import ConfigurationError, StoreUnavailable
from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.limits import COMMIT_INTERVAL_MS
from posthouse.core.ports import Clock
from posthouse.store.postgres.admin import PostgresAdmin
from posthouse.store.postgres.catalogue import PostgresCatalogue
from posthouse.store.postgres.days import AHEAD
from posthouse.store.postgres.dial import FREE, LISTS, PINNED, Dialler, PostgresWire, Session, Unfit, Wire
from posthouse.store.postgres.dsn import Dsn, parse_dsn
from posthouse.store.postgres.inbound import PostgresInbound
from posthouse.store.postgres.intake import PostgresIntake
from posthouse.store.postgres.jobs import PostgresJobs
from posthouse.store.postgres.lane import Lane, LaneRules, Lanes
from posthouse.store.postgres.ledger import PostgresLedger
from posthouse.store.postgres.migrating import known_migrations, migrate
from posthouse.store.postgres.notices import SETTINGS, Notices
from posthouse.store.postgres.outbox import PostgresOutbox
from posthouse.store.postgres.ownership import PostgresOwnership
from posthouse.store.postgres.presence import Presence
from posthouse.store.postgres.readers import Readers
from posthouse.store.postgres.server import Server, ServerRules, inspect
from posthouse.store.postgres.transact import Guards, Transaction
from posthouse.store.postgres.work import PostgresWork
from posthouse.store.protocol import (
    AdminFacet,
    CatalogueFacet,
    HintsChannel,
    InboundFacet,
    Intake,
    JobsFacet,
    LedgerFacet,
    OutboxSource,
    Ownership,
    WorkFacet,
)
from posthouse.store.shared.custody import custody_of, prove_here
from posthouse.telemetry import Log, Metrics, log

#: Rows of the catalogue's version that are shared out to connections. Two may have the same: then they write that they
#: stand still in one row, and pay a little for it. More rows would cost more at each change.
LANE_ROWS: Final = 32

QUICK_MS: Final = 30_000  #: the server ends any short statement after so long
SNAPSHOT_MS: Final = 60_000
AUDIT_MS: Final = 15 * 60_000

OPENING_S: Final = 60.0  #: a database that is not there yet is waited for so long
SAID_S: Final = 10.0  #: between two lines of the log that say so
PAUSE_S: Final = 0.1  #: before another try; doubles each time
PAUSE_MAX_S: Final = 2.0
GIVEN_UP_S: Final = 60.0  #: what has no answer through a pooler: nobody can see whether it is still under way


class PostgresStore:
    """A store in a database. Made by :func:`open_postgres`; implements ``store.protocol.Store``."""

    def __init__(
        self,
        lanes: Lanes,
        readers: Readers,
        server: Server,
        presence: Presence,
        notices: Notices | None,
        *,
        days_ahead: int = AHEAD,
    ) -> None:
        #: Never set: a connection that fails is replaced by another one.
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.server = server  #: what it was when the store was opened
        self.lanes = lanes
        self._readers = readers
        self._presence = presence
        self._closing: asyncio.Task[None] | None = None
        self.intake: Intake = PostgresIntake(lanes, readers)
        self.inbound: InboundFacet = PostgresInbound(lanes, readers)
        self.work: WorkFacet = PostgresWork(lanes, readers)
        self.catalogue: CatalogueFacet = PostgresCatalogue(lanes, readers)
        self.ledger: LedgerFacet = PostgresLedger(lanes, readers)
        self.jobs: JobsFacet = PostgresJobs(lanes, readers)
        self.ownership: Ownership = PostgresOwnership(lanes, readers)
        self.admin: AdminFacet = PostgresAdmin(lanes, readers, days_ahead=days_ahead)
        self.outbox: OutboxSource | None = PostgresOutbox(lanes, readers)
        self.notices = notices
        self.hints: HintsChannel | None = notices
        self.alone = False

    @property
    def alive(self) -> bool:
        """Whether every kind of write may succeed now."""
        return all(lane.alive for lane in self.lanes)

    def when_back(self, told: Callable[[], None]) -> None:
        """Call ``told`` each time that connections were lost and are there again; see the protocol."""
        self._presence.when_back(told)

    async def close(self) -> None:
        """Finish what was submitted, then hang up. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self.notices is not None:
            await self.notices.close()
        await asyncio.gather(self._readers.close(), *(lane.close() for lane in self.lanes))


async def open_postgres(
    dsn: str,
    *,
    clock: Clock,
    commit_interval_ms: int = COMMIT_INTERVAL_MS,
    metrics: Metrics | None = None,
    reach: Reach = pass_by,
    rules: ServerRules = ServerRules(),  # noqa: B008 - frozen
    patience_s: float = OPENING_S,
    days_ahead: int = AHEAD,
) -> PostgresStore:
    """Open the store in a database; the first time its tables are made.

    A database that cannot be reached, or takes no writes, is waited for; after ``patience_s`` no more.

    Raises:
        ConfigurationError: The DSN is not one, or the database lets its user not in, or does not serve as it must.
        StoreIncompatible: The server or the store there is none for this version.
        StoreMoved: The contents of the store there belong to another one.
        UnsafeLibrary: The server may lose what it acknowledged.
        StoreUnavailable: The database cannot be reached or does not write.
    """
    place = parse_dsn(dsn)
    phone = _Phone(Dialler(place), place)
    wire = await _first(phone.dial("open", {}, statement_timeout="0", lock_timeout="30s"), patience_s)
    preparing = asyncio.ensure_future(_prepare(wire, place, rules, now=clock.now_ms(), reach=reach))
    try:
        server = await asyncio.shield(preparing)
    except asyncio.CancelledError:
        wire.terminate()  # a step that was sent is not cancelled
        await asyncio.wait([preparing])
        raise
    readers = Readers(
        quick=phone.dial("quick", PINNED, writes=False, statement_timeout=f"{QUICK_MS}"),
        long=phone.dial("long", LISTS, writes=False, statement_timeout=f"{SNAPSHOT_MS}"),
        audit=phone.dial("audit", FREE, writes=False, statement_timeout=f"{AUDIT_MS}"),
    )
    presence = Presence(asyncio.get_running_loop().time, reach=reach)
    lanes = _lanes(_Bench(phone, readers, presence, metrics or Metrics(), reach), interval_s=commit_interval_ms / 1_000)
    # A pooler forgets who listens.
    notices = None if place.pooled else Notices(phone.dial_for_hints(), f"posthouse:{place.schema}")
    store = PostgresStore(lanes, readers, server, presence, notices, days_ahead=days_ahead)
    try:
        for lane in lanes:
            await lane.open()
        await lanes.misc.transact(_join(lanes), Guards(catalogue=True))
        # Only now: who moves the contents elsewhere says so first, and then looks who is connected.
        (custody,) = await readers.quick("custody")
        prove_here(custody_of(tuple(custody)))
        await store.admin.make_room(now=clock.now_ms())
    except BaseException:
        await store.close()
        raise
    return store


async def _first(dial: Callable[[], Awaitable[Wire]], patience_s: float) -> Wire:
    """The first connection, when there is one."""
    loop = asyncio.get_running_loop()
    until, say_at, pause_s = loop.time() + patience_s, loop.time(), PAUSE_S
    while True:
        try:
            return await dial()
        except Unfit as error:
            raise ConfigurationError(error.message, hint=error.advice) from error
        except StoreUnavailable as error:
            now = loop.time()
            if now + pause_s > until:
                raise
            if now >= say_at:
                log(Log.STORE_AWAITED, detail=error.message, seconds=round(until - now))
                say_at = now + SAID_S
        # No secret: nodes must not march in step.
        await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


async def _prepare(wire: Wire, place: Dsn, rules: ServerRules, *, now: int, reach: Reach) -> Server:
    """What the server is, once the schema is this version's."""
    try:
        server = await inspect(wire, rules)
        await migrate(wire, place.schema, known_migrations(), now=now, reach=reach)
    finally:
        await wire.close()
    return server


class _Phone:
    """Dials with the settings of each purpose; all connections of a life are named alike."""

    def __init__(self, dialler: Dialler, place: Dsn) -> None:
        self._dialler = dialler
        self._durable = place.durable
        self.pooled = place.pooled
        self._life = secrets.token_hex(4)

    def dial(
        self, purpose: str, plans: Mapping[str, str], *, writes: bool = True, **settings: str
    ) -> Callable[[], Awaitable[Wire]]:
        """How to make a connection for a purpose."""
        given = {"idle_in_transaction_session_timeout": "10s", **plans, **settings}
        return self._dial_as(Session(name=self._name(purpose), settings=given, writes=writes, durable=self._durable))

    def dial_for_hints(self) -> Callable[[], Awaitable[PostgresWire]]:
        """How to make the connection for hints, none of which has to be durable."""
        return self._dial_as(Session(name=self._name("hints"), settings=SETTINGS, durable=False))

    def _name(self, purpose: str) -> str:
        return f"posthouse:{self._life}:{purpose}"

    def _dial_as(self, session: Session) -> Callable[[], Awaitable[PostgresWire]]:
        async def make() -> PostgresWire:
            return await self._dialler.dial(session)

        return make


class _Bench(NamedTuple):
    """What lanes are made with."""

    phone: _Phone
    readers: Readers
    presence: Presence
    metrics: Metrics
    reach: Reach


def _looker(phone: _Phone, readers: Readers) -> Callable[[Wire], Awaitable[bool]]:
    """Who finds out whether what has no answer can have none any more."""
    loop = asyncio.get_running_loop()
    first_look: WeakKeyDictionary[Wire, float] = WeakKeyDictionary()

    async def ask(wire: Wire) -> bool:
        with contextlib.suppress(StoreUnavailable):
            (row,) = await readers.quick("is_gone", wire.pid, wire.name)
            return bool(row["gone"])
        return False

    async def wait(wire: Wire) -> bool:
        return loop.time() - first_look.setdefault(wire, loop.time()) >= GIVEN_UP_S

    return wait if phone.pooled else ask


def _lanes(bench: _Bench, *, interval_s: float) -> Lanes:
    phone = bench.phone
    is_gone = _looker(phone, bench.readers)
    first = secrets.randbelow(LANE_ROWS)

    def lane(name: str, number: int, *, deadline_s: float = 10.0, interval_s: float = 0.0) -> Lane:
        dial = phone.dial(name, PINNED, statement_timeout=f"{QUICK_MS}", lock_timeout=f"{round(deadline_s * 600)}")
        row = 1 + (first + number) % LANE_ROWS
        rules = LaneRules(name=name, number=row, deadline_s=deadline_s, interval_s=interval_s)
        return Lane(rules, dial, is_gone=is_gone, metrics=bench.metrics, presence=bench.presence, reach=bench.reach)

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
