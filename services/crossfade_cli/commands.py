"""The commands and their options. A command reads its options and hands over: what it does is another module's.

Nothing heavy is imported before a command is known: `crossfade merge` starts its process within a few milliseconds.
"""

from pathlib import Path
from typing import Annotated

import typer

from crossfade_cli.options import (
    DEFAULT_URL,
    PLACES,
    AllowExtrapolation,
    JobIdArgument,
    Json,
    Lambdas,
    OutDtypeOption,
    OutputName,
    Overwrite,
    Page,
    TokenizerFrom,
    Url,
    Watched,
    Write,
    WriteOption,
    connect,
    read_folders,
    read_pairs,
    read_place,
    read_spec,
)
from crossfade_cli.terms import (
    MINUS_HELP,
    Policy,
    RoundingOption,
    Rule,
    Schedule,
    Seed,
    Skip,
    StatisticsOption,
    read_skip,
    read_terms,
)
from crossfade_core.source_ref import FORMS


def serve(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    state_dir: Annotated[
        Path | None, typer.Option(help="Database, broker data, logs. [default: $XDG_STATE_HOME/crossfade]")
    ] = None,
    host: Annotated[str, typer.Option(help="Other than loopback needs CROSSFADE_API_TOKEN.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    root: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Read models from DIR as local://NAME/…. [default: here=.]"),
    ] = None,
    destination: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=DIR", help="Publish to DIR as ID. [default: outputs=./crossfade-outputs]"),
    ] = None,
    registries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON: buckets, Hub and destinations beside local folders, and their credentials."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Merging processes.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="Threads per merging process; 0 is two a core.")] = 0,
    as_json: Json = False,
) -> None:
    """Run the whole service on this machine: API, workers, database and broker, until Ctrl-C."""
    from crossfade_cli.serve import ServeOptions, default_state_dir, run

    options = ServeOptions(
        state_dir=(state_dir or default_state_dir()).absolute(),
        host=host,
        port=port,
        roots=read_folders(root or ["here=."], "--root"),
        destinations=read_folders(destination or ["outputs=./crossfade-outputs"], "--destination"),
        workers=workers,
        threads=threads,
        registries=registries,
    )
    raise typer.Exit(run(options, as_json=as_json))


def merge(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    base: Annotated[str, typer.Argument(metavar="BASE", help=f"The pretrained checkpoint: {PLACES}.")],
    instruct: Annotated[str, typer.Argument(metavar="INSTRUCT", help="The one tuned from it, named alike.")],
    lambdas: Lambdas,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the outputs go, a folder each.")],
    out_dtype: OutDtypeOption = None,
    output_name: OutputName = None,
    overwrite: Overwrite = False,
    tokenizer_from: TokenizerFrom = None,
    allow_extrapolation: AllowExtrapolation = False,
    minus: Annotated[str | None, typer.Option(metavar="REFERENCE", help=MINUS_HELP)] = None,
    skip: Skip = None,
    schedule: Schedule = None,
    rule: Rule = None,
    policy: Policy = None,
    rounding: RoundingOption = None,
    seed: Seed = None,
    statistics: StatisticsOption = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Sign the outputs: a private key, PEM (crossfade keygen).")
    ] = None,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    write: WriteOption = Write.AUTO,
    threads: Annotated[int, typer.Option(min=0, help="0 is two a core.")] = 0,
    as_json: Json = False,
) -> None:
    """Merge two checkpoints on this machine, without a service."""
    from crossfade_cli import local

    with local.MergeProcess() as process:
        terms = read_terms(
            schedule=schedule, rules=rule, policies=policy, rounding=rounding, seed=seed, statistics=statistics
        )
        spec = read_spec(
            lambdas,
            out_dtype=out_dtype,
            tokenizer_from=tokenizer_from,
            output_name=output_name,
            overwrite=overwrite,
            allow_extrapolation=allow_extrapolation,
            skip=read_skip(minus, skip),
            **terms,
        )
        sources = {"base": base, "instruct": instruct, "reference": minus}
        job = {
            **{name: read_place(source) for name, source in sources.items() if source is not None},
            "out": str(out.absolute()),
            "spec": spec,
            "threads": threads,
            "dry_run": is_dry_run,
            "write": write.value,
            "sign": None if sign is None else str(sign.absolute()),
        }
        local.merge(process, job, as_json=as_json)


