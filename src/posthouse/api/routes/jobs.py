"""``/v1/jobs``."""

from typing import Annotated

from fastapi import APIRouter, Query

from posthouse.api.cursors import decode_key, encode_keys
from posthouse.api.job_requests import JobBody, JobChangeBody, JobsQuery
from posthouse.api.job_views import JobView
from posthouse.api.routes.caller import Caller, IdempotencyKey
from posthouse.api.views import Page, page
from posthouse.core.jobs import JobState
from posthouse.gateway.jobs import Jobs

_CURSOR = "j"


def job_routes(jobs: Jobs) -> APIRouter:
    """The routes of bulk jobs."""
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @routes.post("", status_code=201, summary="Change every delivery that a filter selects")
    async def create_job(caller: Caller, body: JobBody, idempotency_key: IdempotencyKey = None) -> JobView:
        return JobView.of(await jobs.create(caller, body.spec(), idempotency_key=idempotency_key))

    @routes.get("", summary="List bulk jobs, newest first")
    async def list_jobs(caller: Caller, query: Annotated[JobsQuery, Query()]) -> Page[JobView]:
        found = await jobs.page(
            caller.environment,
            state=None if query.state is None else JobState(query.state),
            after=decode_key(_CURSOR, query.cursor),
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        cursor = encode_keys(_CURSOR, shown[-1].job.key) if len(found) > query.limit else None
        return page([JobView.of(detail) for detail in shown], cursor)

    @routes.get("/{job_id}", summary="Show a bulk job and how far it is")
    async def get_job(caller: Caller, job_id: str) -> JobView:
        return JobView.of(await jobs.get(caller.environment, job_id))

    @routes.patch("/{job_id}", summary="Change how fast a bulk job may be")
    async def update_job(caller: Caller, job_id: str, body: JobChangeBody) -> JobView:
        return JobView.of(await jobs.set_rate(caller, job_id, body.rate))

    @routes.post("/{job_id}/pause", summary="Hold a bulk job where it is")
    async def pause_job(caller: Caller, job_id: str, idempotency_key: IdempotencyKey = None) -> JobView:
        del idempotency_key  # pausing twice is pausing once
        return JobView.of(await jobs.pause(caller, job_id))

    @routes.post("/{job_id}/resume", summary="Let a bulk job go on where it was")
    async def resume_job(caller: Caller, job_id: str, idempotency_key: IdempotencyKey = None) -> JobView:
        del idempotency_key  # resuming twice is resuming once
        return JobView.of(await jobs.resume(caller, job_id))

    @routes.post("/{job_id}/cancel", summary="End a bulk job; what it has done stays done")
    async def cancel_job(caller: Caller, job_id: str, idempotency_key: IdempotencyKey = None) -> JobView:
        del idempotency_key  # cancelling twice is cancelling once
        return JobView.of(await jobs.cancel(caller, job_id))

    return routes
