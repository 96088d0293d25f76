"""One connection to the database that takes writes, whichever of the hosts it is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

import asyncpg
import msgspec

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres.dsn import Dsn
from posthouse.store.postgres.keepalive import watch_socket
from posthouse.store.postgres.outcome import NotSent
from posthouse.store.postgres.statements import SQL

DIAL_S: Final = 2.0  #: for each host; they are tried side by side
CLOSE_S: Final = 2.0
WALKED: Final = 100  #: rows in memory of a query that is read row by row

_TROUBLE: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, StoreUnavailable)
#: What a server says that lets nobody in, however often it is asked.
_SHUT: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError,
)

#: Plans of statements that are asked all the time: made once, and never turned by statistics of an emptier table.
PINNED: Final[Mapping[str, str]] = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_mergejoin": "off",
}
#: Lists: by the same indexes, and the planner sees the ranges of keys that are asked for.
LISTS: Final[Mapping[str, str]] = {**PINNED, "plan_cache_mode": "force_custom_plan"}
#: Audits: from end to end, as the planner likes.
FREE: Final[Mapping[str, str]] = {"plan_cache_mode": "force_custom_plan"}


#: What the role must have where sessions are a pooler's, so that each transaction has it: pinned plans, bounds on
#: waiting, and the words of ``SHOW``.
ROLE: Final[Mapping[str, str]] = {
    **PINNED,
    "jit": "off",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "3s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "10s",
}
DURABLE: Final = frozenset({"on", "remote_apply"})  #: values of ``synchronous_commit`` that lose nothing


class Unfit(StoreUnavailable):
    """The database is there, and no waiting makes it fit for a store."""


class Answer(NamedTuple):
    """What a statement gave."""

    rows: list[asyncpg.Record]
    tag: str


class Wire(Protocol):
    """A connection, in the hands of one user at a time."""

    name: str  #: shown as ``application_name``
    pid: int  #: of the backend that serves it
    local: str  #: what to say at the begin of a transaction, so that it is served as asked; mostly nothing

    @property
    def lost(self) -> bool:
        """Whether it is gone."""
        ...

    async def ask(self, name: str, args: Sequence[object]) -> Answer:
        """The answer to a named statement. Raises what the driver raises, and NotSent; must not be cancelled."""
        ...

    async def command(self, text: str) -> str:
        """The tag that BEGIN, COMMIT or ROLLBACK is answered with."""
        ...

    def warnings(self) -> list[str]:
        """Notices of severity WARNING since it was asked last."""
        ...

    def forget_statements(self) -> None:
        """Prepare every statement anew: the schema changed."""
        ...

    def when_lost(self, told: Callable[[], None]) -> None:
        """Call ``told`` when the connection ends, for whatever reason."""
        ...

    def terminate(self) -> None:
        """Leave it at once, without asking the server to cancel anything."""
        ...

    async def close(self) -> None:
        """Say good-bye."""
        ...


class Session(msgspec.Struct, frozen=True):
    """What a connection is for, and how the server is to serve it."""

    name: str  #: shown as ``application_name``
    settings: Mapping[str, str]
    writes: bool = True
    durable: bool = True  #: a weaker ``synchronous_commit`` of the server is raised to ``on``


class PostgresWire:
    """A :class:`Wire` of asyncpg."""

    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", name: str, *, pooled: bool = False, local: str = ""
    ) -> None:
        self.name = name
        self.local = local
        self._connection = connection
        self._pooled = pooled
        self._made = 0  # statements
        self._prepared: dict[str, Any] = {}
        self._warnings: list[str] = []
        self.pid: int = connection.get_server_pid()
        connection.add_log_listener(self._note)

    @property
    def lost(self) -> bool:
        """Whether it is gone."""
        return self._connection.is_closed()

    async def ask(self, name: str, args: Sequence[object]) -> Answer:
        """The answer to a named statement."""
        prepared = self._prepared.get(name)
        if prepared is None:
            self._prove_open()
            self._made += 1
            # Without a name it is parsed and planned each time, and does not outlive the transaction of a pooler.
            known_as = None if self._pooled else f"{name}_{self._made}"
            prepared = await self._connection.prepare(SQL[name], name=known_as)
            self._prepared[name] = prepared
        self._prove_open()
        rows = await prepared.fetch(*args)
        return Answer(rows, str(prepared.get_statusmsg()))

    async def command(self, text: str) -> str:
        """The tag that the command is answered with; also a script, then the last one."""
        self._prove_open()
        return await self._connection.execute(text)

    async def copy_out(self, query: str, take: Callable[[bytes], Coroutine[Any, Any, None]]) -> int:
        """Hand the rows of a query to ``take``, as text, piece by piece; how many they were.

        What ``take`` raises ends the connection, and is raised: the server would go on, and the driver wait for it.
        """
        failures: list[Exception] = []

        async def pass_on(piece: bytes) -> None:
            try:
                await take(piece)
            except Exception as error:
                failures.append(error)
                self.terminate()
                raise

        self._prove_open()
        try:
            return _counted(await self._connection.copy_from_query(query, output=pass_on))
        except Exception:
            for failure in failures:
                raise failure from None
            raise

    async def copy_in(self, table: str, columns: Sequence[str], pieces: AsyncIterator[bytes]) -> int:
        """Insert rows that :meth:`copy_out` gave; how many they were."""
        self._prove_open()
        return _counted(await self._connection.copy_to_table(table, source=pieces, columns=list(columns)))

    async def insert(self, table: str, columns: Sequence[str], rows: AsyncIterator[Sequence[object]]) -> int:
        """Insert rows as they come; how many they were."""
        self._prove_open()
        return _counted(await self._connection.copy_records_to_table(table, records=rows, columns=list(columns)))

    async def walk(self, query: str, args: Sequence[object]) -> AsyncIterator[asyncpg.Record]:
        """The rows of a query, a few at a time. Needs a transaction."""
        self._prove_open()
        async for row in self._connection.cursor(query, *args, prefetch=WALKED):
            yield row

    async def fetch(self, query: str, args: Sequence[object]) -> list[asyncpg.Record]:
        """All rows of a query that has no name."""
        self._prove_open()
        return await self._connection.fetch(query, *args)

    def warnings(self) -> list[str]:
        """Notices of severity WARNING since it was asked last."""
        found, self._warnings = self._warnings, []
        return found

    def forget_statements(self) -> None:
        """Prepare every statement anew."""
        self._prepared.clear()

    def when_lost(self, told: Callable[[], None]) -> None:
        """Call ``told`` when the connection ends."""
        self._connection.add_termination_listener(lambda _connection: told())

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Call ``heard`` with each notice on a channel, as long as the connection lasts."""
        self._prove_open()
        await self._connection.add_listener(channel, lambda *notice: heard(str(notice[-1])))

    def terminate(self) -> None:
        """Leave it at once."""
        if not self._connection.is_closed():
            self._connection.terminate()

    async def close(self) -> None:
        """Say good-bye."""
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._connection.close(timeout=CLOSE_S)
        self.terminate()

    def _prove_open(self) -> None:
        """Nothing was sent if this raises: what comes after it is sent in the same turn of the loop."""
        if self._connection.is_closed():
            raise NotSent

    def _note(self, _connection: object, message: Any) -> None:
        if (getattr(message, "severity_en", None) or message.severity) == "WARNING":
            self._warnings.append(str(message))


