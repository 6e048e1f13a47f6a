"""Commands about published outputs, without a service: fetch, verify, rebuild, inspect; and keys that sign them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from crossfade_cli.options import PLACES, Device, DeviceOption, Json, read_folders, read_pairs, read_place

_LineageSha256 = Annotated[
    str | None, typer.Option(metavar="HEX", help="What lineage.json must be, as the job shows it.")
]


def fetch(
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="As the job shows it: file:///PATH, s3://… or hf://ORG/NAME@COMMIT.")
    ],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that is to appear.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that is there.")] = False,
    lineage_sha256: _LineageSha256 = None,
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
        typer.Option(metavar="ROLE=PLACE", help=f"Another copy of an input, base, instruct or reference: {PLACES}."),
    ] = None,
    lineage_sha256: _LineageSha256 = None,
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
        "roots": {name: str(folder) for name, folder in read_folders(root or [], "--root").items()},
        "sources": {role: read_place(place) for role, place in read_pairs(source or [], "--source").items()},
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
    lineage_sha256: _LineageSha256 = None,
    as_json: Json = False,
) -> None:
    """Check an output's files, documents and signatures, without a service; exit 1 when anything is wrong."""
    from crossfade_cli import verify as verifying

    files = [file.absolute() for file in key or ()]
    raise typer.Exit(verifying.verify(uri, files, lineage_sha256=lineage_sha256, as_json=as_json))


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
