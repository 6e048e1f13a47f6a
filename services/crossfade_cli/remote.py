"""The commands that talk to a service about its jobs: submit, watch, list, show, cancel, retry."""

from collections.abc import Mapping, Sequence

import typer

from crossfade_cli.client import Client
from crossfade_cli.printing import print_json, print_line, print_warnings
from crossfade_cli.progress import open_progress
from crossfade_cli.tables import print_job, print_jobs, print_outputs, rows_of_job
from crossfade_cli.views import JobView
from crossfade_cli.watch import Watch
from crossfade_core.errors import Reported
from crossfade_core.job import JobState

_CANCELS = (JobState.CANCELLED, JobState.CANCELLING)


def submit(
    client: Client, spec: Mapping[str, object], *, idempotency_key: str | None, is_watched: bool, as_json: bool
) -> None:
    """Submit a job and say its id, or follow it to its end.

    Raises:
        CrossfadeError: The service is away or refused, or the watched job did not succeed.
    """
    job = client.submit(spec, idempotency_key)
    told = "makes the same already; --fresh makes it again" if job.reused else "submitted"
    _follow(client, job, told, is_watched=is_watched, as_json=as_json)


def plan(client: Client, spec: Mapping[str, object], *, as_json: bool) -> None:
    """Print what a submission would do, and exit 1 where it would be refused.

    Raises:
        CrossfadeError: The service is away, or nothing can be planned.
        typer.Exit: It would be refused.
    """
    report = client.plan(spec)
    if as_json:
        print_json(report.as_json())
    else:
        from crossfade_cli.plan_report import print_report

        print_report(report)
    if not report.accepted:
        print_line(f"crossfade: a submission would be refused: {len(report.obstacles)} obstacle(s)")
        raise typer.Exit(1)


def watch(client: Client, job_id: str, *, as_json: bool) -> None:
    """Show a job's progress until it ends, then its outputs.

    Raises:
        CrossfadeError: The service is away or refused, or the job did not succeed.
    """
    with open_progress(is_quiet=as_json) as show:
        job = Watch(client, job_id, show).until_end()
    if as_json:
        print_json(job.as_json())
    else:
        print_outputs(rows_of_job(job))
        print_warnings(_warnings(job))
    _require_success(job)


def list_jobs(
    client: Client, *, limit: int, before: str | None, labels: Sequence[str], as_json: bool, **only: str | None
) -> None:
    """Print a page of jobs, newest first; `only` as for `Client.list_jobs`.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    page = client.list_jobs(limit=limit, before=before, label=labels, **only)
    if as_json:
        print_json(page.as_json())
        return
    print_jobs(page.items)
    if page.next:
        print_line(f"there are more: --before {page.next}")


def show(client: Client, job_id: str, *, as_json: bool) -> None:
    """Print a job as it stands, its outputs with digests.

    Raises:
        CrossfadeError: The service is away or refused, or the job ended without success.
    """
    job = client.get(job_id)
    if as_json:
        print_json(job.as_json())
    else:
        print_job(job)
        print_warnings(_warnings(job))
    if job.state in (JobState.FAILED, JobState.PARTIALLY_SUCCEEDED, JobState.CANCELLED):
        _require_success(job)


def cancel(client: Client, job_id: str, *, as_json: bool) -> None:
    """Cancel a job.

    Raises:
        CrossfadeError: The service is away or refused; a job that has ended cannot be cancelled.
    """
    job = client.cancel(job_id)
    if as_json:
        print_json(job.as_json())
    else:
        typer.echo(f"job {job.id} is {job.state}")


def retry(client: Client, job_id: str, *, is_watched: bool, as_json: bool) -> None:
    """Queue a failed job again and say so, or follow it to its end.

    Raises:
        CrossfadeError: The service is away or refused; or the watched job did not succeed.
    """
    _follow(client, client.retry(job_id), "queued again", is_watched=is_watched, as_json=as_json)


def _follow(client: Client, job: JobView, told: str, *, is_watched: bool, as_json: bool) -> None:
    if is_watched:
        if not as_json:
            print_line(f"job {job.id} {told}")
        watch(client, job.id, as_json=as_json)
    elif as_json:
        print_json(job.as_json())
    else:
        typer.echo(f"job {job.id} {told}; follow it with: crossfade watch {job.id} --url {client.url}")


def _warnings(job: JobView) -> dict[str, tuple[str, ...]]:
    return {output.name: output.warnings for output in job.outputs}


def _require_success(job: JobView) -> None:
    if job.state == JobState.SUCCEEDED:
        return
    if job.error is not None:
        raise Reported(f"job {job.id} {_ended(job)}: {job.error.message}", job.error.as_json())
    failed = [f"λ = {output.lam!r}: {output.error.message}" for output in job.outputs if output.error]
    message = "; ".join([f"job {job.id} {_ended(job)}", *failed])
    raise Reported(message, {"code": job.state.lower(), "message": message})


def _ended(job: JobView) -> str:
    return "was cancelled" if job.state in _CANCELS else f"ended {job.state}"
