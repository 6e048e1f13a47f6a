"""Show jobs as the API answers them: ask the store for what belongs to them. Never changes anything."""

from collections.abc import Sequence

from crossfade_api.dependencies import Adapters
from crossfade_api.views import JobSummaryView, JobView
from crossfade_core.job import Job, Progress


def show_job(job: Job, adapters: Adapters, *, progress: Progress | None = None, is_reused: bool = False) -> JobView:
    """Show one job as it stands.

    Args:
        job: The job.
        adapters: Where the rest is.
        progress: Its progress, where it is known already.
        is_reused: Whether it answers a submission that an earlier one made.

    Raises:
        StoreUnavailable: The database is away.
    """
    store = adapters.store
    return JobView.of(
        job,
        store.list_outputs(job.id),
        progress or store.progress(job.id),
        adapters.clock.now(),
        is_reused=is_reused,
        requires_approval=adapters.requires_approval(job.spec.destination),
    )


def show_jobs(jobs: Sequence[Job], adapters: Adapters) -> list[JobSummaryView]:
    """Show jobs as a list does, in two questions for all of them.

    Raises:
        StoreUnavailable: The database is away.
    """
    ids, now = [job.id for job in jobs], adapters.clock.now()
    outputs, progress = adapters.store.output_summaries(ids), adapters.store.progress_of(ids)
    return [JobSummaryView.of(job, outputs[job.id], progress[job.id], now) for job in jobs]
