"""Approve and reject outputs."""

from typing import Annotated, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from crossfade_api.answers import show_job
from crossfade_api.auth import Approver
from crossfade_api.dependencies import AdaptersDep, ExistingJob
from crossfade_api.problems import documented
from crossfade_api.steering import decide_output
from crossfade_api.views import JobView
from crossfade_core.approval import MAX_REASON_CHARACTERS, Decision
from crossfade_core.job import Approval
from crossfade_core.json_types import UNSEEN
from crossfade_core.spec import MAX_LAMBDAS

router = APIRouter(prefix="/v1/merges", tags=["approvals"])

_REFUSALS: Final = documented(401, 403, 404, 409, 413, 422, 503)
_Reason = Annotated[
    str,
    Field(
        pattern=rf"^[^{UNSEEN} ][^{UNSEEN}]{{0,{MAX_REASON_CHARACTERS - 1}}}$",
        description="Why, in one line; in the events, the audit log and the job.",
        examples=["0.5 beats both parents on the release suite, run 4711"],
    ),
]
_LineageSha256 = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{64}$",
        description="The digest of the output's lineage.json that was looked at; refused (409) if it is another now.",
    ),
]
_Position = Annotated[
    int, Path(ge=0, lt=MAX_LAMBDAS, description="The output's `position`: its place in the job's λ list, from 0 on.")
]


class ApprovalRequest(BaseModel):
    """What an approval says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: _Reason | None = None
    lineage_sha256: _LineageSha256 | None = None


class RejectionRequest(BaseModel):
    """What a rejection says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: _Reason
    lineage_sha256: _LineageSha256 | None = None


@router.post(
    "/{job_id}/outputs/{position}/approve",
    operation_id="approve_output",
    summary="Approve an output",
    responses=_REFUSALS,
)
def approve_output(
    caller: Approver, job: ExistingJob, position: _Position, asked: ApprovalRequest, adapters: AdaptersDep
) -> JobView:
    """Approve a STAGED output, which is then published as it was staged; or mark a PUBLISHED one as approved.

    The same again, with the same reason, changes nothing. An output that is not made yet, has failed or was cancelled
    is refused (409), and so is a decision about another content than `lineage_sha256` says.
    """
    decision = Decision(Approval.APPROVED, caller.name, asked.reason, asked.lineage_sha256)
    return show_job(decide_output(job, position, decision, caller, adapters), adapters)


@router.post(
    "/{job_id}/outputs/{position}/reject",
    operation_id="reject_output",
    summary="Reject an output",
    responses=_REFUSALS,
)
def reject_output(
    caller: Approver, job: ExistingJob, position: _Position, asked: RejectionRequest, adapters: AdaptersDep
) -> JobView:
    """Reject a STAGED output, which is then never published; or mark a PUBLISHED one as rejected.

    A STAGED one fails with `output_rejected`. Of a PUBLISHED one nothing is taken back from the registry: the mark, the
    event and the webhook are for those who release it. Refused as an approval is.
    """
    decision = Decision(Approval.REJECTED, caller.name, asked.reason, asked.lineage_sha256)
    return show_job(decide_output(job, position, decision, caller, adapters), adapters)
