"""`crossfade fetch`: a published output into a folder, by a process of the registries that speaks JSON lines."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from crossfade_cli.output_process import require_registry, run_shown
from crossfade_cli.printing import plain, print_line, print_strays
from crossfade_core.own_files import SIGNATURE_FILE

_MODULE = "crossfade_registries.fetch"


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
    require_registry(uri)
    request = {"uri": uri, "out": str(out), "overwrite": overwrite, "lineage_sha256": lineage_sha256}
    run_shown(_MODULE, ("the fetch", "fetching"), request, _print_result, as_json=as_json)


def _print_result(result: Mapping[str, Any]) -> None:
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
