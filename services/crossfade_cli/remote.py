"""The commands that talk to a service about its jobs: submit, watch, list, show, cancel, retry."""

from collections.abc import Mapping
from typing import Unpack

import typer

from crossfade_cli.printing import print_json, print_line, print_warnings
from crossfade_cli.progress import open_progress
from crossfade_cli.tables import print_job, print_jobs, print_outputs, rows_of_job
from crossfade_client.client import Client, JobFilter
from crossfade_client.views import JobView


def submit(
    client: Client, spec: Mapping[str, object], *, idempotency_key: str | None, is_watched: bool, as_json: bool
) -> None:
    """Submit a job and say its id, or follow it to its end.

    Raises:
        CrossfadeError: The service is away or refused, or the watched job did not succeed.
    """
    job = client.submit(spec, idempotency_key=idempotency_key)
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


def watch(client: Client, job_id: str, *, until_staged: bool = False, as_json: bool) -> None:
    """Show a job's progress until it ends, then its outputs; one that waits for approval is told of on stderr.

    Args:
        client: Of the service.
        job_id: The job.
        until_staged: Whether to stop where it waits for approval, which is a success then.
        as_json: Whether to print JSON.

    Raises:
        CrossfadeError: The service is away or refused, or the job did not succeed.
    """
    on_waiting = None if as_json or until_staged else print_waiting
    with open_progress(is_quiet=as_json) as show:
        job = client.wait(job_id, on_progress=show, on_waiting=on_waiting, until_staged=until_staged)
    if as_json:
        print_json(job.as_json())
    else:
        print_outputs(rows_of_job(job))
        print_warnings(_warnings(job))
        print_waiting(job)
    if not (until_staged and job.waits_for_approval):
        job.require_success()


def list_jobs(client: Client, *, limit: int, page: str | None, as_json: bool, **wanted: Unpack[JobFilter]) -> None:
    """Print a page of jobs, newest first; `wanted` as for `Client.list_jobs`.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    found = client.list_jobs(limit=limit, page=page, **wanted)
    if as_json:
        print_json(found.as_json())
        return
    print_jobs(found.items)
    if found.next:
        print_line(f"there are more: the same with --page {found.next}")


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
        print_waiting(job)
    if job.has_ended:
        job.require_success()


def print_waiting(job: JobView) -> None:
    """Print on stderr which outputs wait for approval, and how to give it; nothing where none does."""
    waiting = [repr(output.lam) for output in job.outputs if job.waits_for_approval and output.is_waiting]
    if waiting:
        print_line(f"waits for approval, λ = {', '.join(waiting)}: crossfade approve {job.id} --lambda LIST | --all")


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
