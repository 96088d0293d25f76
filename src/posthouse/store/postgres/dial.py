"""One connection to the database that takes writes, whichever of the hosts it is."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

import asyncpg
import msgspec

from posthouse.core.errors import StoreUnavailable
from posthouse.store.postgres.dsn import Dsn
from posthouse.store.postgres.outcome import NotSent
from posthouse.store.postgres.statements import SQL

DIAL_S: Final = 2.0  #: for each host; they are tried side by side
UNANSWERED_MS: Final = 10_000  #: a connection whose packets nobody confirms for so long is gone
KEEPALIVE_S: Final = 5
CLOSE_S: Final = 2.0
WALKED: Final = 100  #: rows in memory of a query that is read row by row

_TROUBLE: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, StoreUnavailable)

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


class Answer(NamedTuple):
    """What a statement gave."""

    rows: list[asyncpg.Record]
    tag: str


class Wire(Protocol):
    """A connection, in the hands of one user at a time."""

    name: str  #: shown as ``application_name``
    pid: int  #: of the backend that serves it

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

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
        self.name = name
        self._connection = connection
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
            prepared = await self._connection.prepare(SQL[name])
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
            StoreUnavailable: None of them does.
        """
        trying = {asyncio.ensure_future(self._try(place, session)): place for place in self._dsn.hosts}
        failures: list[str] = []
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
                    failures.append(f"{host}:{port}: {str(error) or type(error).__name__}")
        finally:
            for attempt in trying:
                attempt.cancel()
                attempt.add_done_callback(_hang_up)
        raise StoreUnavailable(f"The database cannot be reached ({'; '.join(failures)}).", retry_after_s=1)

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
                server_settings={
                    "application_name": session.name,
                    "search_path": self._dsn.schema,
                    "client_min_messages": "warning",
                    "default_transaction_isolation": "read committed",
                    "jit": "off",
                    **_asked(session),
                },
            )
            try:
                _watch_socket(connection)
                wire = PostgresWire(connection, session.name)
                await check(wire, session, self._dsn.schema)
            except BaseException:
                connection.terminate()
                raise
        return wire


def _asked(session: Session) -> dict[str, str]:
    """The settings of a session. Whether its server may be written to is asked of the server, not of us."""
    return dict(session.settings) if session.writes else {"default_transaction_read_only": "on", **session.settings}


def _hang_up(attempt: "asyncio.Future[PostgresWire]") -> None:
    """A connection that came although nobody wants it any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


async def check(wire: Wire, session: Session, schema: str) -> None:
    """Refuse a server that takes no writes, and one (or a pooler) that forgot how it was asked to serve."""
    (row,) = (await wire.ask("begin_session", (session.durable,))).rows
    if row["standby"] or (row["read_only"] and session.writes):
        raise StoreUnavailable("It takes no writes.")
    wanted = {"search_path": schema, **session.settings}
    if row["plans"] != wanted.get("plan_cache_mode", "auto") or row["search_path"] != schema:
        raise StoreUnavailable("It did not take the settings of the session; is there a pooler in between?")


def _watch_socket(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Notice a peer that vanished without a word, also while nothing is sent."""
    transport: Any = getattr(connection, "_transport", None)
    plain = transport.get_extra_info("socket") if transport is not None else None
    if plain is None or plain.family == socket.AF_UNIX:
        return
    with socket.socket(fileno=socket.dup(plain.fileno())) as wire:  # the loop's own has no options
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_S),
            ("TCP_KEEPCNT", 2),
            ("TCP_USER_TIMEOUT", UNANSWERED_MS),
        ):
            if hasattr(socket, name):  # not every system has each of them
                wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
