"""Which requests, entries of the quarantine and incidents are meant."""

from typing import Literal

from pydantic import ConfigDict, Field

from posthouse.api.requests import Body, PageQuery, Time
from posthouse.core import limits

ObjectionName = Literal["bad_signature", "no_secret", "key_unavailable", "unreadable", "type_contradiction"]
IncidentName = Literal["source_silent", "sequence_gap", "dedupe_unavailable", "quarantine_full"]
VerdictName = Literal["genuine", "unproven", "pending", "refused"]


class SourceFilterQuery(PageQuery):
    """Of which source."""

    source: str | None = Field(default=None, description="Id of a source.")
    tenant: str | None = None


class RequestsQuery(SourceFilterQuery):
    """Which requests."""

    verdict: VerdictName | None = None
    since: Time = Field(default=None, description="That came at or after this time.")
    until: Time = Field(default=None, description="That came before this time.")


class QuarantineListQuery(SourceFilterQuery):
    """Which entries of the quarantine."""

    objection: ObjectionName | None = None
    resolved: bool = Field(default=False, description="true: those that left it.")


class IncidentsQuery(SourceFilterQuery):
    """Which incidents."""

    kind: IncidentName | None = None
    open: bool | None = Field(default=None, description="true: only those that are not over. false: only the others.")


class StepBody(Body):
    """How far one call goes."""

    dry_run: bool = Field(default=False, description="true: only count.")
    limit: int = Field(
        default=limits.QUARANTINE_STEP_MAX,
        ge=1,
        le=limits.QUARANTINE_STEP_MAX,
        description="How many entries this call looks at, at most.",
    )
    cursor: str | None = Field(default=None, description="`next_cursor` of the call before.")


class ReverifyBody(StepBody):
    """How far to look again at what was refused."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"dry_run": True, "limit": 100}]})


class ResolveBody(StepBody):
    """Entries of the quarantine: these very ones, or all that have something in common, oldest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"ids": ["qua_03k9w4q2m80000000"]},
                {"objections": ["unreadable", "type_contradiction"], "dry_run": True, "limit": 500},
            ]
        }
    )

    ids: list[str] | None = Field(default=None, description="Of entries; nothing else but `dry_run` may be there then.")
    source: str | None = Field(default=None, description="Id of a source.")
    objections: list[ObjectionName] = Field(default=[], description="Empty: any, of the source that is named then.")
