"""Submit, show, list, cancel and retry merge jobs."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from crossfade_api.answers import show_job, show_jobs
from crossfade_api.auth import Canceller, Reader, Submitter
from crossfade_api.dependencies import AdaptersDep, ExistingJob, NamedJob
from crossfade_api.page_tokens import PageToken, cut_page, read_token
from crossfade_api.problems import documented
from crossfade_api.steering import cancel_job, retry_job
from crossfade_api.submission import submit_once
from crossfade_api.views import JobListView, JobView, LinksView
from crossfade_core.job import JobId, JobState
from crossfade_core.job_store import JobFilter
from crossfade_core.keys import KeyName
from crossfade_core.spec import LABEL_VALUE, MAX_LABELS, DestinationId, MergeSpec, SourceUri

MAX_PAGE = 200
REPLAYED = "Idempotency-Replayed"
_STRING = {"type": "string"}
Label = Annotated[str, StringConstraints(pattern=f"^[A-Za-z0-9][A-Za-z0-9._/-]{{0,62}}={LABEL_VALUE}$")]

router = APIRouter(prefix="/v1/merges", tags=["merges"])


class JobsQuery(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: JobState | None = Field(default=None, description="Only jobs in this state.")
    base: SourceUri | None = Field(default=None, description="Only jobs with this base.")
    instruct: SourceUri | None = Field(default=None, description="Only jobs with this instruct side.")
    destination: DestinationId | None = Field(default=None, description="Only jobs that publish there.")
    submitted_by: KeyName | None = Field(default=None, description="Only jobs that this key submitted.")
    label: Annotated[list[Label], Field(max_length=MAX_LABELS)] = Field(
        default=[], description="Only jobs with this label, `NAME=VALUE`; several times for all of them."
    )
    limit: int = Field(default=50, ge=1, le=MAX_PAGE, description="Jobs on a page.")
    page: PageToken | None = Field(default=None, description="`next` of the page before, with the same filters.")

    @property
    def wanted(self) -> JobFilter:
        """The filter."""
        labels = dict(sorted(text.split("=", 1) for text in self.label))
        return JobFilter(self.state, self.base, self.instruct, self.destination, self.submitted_by, labels)


@router.post(
    "",
    status_code=202,
    operation_id="submit_merge",
    summary="Submit a merge job",
    responses={
        200: {"model": JobView, "description": "An earlier job has made the same, and its outputs stand: that one."},
        202: {
            "description": "Accepted: the job is stored and will be run; or an earlier one makes the same.",
            "headers": {
                "Location": {"description": "Path of the job.", "schema": _STRING},
                REPLAYED: {"description": "`true` where the same request was answered before.", "schema": _STRING},
            },
        },
        **documented(401, 403, 409, 413, 422, 429, 503),
    },
)
def submit_merge(
    spec: MergeSpec,
    response: Response,
    adapters: AdaptersDep,
    caller: Submitter,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Of your choosing, new for each submission; sent again within 24 hours with the same body, it "
            "gets the same job.",
        ),
    ] = None,
) -> JobView:
    """Check a spec against the sources' headers and the destination, and accept it.

    Both sources are opened and planned before the answer, from their headers alone: a pair that does not fit is refused
    here (422, every reason named), as is an output that would meet something at the destination (409).

    The same spec of the same files is computed once: where a job makes the same, or has made it and its outputs still
    stand, that job is the answer, with `reused` true. `fresh` makes it again.

    With an `Idempotency-Key` a request whose answer was lost can be sent again without thought: the same key and body
    get the same job, another body is refused (422), and so is one that is still being answered (409).
    """
    accepted = submit_once(spec, caller, idempotency_key, adapters)
    response.headers["Location"] = LinksView.of(accepted.job).self
    if accepted.is_replayed:
        response.headers[REPLAYED] = "true"
    elif accepted.is_reused and accepted.job.state is JobState.SUCCEEDED:
        response.status_code = 200
    return show_job(accepted.job, adapters, is_reused=accepted.is_reused)


@router.get(
    "/{job_id}",
    operation_id="get_merge",
    summary="Show one job",
    response_model=JobView,
    responses={
        200: {"headers": {"ETag": {"description": "Changes when the job does.", "schema": _STRING}}},
        304: {"description": "It has not changed since it had the ETag of `If-None-Match`."},
        **documented(401, 403, 404, 503),
    },
)
def get_merge(
    _: Reader,
    job_id: NamedJob,
    response: Response,
    adapters: AdaptersDep,
    if_none_match: Annotated[
        str | None, Header(description="The ETag of an earlier answer, for cheap polling.")
    ] = None,
) -> JobView | Response:
    """Show a job with its progress and its outputs, each with its files and their SHA-256 once published.

    Rate and time left move with the clock; the ETag does not.
    """
    job, progress = adapters.store.get_job(job_id), adapters.store.progress(job_id)
    tag = f'W/"{job.updated_at.timestamp():.6f}-{progress.bytes_done}"'
    if tag in [known.strip() for known in (if_none_match or "").split(",")]:
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return show_job(job, adapters, progress=progress)


@router.get("", operation_id="list_merges", summary="List jobs", responses=documented(401, 403, 422, 503))
def list_merges(_: Reader, adapters: AdaptersDep, asked: Annotated[JobsQuery, Query()]) -> JobListView:
    """List jobs, newest first."""
    after = read_token(asked.page, asked.wanted)
    jobs = adapters.store.list_jobs(asked.wanted, limit=asked.limit + 1, before=None if after is None else JobId(after))
    page, following = cut_page(jobs, asked.limit, asked.wanted)
    return JobListView(items=show_jobs(page, adapters), next=following)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    operation_id="cancel_merge",
    summary="Cancel a job",
    responses=documented(401, 403, 404, 409, 503),
)
def cancel_merge(caller: Canceller, job: ExistingJob, adapters: AdaptersDep) -> JobView:
    """Cancel a job: a queued one at once, a running one as soon as its workers notice (state CANCELLING until then).

    Cancelling again while it is CANCELLING is no error; a job that has ended refuses (409). Outputs that are published
    stay; no other of its outputs is published.
    """
    return show_job(cancel_job(job, caller, adapters), adapters)


@router.post(
    "/{job_id}/retry",
    status_code=202,
    operation_id="retry_merge",
    summary="Retry a failed job",
    responses=documented(401, 403, 404, 409, 429, 503),
)
def retry_merge(caller: Submitter, job: ExistingJob, adapters: AdaptersDep) -> JobView:
    """Queue a job again that FAILED or PARTIALLY_SUCCEEDED, under its own id; what it has published stays.

    Until `staged_until` its finished units are kept; afterwards they are made again. A job in another state refuses
    (409). Its deadline begins anew.
    """
    return show_job(retry_job(job, caller, adapters), adapters)
