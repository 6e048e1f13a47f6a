"""Plan a job without submitting it: what it would do, and all that stands against it; no HTTP here.

Stores nothing and sends nothing. Asks of sources and destination what a submission asks, in the same words, so that the
two cannot come to differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from crossfade_api.dependencies import Adapters
from crossfade_api.submission import probe_id, standing_job
from crossfade_core.errors import CrossfadeError, QueueLimitReached, SinkError
from crossfade_core.job import Job
from crossfade_core.job_store import Throughput
from crossfade_core.keys import Caller
from crossfade_core.ports import Sink
from crossfade_core.spec import MergeSpec
from crossfade_registries.acceptance import find_refusals
from crossfade_registries.layout import SourcedPlan, draft_plan, merge_digest

MAX_NAMED_REFUSALS: Final = 500
"""Of one plan: a pair of two architectures refuses every tensor, and a plan may have 90 000."""


@dataclass(frozen=True)
class DryRun:
    """What a submission would meet at this moment.

    Attributes:
        spec: What would be submitted.
        sourced: Its plan; of no use where an obstacle is PlanRefused.
        job: The one that would answer it, since it makes, or has made, the same.
        obstacles: All that would be refused, in the order in which a submission looks.
        requires_approval: Whether outputs wait at the destination until they are approved.
        scratch_bytes: What its units need on the workers' scratch; None where the destination cannot be opened.
        measured: By jobs before it.
    """

    spec: MergeSpec
    sourced: SourcedPlan
    job: Job | None
    obstacles: tuple[CrossfadeError, ...]
    requires_approval: bool
    scratch_bytes: int | None
    measured: Throughput | None


def dry_run(spec: MergeSpec, caller: Caller, adapters: Adapters) -> DryRun:
    """Plan from headers, and look at all that a submission looks at.

    Raises:
        DestinationNotAllowed: The caller may not publish there.
        SourceError, CheckpointError: The sources cannot be read: nothing can be planned.
        PlanRefused: The tokenizers conflict, the schedule does not decide every tensor, or a format is not read.
        StoreUnavailable: The database is away.
    """
    adapters.check_caller(caller, spec)  # as a submission does, before anything is looked at
    sourced = draft_plan(spec, adapters.open_source, adapters.header_cache, adapters.trust)
    sink, obstacles = _open_sink(spec, adapters)
    refused = sourced.plan.refusal(MAX_NAMED_REFUSALS)
    if refused is not None:
        obstacles.append(refused)
    twin: Job | None = None
    scratch_bytes: int | None = None
    if sink is not None:
        twin, refusals = _ask_sink(sink, spec, sourced, adapters)
        obstacles += refusals
        scratch_bytes = sink.scratch_bytes(sourced.plan.largest_shard_bytes, len(spec.lambdas))
    if twin is None:
        obstacles += _limits(caller, adapters)
    measured = adapters.store.throughput(spec.destination)
    return DryRun(
        spec,
        sourced,
        job=twin,
        obstacles=tuple(obstacles),
        requires_approval=adapters.requires_approval(spec.destination),
        scratch_bytes=scratch_bytes,
        measured=measured,
    )


def _open_sink(spec: MergeSpec, adapters: Adapters) -> tuple[Sink | None, list[CrossfadeError]]:
    try:
        return adapters.open_sink(spec, probe_id()), []
    except SinkError as error:
        return None, [error]


def _ask_sink(
    sink: Sink, spec: MergeSpec, sourced: SourcedPlan, adapters: Adapters
) -> tuple[Job | None, list[SinkError]]:
    """Return the job that would answer the submission; where there is none, what the destination would refuse."""
    try:
        twin = None if sourced.plan.refusals else standing_job(spec, merge_digest(spec, sourced), adapters)
    except SinkError as error:
        return None, [error]
    refusals = find_refusals(sink, spec.output_names(probe_id()), sourced.plan)
    return twin, [] if twin is not None else list(refusals)


def _limits(caller: Caller, adapters: Adapters) -> Iterator[QueueLimitReached]:
    try:
        adapters.store.check_limit(caller.name)
    except QueueLimitReached as error:
        yield error
