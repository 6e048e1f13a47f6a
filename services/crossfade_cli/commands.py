"""The commands and their options. A command reads its options and hands over: what it does is another module's.

Nothing heavy is imported before a command is known: `crossfade merge` starts its process within a few milliseconds.
"""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from crossfade_cli.options import (
    DEFAULT_URL,
    AllowExtrapolation,
    Device,
    DeviceOption,
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
    read_pairs,
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

_PLACES: Final = "a folder, hf://ORG/NAME@REVISION or s3://BUCKET/PREFIX"


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
        roots=_folders(root or ["here=."], "--root"),
        destinations=_folders(destination or ["outputs=./crossfade-outputs"], "--destination"),
        workers=workers,
        threads=threads,
        registries=registries,
    )
    raise typer.Exit(run(options, as_json=as_json))


def merge(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    base: Annotated[str, typer.Argument(metavar="BASE", help=f"The pretrained checkpoint: {_PLACES}.")],
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
            **{name: _place(source) for name, source in sources.items() if source is not None},
            "out": str(out.absolute()),
            "spec": spec,
            "threads": threads,
            "dry_run": is_dry_run,
            "write": write.value,
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


def fetch(
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="As the job shows it: file:///PATH, s3://… or hf://ORG/NAME@COMMIT.")
    ],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that is to appear.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there.")] = False,
    lineage_sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="What lineage.json must be, as the job shows it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Get a published output with your own credentials, every file verified; goes on where it was cut off."""
    from crossfade_cli import fetch as fetching

    fetching.fetch(
        uri, Path(os.path.normpath(out.absolute())), overwrite=overwrite, lineage_sha256=lineage_sha256, as_json=as_json
    )


def rebuild(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    uri: Annotated[str, typer.Argument(metavar="URI", help="The output: as the job shows it, or its folder here.")],
    is_checked: Annotated[
        bool, typer.Option("--check", help="Hold every byte against the published one; nothing is written.")
    ] = False,
    root: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="Where inputs called local://NAME/… lie here.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=PLACE", help=f"Another copy of an input, base, instruct or reference: {_PLACES}."),
    ] = None,
    lineage_sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="What lineage.json must be, as the job shows it.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="0 is two a core.")] = 0,
    device: DeviceOption = Device.AUTO,
    as_json: Json = False,
) -> None:
    """Make a published output again from the inputs its lineage pins; exit 1 unless it is the same, bit for bit."""
    from crossfade_cli import rebuild as rebuilding

    if not is_checked:
        raise typer.BadParameter("is needed: a rebuild is compared and not kept", param_hint="--check")
    request = {
        "uri": uri,
        "lineage_sha256": lineage_sha256,
        "roots": {name: str(folder) for name, folder in _folders(root or [], "--root").items()},
        "sources": {role: _place(place) for role, place in read_pairs(source or [], "--source").items()},
        "threads": threads,
        "device": device.value,
    }
    raise typer.Exit(rebuilding.rebuild(request, as_json=as_json))


def verify(
    uri: Annotated[str, typer.Argument(metavar="URI", help="An output as the job shows it, or a folder's path.")],
    key: Annotated[
        list[Path] | None,
        typer.Option(metavar="PUB", help="Who may have signed it: a public key, PEM; several times for several."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check an output's files, documents and signatures, without a service; exit 1 when anything is wrong."""
    from crossfade_cli import verify as verifying

    raise typer.Exit(verifying.verify(uri, [file.absolute() for file in key or ()], as_json=as_json))


def inspect(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="An output's folder, or a folder of outputs.")],
    tensors: Annotated[int, typer.Option(min=0, metavar="N", help="List the N tensors that stray most.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what the λ of published outputs really did, from their lineage.json."""
    from crossfade_cli import inspect_output

    inspect_output.inspect(paths, tensor_count=tensors, as_json=as_json)


def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Gets the private key; FILE.pub the public one.")],
    as_json: Json = False,
) -> None:
    """Make a key pair that signs outputs: EC P-256, PEM."""
    from crossfade_cli import keygen as making

    making.keygen(Path(os.path.normpath(file.absolute())), as_json=as_json)


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


def create_key(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will carry it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, submit, cancel, approve or admin; several times for several. [default: read, submit, cancel]"
        ),
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option(min=1, help="How many of its jobs may be unfinished at a time.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="How many requests it may send. [default: the server's own limit]")
    ] = None,
    expires_days: Annotated[float | None, typer.Option("--expires", metavar="DAYS", help="Until then.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Make an API key and print its secret, which is shown this once."""
    from crossfade_cli import keys

    with connect(url) as client:
        limits = keys.KeyLimits(max_jobs, requests_per_minute, expires_days)
        keys.create(client, name, scopes=scope, limits=limits, as_json=as_json)


def list_keys(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the API keys, expired and revoked ones too."""
    from crossfade_cli import keys

    with connect(url) as client:
        keys.list_all(client, as_json=as_json)


def revoke_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose.")], url: Url = DEFAULT_URL, as_json: Json = False
) -> None:
    """Revoke an API key for good; it opens nothing within a second."""
    from crossfade_cli import keys

    with connect(url) as client:
        keys.revoke(client, name, as_json=as_json)


def _place(source: str) -> str:
    return source if "://" in source else str(Path(source).absolute())


def _folders(texts: list[str], option: str) -> dict[str, Path]:
    return {name: Path(folder).absolute() for name, folder in read_pairs(texts, option).items()}
