"""`crossfade fetch`: a published output into a folder, by a process of the registries that speaks JSON lines."""

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from crossfade_cli.json_process import JsonProcess
from crossfade_cli.local import LocalProgress
from crossfade_cli.printing import plain, print_json, print_line, print_strays
from crossfade_cli.progress import open_progress
from crossfade_core.errors import ProgramMissing
from crossfade_core.own_files import SIGNATURE_FILE

_MODULE = "crossfade_registries.fetch"
_REMOTE = {"hf://": "huggingface_hub", "s3://": "boto3"}


def fetch(uri: str, out: Path, *, overwrite: bool, lineage_sha256: str | None, as_json: bool) -> None:
    """Fetch an output, show the progress, and say what is there.

    Args:
        uri: As a job shows it.
        out: The folder that is to appear.
        overwrite: Whether an output that is there is replaced.
        lineage_sha256: What lineage.json must be, where that is known.
        as_json: Whether to print one JSON document and nothing else.

    Raises:
        CrossfadeError: It is not there, cannot be read, or is not what its lineage tells.
    """
    library = _REMOTE.get(uri[:5])
    if library is not None and find_spec(library) is None:
        raise ProgramMissing("registries are read by this machine here: pip install 'crossfade[service]'")
    request = {"uri": uri, "out": str(out), "overwrite": overwrite, "lineage_sha256": lineage_sha256}
    result: dict[str, Any] = {}
    with (
        JsonProcess(("-m", _MODULE), "the fetch") as process,
        open_progress(is_quiet=as_json, verb="fetching") as show,
    ):
        for event in process.events(request):
            if event["event"] == "progress":
                show(LocalProgress(event["bytes_done"], event["bytes_total"]))
            elif event["event"] == "done":
                result = {name: value for name, value in event.items() if name != "event"}
    if as_json:
        print_json(result)
        return
    _print_result(result)


def _print_result(result: dict[str, Any]) -> None:
    from rich.filesize import decimal

    if result["strays"]:
        print_strays(result["strays"])
        print_line("what lineage.json does not tell of was left out")
    held = [file for file in result["files"] if file["is_held"]]
    size = decimal(sum(file["size_bytes"] for file in held))
    print_line(plain(f"{len(held)} files, {size}, each with the SHA-256 that lineage.json tells"))
    if any(file["name"] == SIGNATURE_FILE for file in result["files"]):
        print_line(plain(f"signed; to see by whom: crossfade verify {shlex.quote(result['path'])} --key PUBLIC_KEY"))
    typer.echo(plain(result["path"]))