def submit(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    base: Annotated[str, typer.Argument(metavar="BASE", help=f"The pretrained checkpoint: {FORMS}.")],
    instruct: Annotated[str, typer.Argument(metavar="INSTRUCT", help="The one tuned from it, named alike.")],
    lambdas: Lambdas,
    destination: Annotated[str, typer.Option(metavar="ID", help="A destination the service configures.")],
    out_dtype: OutDtypeOption = None,
    output_name: OutputName = None,
    overwrite: Overwrite = False,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Kept with the job.")] = None,
    tokenizer_from: TokenizerFrom = None,
    allow_extrapolation: AllowExtrapolation = False,
    minus: Annotated[str | None, typer.Option(metavar="REFERENCE", help=MINUS_HELP)] = None,
    skip: Skip = None,
    schedule: Schedule = None,
    rule: Rule = None,
    policy: Policy = None,
    rounding: RoundingOption = None,
    seed: Seed = None,
    statistics: StatisticsOption = None,
    priority: Annotated[
        int | None, typer.Option(min=-100, max=100, help="Jobs of a higher one are begun first. [default: 0]")
    ] = None,
    deadline_seconds: Annotated[
        float | None, typer.Option("--deadline", metavar="SECONDS", help="Fail unless it has ended by then.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Make it again, also where its outputs stand or a job makes them.")
    ] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Sent again with the same job within a day, it gets that job.")
    ] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and what would be refused, and stop.")
    ] = False,
    is_watched: Watched = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Submit a merge job to a service."""
    from crossfade_cli import remote

    if is_dry_run and (is_watched or idempotency_key):
        raise typer.BadParameter("submits nothing: leave out --watch and --idempotency-key", param_hint="--dry-run")

    terms = read_terms(
        schedule=schedule, rules=rule, policies=policy, rounding=rounding, seed=seed, statistics=statistics
    )
    skipped = read_skip(minus, skip)
    spec = read_spec(
        lambdas,
        out_dtype=out_dtype,
        tokenizer_from=tokenizer_from,
        base=base,
        instruct={"delta_of": [instruct, minus], "skip": skipped} if minus else instruct,
        destination=destination,
        output_name=output_name,
        overwrite=overwrite,
        allow_extrapolation=allow_extrapolation,
        labels=read_pairs(label or [], "--label"),
        priority=priority,
        deadline_seconds=deadline_seconds,
        fresh=fresh,
        **terms,
    )
    with connect(url) as client:
        if is_dry_run:
            remote.plan(client, spec, as_json=as_json)
            return
        remote.submit(client, spec, idempotency_key=idempotency_key, is_watched=is_watched, as_json=as_json)


def watch(
    job_id: JobIdArgument,
    until_staged: Annotated[
        bool, typer.Option("--until-staged", help="End, with 0, also where it waits for approval.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Follow a job to its end, also while it waits for approval; exit 1 when it did not succeed."""
    from crossfade_cli import remote

    with connect(url) as client:
        remote.watch(client, job_id, until_staged=until_staged, as_json=as_json)


def list_jobs(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    state: Annotated[str | None, typer.Option(help="Only jobs in this state, such as RUNNING.")] = None,
    base: Annotated[str | None, typer.Option(metavar="URI", help="Only jobs with this base.")] = None,
    instruct: Annotated[str | None, typer.Option(metavar="URI", help="Only jobs with this instruct side.")] = None,
    destination: Annotated[str | None, typer.Option(metavar="ID", help="Only jobs that publish there.")] = None,
    submitted_by: Annotated[str | None, typer.Option(metavar="NAME", help="Only jobs of this key.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only jobs with this label.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    page: Page = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    from crossfade_cli import remote

    with connect(url) as client:
        remote.list_jobs(
            client,
            state=state and state.upper(),
            base=base,
            instruct=instruct,
            destination=destination,
            submitted_by=submitted_by,
            labels=read_pairs(label or [], "--label"),
            limit=limit,
            page=page,
            as_json=as_json,
        )


def show(job_id: JobIdArgument, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Show a job as it stands, and the digests of its outputs."""
    from crossfade_cli import remote

    with connect(url) as client:
        remote.show(client, job_id, as_json=as_json)


def cancel(job_id: JobIdArgument, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Cancel a job; what it has staged is removed."""
    from crossfade_cli import remote

    with connect(url) as client:
        remote.cancel(client, job_id, as_json=as_json)


def retry(job_id: JobIdArgument, is_watched: Watched = False, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Queue a job that failed again; its finished units are kept where they can be."""
    from crossfade_cli import remote

    with connect(url) as client:
        remote.retry(client, job_id, is_watched=is_watched, as_json=as_json)
