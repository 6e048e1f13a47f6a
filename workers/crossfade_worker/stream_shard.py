"""Stream one output shard into a sink: the seam where registries' bytes meet the engine's tensors."""

import contextlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Self

from crossfade_core.job import JobId
from crossfade_core.plan import ShardPlan
from crossfade_core.ports import FileWriter, Sink
from crossfade_core.spec import MergeSpec
from crossfade_engine.crew import OnTick
from crossfade_engine.merge_shard import MergedShard, Parents, Resources, merge_shard
from crossfade_engine.terms import Terms
from crossfade_registries.layout import check_unchanged


@dataclass(frozen=True)
class Order:
    """What every shard of a job is streamed into.

    Attributes:
        outputs: Each λ with the name of its output.
        terms: What the job asks of the arithmetic.
    """

    outputs: Sequence[tuple[float, str]]
    terms: Terms

    @classmethod
    def of(cls, spec: MergeSpec, job_id: JobId) -> Self:
        """Return the order of a job."""
        return cls(list(zip(spec.lambdas, spec.output_names(job_id), strict=True)), Terms.of(spec))


def stream_shard(
    shard: ShardPlan,
    parents: Parents,
    order: Order,
    sink: Sink,
    *,
    resources: Resources,
    on_tick: OnTick,
) -> dict[str, Any]:
    """Merge one shard for every λ, staged in `sink`.

    Args:
        shard: The shard's plan.
        parents: The sources, and the files that were planned.
        order: Which outputs, and how they are computed.
        sink: Where to.
        resources: What to compute with.
        on_tick: Told of progress; may raise to stop.

    Returns:
        The unit's result as JSON: hex digests of the `outputs` in order and of the `inputs` this shard owes, by role
        and file; the `statistics`; and the `software` that computed
        them.

    Raises:
        SourceChanged: An input is not the planned one, before or after the pass.
        CrossfadeError: Whatever the engine, the sources or the sink raise; nothing staged is left half written.
    """
    _check_parents(parents)
    with contextlib.ExitStack() as opened:
        writers: list[tuple[float, FileWriter]] = []
        for lam, name in order.outputs:
            writer = sink.create_file(name, shard.file, shard.size_bytes)
            opened.callback(writer.abandon)
            writers.append((lam, writer))
        merged = merge_shard(shard, parents, writers, order.terms, resources=resources, on_tick=on_tick)
    _check_parents(parents)
    return _result(merged)


def _check_parents(parents: Parents) -> None:
    for role, source in parents.sources.items():
        check_unchanged(source, parents.files[role])


def _result(merged: MergedShard) -> dict[str, Any]:
    return {
        "outputs": list(merged.outputs),
        "inputs": {role: dict(files) for role, files in merged.inputs.items()},
        "statistics": merged.statistics,
        "software": {
            "crossfade": version("crossfade"),
            "torch": version("torch"),
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }
