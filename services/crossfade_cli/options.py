"""The options that commands share, with their help; and the reading of those that are more than a word."""

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from crossfade_cli.sweep import parse_lambdas

if TYPE_CHECKING:
    from crossfade_client.client import Client


PLACES: Final = "a folder, hf://ORG/NAME@REVISION or s3://BUCKET/PREFIX"


class OutDtype(StrEnum):
    """`crossfade_core.spec.OutDtype`, for the help; importing the spec would cost every start a tenth of a second."""

    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Parent(StrEnum):
    """`crossfade_core.spec.Parent`."""

    INSTRUCT = "instruct"
    BASE = "base"


class Device(StrEnum):
    """What `crossfade_engine.device.open_device` takes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Write(StrEnum):
    """`crossfade_registries.config.WriteStrategy`."""

    AUTO = "auto"
    BUFFERED = "buffered"


DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU that torch sees.")]
WriteOption = Annotated[
    Write, typer.Option("--write", help="auto: past the page cache where the disk can; buffered: never.")
]
Lambdas = Annotated[
    list[str],
    typer.Option("--lambda", metavar="LIST", help="Strengths: 0:1:0.1 (STOP included), 0,0.25,1, or several --lambda."),
]
OutDtypeOption = Annotated[
    OutDtype | None, typer.Option("--out-dtype", help="dtype of the outputs. [default: auto, the base tensor's own]")
]
OutputName = Annotated[
    str | None,
    typer.Option(
        metavar="TEMPLATE",
        help="Name of each output, from {base}, {instruct}, {lambda}, {job}. [default: {instruct}-pad-{lambda}]",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs of the same name.")]
TokenizerFrom = Annotated[
    Parent | None,
    typer.Option(
        help="The parent whose config, tokenizer and chat template the outputs carry. "
        "[default: instruct; base with --minus]"
    ),
]
AllowExtrapolation = Annotated[bool, typer.Option("--allow-extrapolation", help="Allow λ below 0 or above 1.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines on stdout, and nothing else there.")]
Url = Annotated[str, typer.Option(envvar="CROSSFADE_URL", help="Where the service is.")]
Page = Annotated[str | None, typer.Option(metavar="TOKEN", help="The page behind another, which told the token.")]
Watched = Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")]
JobIdArgument = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]

DEFAULT_URL = "http://127.0.0.1:8000"


def connect(url: str) -> "Client":
    """Return a client of the service, with the key of the environment."""
    from crossfade_client.client import Client

    return Client(url, os.environ.get("CROSSFADE_TOKEN"))


def read_lambdas(texts: Sequence[str]) -> list[float]:
    """Return the strengths that `--lambda` options list.

    Raises:
        typer.BadParameter: A λ list cannot be read.
    """
    try:
        return parse_lambdas(texts)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--lambda") from error


def read_spec(
    lambdas: Sequence[str], *, out_dtype: OutDtype | None, tokenizer_from: Parent | None, **rest: object
) -> dict[str, Any]:
    """Return the parts of a merge spec that options give; what is not given is left to the spec's own defaults.

    Raises:
        typer.BadParameter: A λ list cannot be read.
    """
    numbers = read_lambdas(lambdas)
    given = {"out_dtype": out_dtype and out_dtype.value, "tokenizer_from": tokenizer_from and tokenizer_from.value}
    return {"lambdas": numbers} | {name: value for name, value in {**given, **rest}.items() if value}


def read_pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Read `NAME=VALUE` options.

    Raises:
        typer.BadParameter: One has no '=', or no name before it, or its name came before.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint=option)
        if name in pairs:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        pairs[name] = value
    return pairs


def read_place(source: str) -> str:
    """Return a remote source as it stands, a folder as an absolute path."""
    return source if "://" in source else str(Path(source).absolute())


def read_folders(texts: list[str], option: str) -> dict[str, Path]:
    """Read NAME=DIR, several times.

    Raises:
        typer.BadParameter: One is not of that form.
    """
    return {name: Path(folder).absolute() for name, folder in read_pairs(texts, option).items()}
