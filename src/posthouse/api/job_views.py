"""What the API answers about bulk jobs."""

from typing import Literal, Self

from pydantic import Field

from posthouse.api.views import Timestamp, View, time_text
from posthouse.core.envelope import rfc3339
from posthouse.core.ids import ENDPOINT, EVENT, JOB, SOURCE, make_id
from posthouse.core.jobs import Job, JobFilter, JobKind, JobMode, JobPhase, JobState
from posthouse.gateway.jobs import JobDetail

_ETA_SECONDS_MAX = 10 * 365 * 86_400.0  #: further ahead nothing is told


class JobFilterView(View):
    """Which deliveries a job selects; null or empty: no condition."""

    tenant: str | None
    endpoint: str | None
    source: str | None
    event: str | None = Field(description="`evt_…`, whatever id the publisher gave it.")
    types: list[str]
    states: list[Literal["waiting", "retrying", "delivered", "exhausted", "discarded"]]
    reasons: list[str]
    ordering_key: str | None
    since: Timestamp | None
    until: Timestamp | None
    older_than: Timestamp | None

    @classmethod
    def of(cls, wanted: JobFilter) -> Self:
        """The view of ``wanted``."""
        return cls(
            tenant=wanted.tenant,
            endpoint=None if wanted.endpoint_key is None else make_id(ENDPOINT, wanted.endpoint_key),
            source=None if wanted.source_key is None else make_id(SOURCE, wanted.source_key),
            event=None if wanted.event_key is None else make_id(EVENT, wanted.event_key),
            types=list(wanted.types),
            states=[state.value for state in wanted.states],
            reasons=list(wanted.reasons),
            ordering_key=wanted.ordering_key,
            since=time_text(wanted.since),
            until=time_text(wanted.until),
            older_than=time_text(wanted.older_than),
        )


class JobEntryView(View):
    """One line of a job's audit trail."""

    at: Timestamp
    by: str = Field(description="Name of the API key, or `posthouse`.")
    what: str = Field(examples=["created", "pause", "resume", "cancel", "complete", "fail", "rate 100/s"])


class JobProgressView(View):
    """How far a job is."""

    phase: JobPhase
    processed: int = Field(description="Deliveries: while it counts, those counted; then those changed or skipped.")
    share: float | None = Field(description="Of `total`, 0 to 1; null: still counting.")
    per_second: float | None = Field(description="Deliveries it goes through at present.")
    eta_seconds: float | None = Field(description="Until it has looked at everything; null: not known.")


class JobView(View):
    """A bulk job."""

    id: str
    kind: JobKind
    state: JobState
    filter: JobFilterView
    mode: JobMode
    dry_run: bool
    rate: str | None
    total: int | None = Field(description="Deliveries that the filter selects; null: still counting.")
    counted: int
    done: int = Field(description="Deliveries that it changed, or in a dry run would change.")
    skipped: int = Field(description="Deliveries that it selected and did not change: it did not apply to them.")
    progress: JobProgressView
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    error: str | None = Field(description="Why it failed.")
    trail: list[JobEntryView]

    @classmethod
    def of(cls, detail: JobDetail) -> Self:
        """The view of ``detail``."""
        job, progress = detail.job, detail.progress
        eta = progress.eta_seconds
        return cls(
            id=make_id(JOB, job.key),
            kind=job.kind,
            state=job.state,
            filter=JobFilterView.of(job.filter),
            mode=job.mode,
            dry_run=job.dry_run,
            rate=job.rate,
            total=job.total,
            counted=job.counted,
            done=job.done,
            skipped=job.skipped,
            progress=JobProgressView(
                phase=progress.phase,
                processed=progress.processed,
                share=progress.share,
                per_second=None if progress.per_second is None else round(progress.per_second, 1),
                eta_seconds=None if eta is None or eta > _ETA_SECONDS_MAX else round(eta, 1),
            ),
            created_at=rfc3339(job.created_at),
            started_at=time_text(job.started_at),
            finished_at=time_text(job.finished_at),
            error=job.error,
            trail=_trail(job),
        )


def _trail(job: Job) -> list[JobEntryView]:
    return [JobEntryView(at=rfc3339(entry.at), by=entry.by, what=entry.what) for entry in job.trail]
