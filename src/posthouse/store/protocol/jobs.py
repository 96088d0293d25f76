"""Bulk jobs."""

from typing import Protocol

import msgspec

from posthouse.core.jobs import Job, JobState
from posthouse.core.model import Environment, Lane
from posthouse.store.protocol.catalogue import Remembered


class JobStep(msgspec.Struct, frozen=True):
    """What one step of a job did."""

    job: Job  #: as it is now
    #: (Endpoint key, lane) of every queue that may have got due work.
    due: tuple[tuple[int, Lane], ...] = ()
    #: (Event key, endpoint key) of what a node must not send as it knows it: discarded, parked or promoted.
    withdrawn: tuple[tuple[int, int], ...] = ()
    exhausted: bool = False  #: there is nothing behind the cursor


class JobsFacet(Protocol):
    """Bulk jobs. A step changes deliveries and the job's own row in one transaction, so counts are exact."""

    async def add(self, job: Job, *, remember: Remembered | None = None) -> None:
        """Store a new job. Raises IdempotencyConflict as ``put_endpoint`` does."""
        ...

    async def job(self, key: int) -> Job | None:
        """One job."""
        ...

    async def jobs(
        self, environment: Environment | None, *, state: JobState | None = None, after: int | None = None, limit: int
    ) -> list[Job]:
        """Jobs, newest first, from the one behind the key ``after`` on. None: of every environment, or state."""
        ...

    async def change(self, job: Job, *, expected: JobState) -> Job | None:
        """Write state, rate, error, times and trail of ``job`` if its stored state is ``expected``; how it is now.

        Counts and cursor stay as they are stored. None: its state is another one, or its trail has lines that ``job``
        does not have; nothing was written.
        """
        ...

    async def count(self, key: int, *, limit: int) -> JobStep | None:
        """Count up to ``limit`` more candidates of a running job; when there are no more, ``total`` is set.

        None: the job is not running, or has counted.
        """
        ...

    async def work(self, key: int, *, limit: int, now: int) -> JobStep | None:
        """Look at the next candidates of a running job, change up to ``limit`` deliveries, and move its cursor.

        While it counts, only those of events that are counted; it is not exhausted then. What changed since it was
        selected is skipped; at the end so is what was counted and is not selected any more. What came to be selected
        since it was counted adds to ``total``. None: the job is not running.
        """
        ...
