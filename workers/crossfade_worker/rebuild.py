"""`python -m crossfade_worker.rebuild`: make a published output again and hold every byte against it; writes nothing.

Reads one JSON object from standard input and writes one JSON object a line to standard output; `crossfade rebuild` is
the face of it. A process of its own because the CLI must not load torch (import rules).
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crossfade_core.errors import CheckpointError, InvalidSpec, MergeRefused, PlanRefused
from crossfade_core.own_files import LINEAGE_FILE, OWN_FILES
from crossfade_core.source_ref import FILESYSTEM, parse_source
from crossfade_engine.merge_shard import Resources, open_resources
from crossfade_registries.json_program import emit, run_program
from crossfade_registries.output_source import open_output
from crossfade_registries.published import read_published
from crossfade_worker.own_sources import OwnSources, own_uri
from crossfade_worker.rebuilding import Rebuild
from crossfade_worker.recipe import Recipe, read_recipe
from crossfade_worker.stream_shard import software
from crossfade_worker.verdict import Verdict, judge_lineage, judge_published, judge_strays


def main() -> int:
    """Run the rebuild that standard input describes; return the exit status."""
    return run_program(_rebuild)


def _rebuild(request: Mapping[str, Any]) -> dict[str, Any]:
    resources = open_resources(request.get("device", "auto"), request.get("threads", 0))
    with contextlib.closing(open_output(str(request["uri"]))) as output:
        published = read_published(output, request.get("lineage_sha256"))
        recipe = read_recipe(published.lineage, f"{output.uri}/{LINEAGE_FILE}", _replaced(request))
        sources = OwnSources(_roots(request))
        rebuild = Rebuild(recipe, output, published, sources.open)
        verdict = _judge(rebuild, resources)
    now = software()
    return {
        "uri": output.uri,
        "lambda": recipe.lam,
        **verdict.as_record(),
        "tensors": rebuild.tensors,
        "files": [{"name": name, **asdict(about)} for name, about in sorted(rebuild.made.items())],
        "inputs": _opened(recipe, sources, request),
        "input_files": sum(map(len, rebuild.inputs.values())),
        "not_compared": sorted(OWN_FILES & {*published.files, *published.loose, LINEAGE_FILE}),
        "strays": list(published.strays),
        "software": {"then": list(recipe.software), "now": now, "is_other": list(recipe.software) != [now]},
    }


def _opened(recipe: Recipe, sources: OwnSources, request: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
    """Return of each input the URI that the lineage names, where it was opened, and what led elsewhere."""
    roots = tuple(f"local://{name}/" for name in request.get("roots", {}))
    return {
        role: {
            "uri": uri,
            "opened": sources.place(recipe.spec.sources[role]),
            "by": "source" if role in request.get("sources", {}) else "root" if uri.startswith(roots) else None,
        }
        for role, uri in recipe.uris.items()
    }


def _judge(rebuild: Rebuild, resources: Resources) -> Verdict:
    """Rebuild, and find the first cause where something differs.

    Raises:
        CrossfadeError: Something cannot be read; or the merge is refused though its inputs are the pinned ones.
    """
    changed = rebuild.find_changed_input(is_reading=False)
    if changed is not None:
        return changed
    try:
        difference = rebuild.run(resources, _progress)
    except (CheckpointError, PlanRefused, MergeRefused):
        changed = _look_at_inputs(rebuild)
        if changed is None:
            raise
        return changed
    if difference is not None:
        return _look_at_inputs(rebuild) or judge_published(difference, rebuild.published.files, rebuild.output)
    return (
        rebuild.find_changed_input(is_reading=True)
        or judge_lineage(rebuild.made, rebuild.published.files)
        or judge_strays(rebuild.published.strays)
        or Verdict("reproduced, bit for bit")
    )


def _look_at_inputs(rebuild: Rebuild) -> Verdict | None:
    emit("note", message="something differs; reading the inputs to see whether they are still those that were merged")
    return rebuild.find_changed_input(is_reading=True)


def _progress(done_bytes: int, total_bytes: int) -> None:
    emit("progress", bytes_done=done_bytes, bytes_total=total_bytes)


def _roots(request: Mapping[str, Any]) -> dict[str, Path]:
    roots = {name: Path(folder) for name, folder in request.get("roots", {}).items()}
    if FILESYSTEM in roots:
        raise InvalidSpec(
            f"--root {FILESYSTEM}: stands for '/', where `crossfade merge` found its sources; give one that lies "
            "elsewhere with --source ROLE=PATH",
            field="root",
        )
    return roots


def _replaced(request: Mapping[str, Any]) -> dict[str, str]:
    try:
        return {role: parse_source(own_uri(place)).uri for role, place in request.get("sources", {}).items()}
    except ValueError as error:
        raise InvalidSpec(f"--source: {error}", field="source") from error


if __name__ == "__main__":
    status = main()
    # All is written and flushed; taking torch apart would keep the user waiting half a second more.
    os._exit(status)
