"""Submit, show, list and cancel merge jobs."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from crossfade_api.dependencies import JOB_ID_PATTERN, Adapters, AdaptersDep, ExistingJob
from crossfade_api.problems import documented
from crossfade_api.submission import cancel_job, submit_job
from crossfade_api.views import JobListView, JobView, LinksView
from crossfade_core.job import Job, JobId, JobState
from crossfade_core.spec import MergeSpec

MAX_PAGE = 200

router = APIRouter(prefix="/v1/merges", tags=["merges"])


@router.post(
    "",
    status_code=202,
    operation_id="submit_merge",
    summary="Submit a merge job",
    responses={
        202: {
            "description": "Accepted: the job is stored and will be run.",
            "headers": {"Location": {"description": "Path of the job.", "schema": {"type": "string"}}},
        },
        **documented(401, 409, 413, 422, 503),
    },
)
def submit_merge(spec: MergeSpec, response: Response, adapters: AdaptersDep) -> JobView:
    """Check a spec against the sources' headers and the destination, and accept it.

    Both sources are opened and planned before the answer, from their headers alone: a pair that does not fit is refused
    here (422, every reason named), as is an output that would meet something at the destination (409).
    """
    job = submit_job(spec, adapters)
    response.headers["Location"] = LinksView.of(job).self
    return _show(job, adapters)


@router.get("/{job_id}", operation_id="get_merge", summary="Show one job", responses=documented(401, 404, 503))
def get_merge(job: ExistingJob, adapters: AdaptersDep) -> JobView:
    """Show a job with its progress and its outputs, each with its files and their SHA-256 once published."""
    return _show(job, adapters)


@router.get("", operation_id="list_merges", summary="List jobs", responses=documented(401, 422, 503))
def list_merges(
    adapters: AdaptersDep,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Jobs on a page.")] = 50,
    before: Annotated[
        str | None, Query(pattern=JOB_ID_PATTERN, description="Only jobs older than this id; `next` of a page.")
    ] = None,
) -> JobListView:
    """List jobs, newest first."""
    older_than = None if before is None else JobId(before)
    jobs = adapters.store.list_jobs(state=state, limit=limit + 1, before=older_than)
    page = jobs[:limit]
    return JobListView(items=[_show(job, adapters) for job in page], next=page[-1].id if len(jobs) > limit else None)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    operation_id="cancel_merge",
    summary="Cancel a job",
    responses=documented(401, 404, 409, 503),
)
def cancel_merge(job: ExistingJob, adapters: AdaptersDep) -> JobView:
    """Cancel a job: a queued one at once, a running one as soon as its workers notice (state CANCELLING until then).

    Cancelling again while it is CANCELLING is no error; a job that has ended refuses (409). Nothing of it is published.
    """
    return _show(cancel_job(job, adapters), adapters)


def _show(job: Job, adapters: Adapters) -> JobView:
    store = adapters.store
    return JobView.of(job, store.list_outputs(job.id), store.progress(job.id), adapters.clock.now())
