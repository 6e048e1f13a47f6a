"""Decide about a job's outputs, chosen by their λ, one call each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import typer

from crossfade_cli.printing import plain, print_json
from crossfade_client.client import Client
from crossfade_client.views import JobView, OutputView
from crossfade_core.job import Approval, OutputState

_DECIDABLE = (OutputState.STAGED, OutputState.PUBLISHED)


@dataclass(frozen=True)
class Chosen:
    """Which outputs are meant.

    Attributes:
        lambdas: Those of these λ; None for all that can be decided about and are not.
        lineage_sha256: What the lineage.json of the only one must be.
    """

    lambdas: Sequence[float] | None
    lineage_sha256: str | None = None


def approve(client: Client, job_id: str, chosen: Chosen, *, reason: str | None, as_json: bool) -> None:
    """Approve outputs.

    Raises:
        CrossfadeError: The service is away or refused.
        typer.BadParameter: The job has no such output, or none to decide about.
    """

    def decide(output: OutputView) -> JobView:
        return client.approve(job_id, output.position, reason=reason, lineage_sha256=chosen.lineage_sha256)

    _decide(client.get(job_id), chosen, decide, as_json=as_json)


def reject(client: Client, job_id: str, chosen: Chosen, *, reason: str, as_json: bool) -> None:
    """Reject outputs.

    Raises:
        CrossfadeError: The service is away or refused.
        typer.BadParameter: The job has no such output, or none to decide about.
    """

    def decide(output: OutputView) -> JobView:
        return client.reject(job_id, output.position, reason=reason, lineage_sha256=chosen.lineage_sha256)

    _decide(client.get(job_id), chosen, decide, as_json=as_json)


def _decide(job: JobView, chosen: Chosen, decide: Callable[[OutputView], JobView], *, as_json: bool) -> None:
    for output in _outputs(job, chosen):
        job = decide(output)
        if not as_json:
            now = job.outputs[output.position]
            typer.echo(plain(f"λ = {output.lam!r} ({output.name}) is {now.approval}; it is {now.state}"))
    if as_json:
        print_json(job.as_json())


def _outputs(job: JobView, chosen: Chosen) -> list[OutputView]:
    if chosen.lambdas is None:
        found = [each for each in job.outputs if each.approval is Approval.PENDING and each.state in _DECIDABLE]
        if not found:
            raise typer.BadParameter(f"job {job.id} has no output to decide about", param_hint="--all")
    else:
        by_lambda = {output.lam: output for output in job.outputs}
        unknown = [repr(lam) for lam in chosen.lambdas if lam not in by_lambda]
        if unknown:
            known = ", ".join(map(repr, by_lambda))
            raise typer.BadParameter(
                f"job {job.id} has no λ {', '.join(unknown)}; it has {known}", param_hint="--lambda"
            )
        found = [by_lambda[lam] for lam in chosen.lambdas]
    if chosen.lineage_sha256 is not None and len(found) != 1:
        raise typer.BadParameter(f"is of one output, and {len(found)} are meant", param_hint="--lineage-sha256")
    return found
