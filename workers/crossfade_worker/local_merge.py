"""`python -m crossfade_worker.local_merge`: one sweep without a service, with the same plan, engine and files.

Reads one JSON object from standard input and writes one JSON object a line to standard output; `crossfade merge` is the
face of it. A process of its own because the CLI must not load torch (import rules), and so that figures are its own.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from crossfade_core.errors import InvalidSpec, SinkUnavailable
from crossfade_core.job import JobId
from crossfade_core.plan import ROLES
from crossfade_core.provenance import Builder
from crossfade_core.spec import MergeSpec, spec_digest
from crossfade_engine.input_digests import InputDigests
from crossfade_engine.merge_shard import Parents, open_resources
from crossfade_registries.json_program import emit, run_program
from crossfade_registries.layout import SourcedPlan, open_sources, plan_spec
from crossfade_registries.local.sink import LocalSink
from crossfade_signing.key_pairs import read_private_key_file
from crossfade_signing.signers import KeySigner
from crossfade_worker.documents import Maker
from crossfade_worker.output_files import stage_output_files
from crossfade_worker.own_sources import OwnSources, own_uri
from crossfade_worker.plan_record import plan_summary
from crossfade_worker.stream_shard import Order, stream_shards
from crossfade_worker.sweep_facts import Origin, SweepFacts, sweep_facts


def main() -> int:
    """Run the merge that standard input describes; return the exit status."""
    return run_program(_merge)


def _merge(request: Mapping[str, Any]) -> dict[str, Any]:
    spec = _spec(request)
    job_id = JobId(f"local-{os.urandom(8).hex()}")
    key_file = request.get("sign")
    signer = None if key_file is None else KeySigner(read_private_key_file(Path(key_file)))
    maker = Maker(Builder(is_local=True), signer)
    out = Path(request["out"])
    sourced = plan_spec(spec, OwnSources().open)
    with _output_folder(out) as folder:
        sink = LocalSink(folder, job_id, overwrite=spec.overwrite, direct=request.get("write", "auto") == "auto")
        for name in spec.output_names(job_id):
            sink.check_free(name)
        emit("plan", summary=sourced.plan.summary(), exceptions=sourced.plan.exceptions())
        if request.get("dry_run", False):
            return {}
        try:
            return _sweep(spec, job_id, sourced, sink, threads=request.get("threads", 0), maker=maker)
        finally:
            sink.discard()


def _sweep(
    spec: MergeSpec, job_id: JobId, sourced: SourcedPlan, sink: LocalSink, *, threads: int, maker: Maker
) -> dict[str, Any]:
    baseline_bytes = _reset_memory_peak()
    started = time.monotonic()
    with open_sources(sourced.uris, OwnSources().open) as sources:
        parents = Parents(sources, sourced.files, InputDigests(sourced.plan.shards, sources, sourced.files))
        order = Order.of(spec, job_id)
        resources = open_resources(threads=threads)
        results = stream_shards(sourced.plan.shards, parents, order, sink, resources=resources, tell=_progress)
        pass_seconds = time.monotonic() - started
        facts = _facts(spec, job_id, sourced, results)
        for position, (lam, name) in enumerate(order.outputs):
            shards = {
                shard.file: {"size_bytes": shard.size_bytes, "sha256": result["outputs"][position]}
                for shard, result in zip(sourced.plan.shards, results, strict=True)
            }
            staged = stage_output_files(sink, facts, position, sources=sources, shards=shards, maker=maker)
            uri = staged.commit(sink)
            listed = [{"name": file, **about} for file, about in staged.files.items()]
            emit(
                "output",
                **{"lambda": lam, "name": name, "path": unquote(urlsplit(uri).path), "files": listed},
                figures={key: value for key, value in staged.statistics.items() if key != "warnings"},
                warnings=staged.statistics["warnings"],
            )
    return {
        "baseline_bytes": baseline_bytes,
        "peak_bytes": _memory_bytes("VmHWM"),
        "pass_seconds": round(pass_seconds, 3),
        "cpu_seconds": round(time.process_time(), 3),
    }


def _progress(done_bytes: int, total_bytes: int) -> None:
    emit("progress", bytes_done=done_bytes, bytes_total=total_bytes)


def _spec(request: Mapping[str, Any]) -> MergeSpec:
    uris = {side: own_uri(request[side]) for side in ROLES if request.get(side)}
    fields = dict(request["spec"])
    instruct: str | dict[str, Any] = uris["instruct"]
    if "reference" in uris:
        instruct = {"delta_of": [uris["instruct"], uris["reference"]], "skip": fields.pop("skip", [])}
    try:
        return MergeSpec.model_validate({**fields, "base": uris["base"], "instruct": instruct, "destination": "out"})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "spec"
        raise InvalidSpec(f"{field}: {first['msg'].removeprefix('Value error, ')}", field=field) from error


@contextlib.contextmanager
def _output_folder(out: Path) -> Iterator[Path]:
    """Make the folder if it is not there, and take it away again when nothing was published into it."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkUnavailable(f"{out}: cannot be made: {error.strerror}; choose another --out") from error
    try:
        yield out
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: something was published
                folder.rmdir()


def _facts(spec: MergeSpec, job_id: JobId, sourced: SourcedPlan, results: Sequence[Mapping[str, Any]]) -> SweepFacts:
    return sweep_facts(
        Origin(spec, spec_digest(spec), job_id, datetime.now(UTC).isoformat()), plan_summary(sourced), results
    )


def _memory_bytes(field: str) -> int:
    """Return a figure of /proc/self/status (proc(5)), which counts in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def _reset_memory_peak() -> int:
    """Let the peak begin at the present resident size, and return that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    return _memory_bytes("VmRSS")


if __name__ == "__main__":
    status = main()
    # All is written and flushed; taking torch apart would keep the user waiting half a second more.
    os._exit(status)
