"""The one writer: gathers operations into transactions, and knows when the disk cannot be trusted.

Statements run on the event loop's thread, in short slices with other work between them: on a
thread of their own each row would hand Python's lock over twice, which costs ten times the row.
What can block (waiting for a lock, COMMIT with its fsync, checkpoints) leaves the loop through the
offload, and the connection goes along: it is only ever used from one side at a time.
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

import apsw

from posthouse.core.errors import PosthouseError, StoreUnavailable
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.store.sqlite.connection import FATAL, WAL_PAGES_MAX, BusyPolling
from posthouse.store.sqlite.offload import Offload
from posthouse.telemetry import Metrics

T = TypeVar("T")

#: Part of a transaction. Each ``yield`` says how many rows were written since the last one, and is a
#: place where other work may run; the return value is the result. It may be called again after a rollback.
Steps = Generator[int, None, T]
Operation = Callable[[apsw.Connection], Steps[T]]

SLICE_ROWS: Final = 1_000  #: other work gets its turn at least after so many rows


class _Job(NamedTuple):
    """An operation and who waits for it."""

    operation: Operation[Any]
    future: asyncio.Future[Any]


class Writer:
    """Runs operations in their order, all that wait in one transaction.

    An operation that comes while nothing runs starts after one turn of the loop. Under load
    transactions start at least ``interval_s`` apart, so that each gathers what came meanwhile.
    After any error of a COMMIT or of the disk the writer is broken for good: ``failed`` gets the
    reason, and every write raises :class:`StoreUnavailable`.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        busy: BusyPolling,
        offload: Offload,
        interval_s: float,
        failed: asyncio.Future[str],
        metrics: Metrics,
        reach: Reach = pass_by,
    ) -> None:
        self._connection = connection
        self._busy = busy
        self._offload = offload
        self._interval_s = interval_s
        self._failed = failed
        self._metrics = metrics
        self.reach = reach  #: for the operations too: they are steps of its transactions
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Job] = []
        self._task: asyncio.Task[None] | None = None
        self._gathering: asyncio.Future[None] | None = None  # a pause that can be cut short
        self._next_start = self._loop.time()
        self._refusal: str | None = None  # why nothing can be written any more
        self._closing = False
        self._closed = False
        self._rows = 0  # written since other work had its turn
        self._transaction_rows = 0
        self._wal_pages = 0
        self._checkpoint_at = WAL_PAGES_MAX
        connection.set_wal_hook(self._measure_log)

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Run an operation in the next transaction; the future is done when that is durable.

        If the operation raises, nothing of it is written, and the future raises the same; others
        in its transaction are not touched. Cancelling the future before its transaction starts
        withdraws it; after that the outcome is whatever it is.

        Raises:
            StoreUnavailable: The writer is broken or closed. Also from the future: the disk is
                full, another process holds the lock, or the COMMIT failed.
        """
        if self._refusal is not None:
            raise StoreUnavailable(self._refusal)
        if self._closing:
            raise StoreUnavailable("The store is closed.")
        future: asyncio.Future[T] = self._loop.create_future()
        self._pending.append(_Job(operation, future))
        if self._task is None:
            self._task = self._loop.create_task(self._drain())
        return future

    async def close(self) -> None:
        """Finish what was submitted; then close the connection. Idempotent."""
        self._closing = True
        self._start_now()
        while self._task is not None:
            await asyncio.wait([self._task])
        if self._closed:
            return
        self._closed = True
        await self._offload(self._close_connection)

    # -- one transaction after the other --------------------------------------------------------

    async def _drain(self) -> None:
        try:
            while self._pending:
                await self._pause()
                self._next_start = self._loop.time() + self._interval_s
                jobs, self._pending = self._pending, []
                await self._write([job for job in jobs if not job.future.done()])
                if self._wal_pages >= self._checkpoint_at and self._refusal is None:
                    await self._checkpoint()
        except BaseException as error:
            self._break(error, ())
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None

    async def _pause(self) -> None:
        """Let work gather until the next transaction may start."""
        wait_s = self._next_start - self._loop.time()
        if wait_s > 0 and not self._closing:
            self._gathering = self._loop.create_future()
            timer = self._loop.call_later(wait_s, self._start_now)
            try:
                await self._gathering
            finally:
                timer.cancel()

    def _start_now(self) -> None:
        if self._gathering is not None and not self._gathering.done():
            self._gathering.set_result(None)

    async def _write(self, jobs: Sequence[_Job]) -> None:
        """One transaction for all; if one spoils it, one for each."""
        try:
            error = await self._transact(jobs)
        except BaseException as fatal:
            self._break(fatal, jobs)
            if isinstance(fatal, Exception):
                return
            raise
        if error is None:
            return
        if len(jobs) == 1:
            _fail(jobs, error)
            return
        for i, job in enumerate(jobs):
            if self._refusal is not None:
                self._refuse(jobs[i:])
                return
            await self._write((job,))

    async def _transact(self, jobs: Sequence[_Job]) -> Exception | None:
        """Write all or none. Returns what one of them raised; raises only what is fatal."""
        if not jobs:
            return None
        if not await self._begin():
            _fail(jobs, StoreUnavailable("Another process holds the store's write lock."))
            return None
        self._transaction_rows = 0
        try:
            self.reach(Failpoint.COMMIT_BEGUN)
            results = [await self._run(job.operation) for job in jobs]
        except FATAL:
            raise
        except apsw.FullError as error:
            self._roll_back()
            _fail(jobs, _caused(StoreUnavailable(f"The disk is full: {error}"), error))
            return None
        except apsw.Error as error:
            self._roll_back()
            return _caused(PosthouseError(f"The store refused a write: {error}"), error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the one who submitted it
            self._roll_back()
            return error
        self.reach(Failpoint.COMMIT_DUE)
        started = self._loop.time()
        await self._offload(self._commit)
        self.reach(Failpoint.COMMIT_KNOWN)
        self._metrics.commit_ms.observe((self._loop.time() - started) * 1_000)
        self._metrics.commits += 1
        self._metrics.commit_rows += self._transaction_rows
        for job, result in zip(jobs, results, strict=True):
            if not job.future.done():
                job.future.set_result(result)
        return None

    async def _run(self, operation: Operation[T]) -> T:
        steps = operation(self._connection)
        while True:
            try:
                rows = next(steps)
            except StopIteration as end:
                return cast("T", end.value)
            self._rows += rows
            self._transaction_rows += rows
            if self._rows >= SLICE_ROWS:
                self._rows = 0
                await asyncio.sleep(0)

    async def _begin(self) -> bool:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            try:
                await self._offload(self._begin_patiently)
            except apsw.BusyError:
                return False
        return True

    # -- off the loop ---------------------------------------------------------------------------

    def _begin_patiently(self) -> None:
        self._busy.patient = True
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            self._busy.patient = False

    def _commit(self) -> None:
        self._connection.execute("COMMIT")
        self.reach(Failpoint.COMMIT_DONE)

    def _close_connection(self) -> None:
        if self._refusal is not None:
            # Closing copies the log into the file. On a disk that failed, nothing more is written.
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._connection.close()

    def _measure_log(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    async def _checkpoint(self) -> None:
        """Copy the log into the file as far as readers allow; those waiting have their answers already."""
        self.reach(Failpoint.CHECKPOINT_DUE)
        try:
            pages, copied = await self._offload(self._connection.wal_checkpoint)
        except (apsw.BusyError, apsw.FullError):
            # The log holds everything, and may still grow where the file cannot.
            pages, copied = self._wal_pages, 0
        except Exception as error:  # noqa: BLE001 - an error here is an error of the disk
            self._break(error, ())
            return
        self.reach(Failpoint.CHECKPOINT_DONE)
        # The next commit starts the log anew once everything is copied; a reader in the way gets time.
        self._checkpoint_at = WAL_PAGES_MAX if copied == pages else pages + WAL_PAGES_MAX
        self._wal_pages = 0

    # -- the end --------------------------------------------------------------------------------

    def _roll_back(self) -> None:
        # Some errors make SQLite roll back by itself.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _break(self, error: BaseException, jobs: Sequence[_Job]) -> None:
        if self._refusal is None:
            self._refusal = f"The store failed ({type(error).__name__}: {error}); the process must restart."
            if not self._failed.done():
                self._failed.set_result(self._refusal)
        pending, self._pending = self._pending, []
        self._refuse([*jobs, *pending])

    def _refuse(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            _fail((job,), StoreUnavailable(self._refusal))


def _fail(jobs: Sequence[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(error)


_Error = TypeVar("_Error", bound=Exception)


def _caused(error: _Error, cause: Exception) -> _Error:
    error.__cause__ = cause
    return error