def _counted(tag: str) -> int:
    """How many rows a COPY was about, by its command tag."""
    return int(tag.rpartition(" ")[2])


class Dialler:
    """Finds the host that takes writes."""

    def __init__(self, dsn: Dsn) -> None:
        self._dsn = dsn

    async def dial(self, session: Session) -> PostgresWire:
        """A new connection to the first host that answers and takes writes; all are asked side by side.

        Raises:
            StoreUnavailable: None of them does. ``Unfit``: none of them ever will, as it is.
        """
        trying = {asyncio.ensure_future(self._try(place, session)): place for place in self._dsn.hosts}
        failures: list[tuple[str, Unfit | None]] = []
        try:
            while trying:
                done, _ = await asyncio.wait(trying, return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    host, port = trying.pop(attempt)
                    error = attempt.exception()
                    if error is None:
                        return attempt.result()
                    if not isinstance(error, _TROUBLE):
                        raise error
                    failures.append((f"{host}:{port}: {_told(error)}", _judged(error)))
        finally:
            for attempt in trying:
                attempt.cancel()
                attempt.add_done_callback(_hang_up)
        said = "; ".join(told for told, _ in failures)
        unfit = [verdict for _, verdict in failures if verdict is not None]
        if len(unfit) == len(failures):
            raise Unfit(f"The database cannot be used ({said}).", hint=unfit[0].advice)
        raise StoreUnavailable(f"The database cannot be reached ({said}).", retry_after_s=1)

    async def _try(self, place: tuple[str, int], session: Session) -> PostgresWire:
        host, port = place
        async with asyncio.timeout(DIAL_S):
            connection = await asyncpg.connect(
                f"postgresql:///?{urlencode(self._dsn.tls)}",
                host=host,
                port=port,
                user=self._dsn.user,
                password=self._dsn.password,
                database=self._dsn.database,
                statement_cache_size=0,
                server_settings=_asked(session, self._dsn),
            )
            try:
                watch_socket(connection)
                local = _local(session) if self._dsn.pooled else ""
                wire = PostgresWire(connection, session.name, pooled=self._dsn.pooled, local=local)
                await check(wire, session, self._dsn)
            except BaseException:
                connection.terminate()
                raise
        return wire


def _asked(session: Session, dsn: Dsn) -> dict[str, str]:
    """The settings of a session. Whether its server may be written to is asked of the server, not of us."""
    named = {"application_name": session.name}
    if dsn.pooled:
        return named
    return {
        **named,
        "search_path": dsn.schema,
        "client_min_messages": "warning",
        "default_transaction_isolation": "read committed",
        "jit": "off",
        **({} if session.writes else {"default_transaction_read_only": "on"}),
        **session.settings,
    }


def _local(session: Session) -> str:
    """What a transaction says in place of a session that a pooler would forget; what the role has is left out."""
    wanted = {**dict.fromkeys(PINNED, "on"), "plan_cache_mode": "auto", **session.settings}
    return "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in wanted.items() if ROLE.get(name) != value)


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _judged(error: BaseException) -> Unfit | None:
    """Whether waiting would not help."""
    if isinstance(error, Unfit):
        return error
    if isinstance(error, _SHUT):
        return Unfit(hint="Correct the address of the database, or let its user in; see docs/postgresql.md.")
    if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error):
        return Unfit(hint=POOLED_HINT)
    return None


