"""The one place where this suite merges: folders and a spec's options in; output folders and the plan out."""

import contextlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crossfade_core.errors import Reported
from crossfade_core.plan import MergePlan
from crossfade_core.source_ref import parse_source
from crossfade_core.spec import MergeSpec
from crossfade_registries.layout import plan_spec
from crossfade_registries.local.source import LocalSource
from crossfade_worker import local_merge

LAMBDAS: Final = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Merged:
    """What a merge left: the folder of each λ, and the plan behind them."""

    folders: Mapping[float, Path]
    plan: MergePlan


def merge(base: Path, instruct: Path, out: Path, *, reference: Path | None = None, **spec: Any) -> Merged:
    """Merge two folders in this process, as `python -m crossfade_worker.local_merge` does.

    Args:
        base: The base's folder.
        instruct: The instruct's, an adapter's, or that of a chain's A.
        out: Where the outputs go.
        reference: The folder of a chain's B.
        spec: Options of the merge spec; λ = 0, 0.5 and 1 where not given.

    Raises:
        Reported: The merge was refused or failed; its record says why.
    """
    spec = {"lambdas": LAMBDAS, **spec}
    folders = {"base": base, "instruct": instruct, "out": out} | ({"reference": reference} if reference else {})
    request = {name: str(folder) for name, folder in folders.items()} | {"spec": spec, "threads": 2}
    said = io.StringIO()
    with speaking(io.StringIO(json.dumps(request)), said):
        status = local_merge.main()
    events = [json.loads(line) for line in said.getvalue().splitlines()]
    if status != 0:
        raise Reported(events[-1]["error"]["message"], events[-1]["error"])
    outputs = {event["lambda"]: Path(event["path"]) for event in events if event["event"] == "output"}
    return Merged(outputs, make_plan(base, instruct, reference=reference, **spec))


def merge_by_command(base: Path, instruct: Path, out: Path, *options: str) -> Merged:
    """Merge two folders as a user does: by `crossfade merge` in a process of its own."""
    lambdas = ",".join(map(str, LAMBDAS))
    arguments = [str(base), str(instruct), "--lambda", lambdas, "--out", str(out), *options, "--json"]
    command = [sys.executable, "-m", "crossfade_cli", "merge", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=500)
    outputs = {output["lambda"]: Path(output["path"]) for output in json.loads(done.stdout)["outputs"]}
    return Merged(outputs, make_plan(base, instruct, lambdas=LAMBDAS))


def make_plan(base: Path, instruct: Path, *, reference: Path | None = None, **spec: Any) -> MergePlan:
    """Plan the merge that `merge` makes."""
    skip = spec.pop("skip", ())
    tuned: Any = _uri(instruct)
    if reference is not None:
        tuned = {"delta_of": [_uri(instruct), _uri(reference)], "skip": skip}
    fields = {"base": _uri(base), "instruct": tuned, "destination": "out", **spec}
    return plan_spec(MergeSpec.model_validate(fields), _open_source).plan


def _uri(folder: Path) -> str:
    return f"local://filesystem{folder}"


def _open_source(uri: str) -> LocalSource:
    return LocalSource(Path("/"), parse_source(uri).path, uri)


@contextlib.contextmanager
def speaking(stdin: io.StringIO, stdout: io.StringIO) -> Iterator[None]:
    """Lend the process's own streams and its SIGTERM to the merge for a while."""
    handler, own = signal.getsignal(signal.SIGTERM), sys.stdin
    try:
        sys.stdin = stdin
        with contextlib.redirect_stdout(stdout):
            yield
    finally:
        sys.stdin = own
        signal.signal(signal.SIGTERM, handler)
