"""The commands that decide about outputs, and their options."""

from typing import Annotated

import typer

from crossfade_cli.options import DEFAULT_URL, JobIdArgument, Json, Url, connect, read_lambdas

_Lambdas = Annotated[
    list[str] | None, typer.Option("--lambda", metavar="LIST", help="Of these λ: 0.5, 0.3,0.5, or several --lambda.")
]
_All = Annotated[bool, typer.Option("--all", help="Every output that is staged or published and not decided about.")]
_Lineage = Annotated[
    str | None,
    typer.Option(metavar="HEX", help="What its lineage.json must be, as the job shows it; for one λ."),
]


def approve(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    job_id: JobIdArgument,
    lambdas: _Lambdas = None,
    every: _All = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, in one line.")] = None,
    lineage_sha256: _Lineage = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Approve outputs: those that wait are published, published ones are marked."""
    from crossfade_cli import approvals

    chosen = approvals.Chosen(_read(lambdas, every=every), lineage_sha256)
    with connect(url) as client:
        approvals.approve(client, job_id, chosen, reason=reason, as_json=as_json)


def reject(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    job_id: JobIdArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line.")],
    lambdas: _Lambdas = None,
    every: _All = False,
    lineage_sha256: _Lineage = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Reject outputs: those that wait are never published, published ones are marked and stay."""
    from crossfade_cli import approvals

    chosen = approvals.Chosen(_read(lambdas, every=every), lineage_sha256)
    with connect(url) as client:
        approvals.reject(client, job_id, chosen, reason=reason, as_json=as_json)


def _read(texts: list[str] | None, *, every: bool) -> list[float] | None:
    """Return the λ that are meant; None for all.

    Raises:
        typer.BadParameter: Neither is given, or both, or a λ list cannot be read.
    """
    if every == bool(texts):
        raise typer.BadParameter("give either --lambda LIST or --all", param_hint="--lambda")
    return None if every else read_lambdas(texts or [])
