"""What the API takes about bulk jobs."""

from typing import Literal

from pydantic import ConfigDict, Field

from posthouse.api.requests import Body, PageQuery, Status, Time, time_of
from posthouse.core import limits
from posthouse.core.delivery import State
from posthouse.core.jobs import JobKind, JobMode
from posthouse.gateway.job_input import JobSpec

JobStatus = Literal["running", "paused", "completed", "cancelled", "failed"]
_RATE = "Deliveries that it changes at most, such as `500/s` or `1000/m`; null: as fast as others allow."


class JobsQuery(PageQuery):
    """Which jobs."""

    state: JobStatus | None = None


class JobFilterBody(Body):
    """Which deliveries; all conditions hold together, and one that is left out leaves nothing out."""

    tenant: str | None = None
    endpoint: str | None = Field(default=None, description="Id of an endpoint.")
    source: str | None = Field(default=None, description="Id of a source: of events that came in through it.")
    event: str | None = Field(default=None, description="Id of an event.")
    types: list[str] = Field(
        default=[], description="Event types, prefixes such as `order.*`, or `*`.", max_length=limits.PATTERNS_MAX
    )
    states: list[Status] = Field(default=[], description="Deliveries that stand so; empty: all that the kind takes.")
    reasons: list[str] = Field(
        default=[],
        description="Of exhausted and discarded ones, such as `attempts_spent`.",
        max_length=limits.JOB_REASONS_MAX,
    )
    ordering_key: str | None = None
    since: Time = Field(default=None, description="Of events that were accepted at or after this time.")
    until: Time = Field(default=None, description="Of events that were accepted before this time.")
    older_than: str | None = Field(
        default=None,
        description="Of events that occurred before: an age such as `90s`, `5m`, `12h`, `3d`, or an RFC 3339 time.",
        examples=["3d"],
    )


class JobBody(Body):
    """A new bulk job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "retry", "filter": {"states": ["exhausted"], "since": "2026-11-20T00:00:00Z"}},
                {"kind": "replay", "filter": {"types": ["order.*"]}, "mode": "latest", "rate": "500/s"},
                {"kind": "park", "filter": {"older_than": "5m"}, "dry_run": True},
                {"kind": "cancel", "all": True, "dry_run": True},
            ]
        }
    )

    kind: JobKind = Field(
        strict=False,
        description="`retry`: open exhausted and discarded ones again, and make open ones due. `replay`: open settled "
        "ones again, delivered ones too. `cancel`: discard open ones. `park`: put open ones aside. `drain`: let parked "
        "ones go on. `promote`: send open ones as if they were fresh.",
    )
    filter: JobFilterBody = JobFilterBody()
    mode: JobMode = Field(
        default=JobMode.ALL,
        strict=False,
        description="`latest`: of each ordering key only the newest event that the endpoint is owed.",
    )
    dry_run: bool = Field(default=False, description="true: counts what it would do, and does nothing.")
    rate: str | None = Field(default=None, description=_RATE)
    all: bool = Field(default=False, description="A filter without any condition needs true.")

    def spec(self) -> JobSpec:
        """The same in the gateway's words. Raises InvalidInput for a time that is none."""
        wanted = self.filter
        return JobSpec(
            kind=self.kind,
            tenant=wanted.tenant,
            endpoint_id=wanted.endpoint,
            source_id=wanted.source,
            event_id=wanted.event,
            types=tuple(wanted.types),
            states=tuple(State(state) for state in wanted.states),
            reasons=tuple(wanted.reasons),
            ordering_key=wanted.ordering_key,
            since=time_of("filter.since", wanted.since),
            until=time_of("filter.until", wanted.until),
            older_than=wanted.older_than,
            mode=self.mode,
            dry_run=self.dry_run,
            rate=self.rate,
            everything=self.all,
        )


class JobChangeBody(Body):
    """What is to change about a job."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rate": "100/s"}]})

    rate: str | None = Field(description=_RATE)
