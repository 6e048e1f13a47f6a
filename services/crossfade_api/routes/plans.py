"""Plan a job without submitting it."""

from fastapi import APIRouter

from crossfade_api.auth import Submitter
from crossfade_api.dependencies import AdaptersDep
from crossfade_api.plan_views import PlanReport
from crossfade_api.planning import dry_run
from crossfade_api.problems import documented
from crossfade_core.spec import MergeSpec

router = APIRouter(prefix="/v1/plans", tags=["plans"])


@router.post(
    "",
    operation_id="plan_merge",
    summary="Plan a merge job without submitting it",
    responses=documented(401, 403, 409, 413, 422, 503),
)
def plan_merge(spec: MergeSpec, adapters: AdaptersDep, caller: Submitter) -> PlanReport:
    """Say what a submission of this spec would do and cost, and everything it would be refused for.

    The sources are opened and planned from their headers, as for a submission; what was read of a commit or of files
    that have not changed is not read again. Nothing is stored, and no message is sent.

    A plan that would be refused is an answer too, with its `obstacles`: tensors that cannot be merged, outputs that
    exist, too little scratch, a destination that refuses or is away, the key's limit. Where nothing can be planned,
    since a source cannot be read or is malformed, the tokenizers conflict, the schedule leaves a tensor out, or the
    destination is not for the caller, the problem is a submission's.
    """
    return PlanReport.of(dry_run(spec, caller, adapters))
