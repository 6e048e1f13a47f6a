"""`crossfade rebuild`: a published output made again and compared, by a worker's process that speaks JSON lines."""

import shlex
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import typer

from crossfade_cli.output_process import run_shown
from crossfade_cli.printing import plain, print_line, print_strays
from crossfade_core.errors import ProgramMissing

_MODULE = "crossfade_worker.rebuild"


def rebuild(request: Mapping[str, object], *, as_json: bool) -> int:
    """Rebuild an output, show the progress, say what came of it; return the exit status.

    Args:
        request: {uri; lineage_sha256: hex or None; roots: folders by the names of roots; sources: folders or URIs by
            role; threads: 0 for all cores; device: auto, cpu or cuda}.
        as_json: Whether to print one JSON document and nothing else.

    Returns:
        0 where every byte is the published one, else 1.

    Raises:
        CrossfadeError: The output or an input cannot be read, or its lineage is none that can be followed.
    """
    if find_spec("torch") is None:
        raise ProgramMissing("`crossfade rebuild` computes on this machine: pip install 'crossfade[worker]'")
    result = run_shown(_MODULE, ("the rebuild", "rebuilding"), request, _print_result, as_json=as_json)
    return 0 if result["reproduced"] else 1


def _print_result(result: Mapping[str, Any]) -> None:
    from rich.filesize import decimal

    for role, told in result["inputs"].items():
        print_line(plain(f"{role}: {told['uri']}{_elsewhere(told)}"))
    print_strays(result["strays"])
    if result["software"]["is_other"]:
        then = "; ".join(map(_versions, result["software"]["then"])) or "software that lineage.json does not name"
        print_line(plain(f"made with {then}; rebuilt with {_versions(result['software']['now'])}"))
    if not result["reproduced"]:
        print_line(plain(f"crossfade: not reproduced: {result['message']}"))
        return
    count, size = len(result["files"]), decimal(sum(file["size_bytes"] for file in result["files"]))
    uri = plain(shlex.quote(result["uri"]))
    typer.echo(
        f"reproduced, bit for bit: λ = {result['lambda']}, {result['tensors']} tensors in {count} files, {size}, "
        f"from {result['input_files']} input files; who signed it was not checked: "
        f"crossfade verify {uri} --key PUBLIC_KEY"
    )


def _elsewhere(told: Mapping[str, Any]) -> str:
    return f", opened at {told['opened']} (--{told['by']})" if told["by"] else ""


def _versions(software: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in software.items())