def _hang_up(attempt: "asyncio.Future[PostgresWire]") -> None:
    """A connection that came although nobody wants it any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


POOLED_HINT: Final = (
    "Name the server itself and not a pooler such as PgBouncer, or add pgbouncer=true to the address;"
    " docs/postgresql.md says what the role needs then."
)


async def check(wire: Wire, session: Session, dsn: Dsn) -> None:
    """Refuse a server that takes no writes, and one (or a pooler) that forgot how it was asked to serve.

    A pooler makes up the numbers of backends that it tells, so one that nobody said to be there is found out too.
    """
    if dsn.pooled:
        await _check_role(wire, session, dsn)
        return
    (row,) = (await wire.ask("begin_session", (session.durable,))).rows
    if row["standby"] or (row["read_only"] and session.writes):
        raise StoreUnavailable("It takes no writes.")
    wanted = {"search_path": dsn.schema, **session.settings}
    if row["plans"] != wanted.get("plan_cache_mode", "auto") or row["search_path"] != dsn.schema:
        raise Unfit("It did not take the settings of the session: a pooler stands in between.", hint=POOLED_HINT)
    if row["pid"] != wire.pid:
        raise Unfit("A pooler stands in between.", hint=POOLED_HINT)


async def _check_role(wire: Wire, session: Session, dsn: Dsn) -> None:
    """Behind a pooler the role has the settings that a session would be asked for."""
    wanted = {"search_path": dsn.schema, **ROLE}
    (row,) = (await wire.ask("describe_session", (list(wanted),))).rows
    if row["standby"] or row["read_only"]:
        raise StoreUnavailable("It takes no writes.")
    if session.durable and row["durability"] not in DURABLE:
        wanted["synchronous_commit"] = "on"
    found = dict(zip(row["names"], row["values"], strict=True))
    lacks = [name for name, value in wanted.items() if found.get(name) != value]
    if lacks:
        lines = " ".join(
            f'ALTER ROLE "{row["role"]}" IN DATABASE "{row["database"]}" SET {name} = {wanted[name]!r};'
            for name in lacks
        )
        raise Unfit(
            f"Behind a pooler the role must bring its settings with it, and it lacks {', '.join(lacks)}.",
            hint=f"Run, and let the pooler connect anew: {lines}",
        )
