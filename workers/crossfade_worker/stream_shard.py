"""Stream output shards into a sink: the seam where registries' bytes meet the engine's tensors."""

import contextlib
import functools
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol, Self

from crossfade_core.job import JobId
from crossfade_core.plan import ShardPlan
from crossfade_core.ports import FileWriter
from crossfade_core.spec import MergeSpec
from crossfade_engine.crew import OnTick
from crossfade_engine.merge_shard import MergedShard, Parents, Resources, merge_shard
from crossfade_engine.terms import Terms
from crossfade_registries.layout import check_unchanged


class Files(Protocol):
    """Where shards go: of a sink the one method that streaming needs."""

    def create_file(self, name: str, file: str, size_bytes: int) -> FileWriter:
        """Begin the file `file` of output `name`."""


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
    sink: Files,
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


def stream_shards(
    shards: Sequence[ShardPlan],
    parents: Parents,
    order: Order,
    sink: Files,
    *,
    resources: Resources,
    tell: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """Merge every shard of a job, one after the other, as `stream_shard` does.

    Args:
        shards: All of the plan's.
        parents: The sources, and the files that were planned.
        order: Which outputs, and how they are computed.
        sink: Where to.
        resources: What to compute with.
        tell: Told the bytes made so far and those to make, over all λ.

    Returns:
        The result of each shard.
    """
    total_bytes = sum(shard.size_bytes for shard in shards) * len(order.outputs)
    done_bytes = 0
    results = []
    for shard in shards:
        tick = functools.partial(_tell_on, tell, done_bytes, total_bytes)
        results.append(stream_shard(shard, parents, order, sink, resources=resources, on_tick=tick))
        done_bytes += shard.size_bytes * len(order.outputs)
    return results


def _tell_on(tell: Callable[[int, int], None], before_bytes: int, total_bytes: int, made_bytes: int) -> None:
    tell(before_bytes + made_bytes, total_bytes)


def _check_parents(parents: Parents) -> None:
    for role, source in parents.sources.items():
        check_unchanged(source, parents.files[role])


def _result(merged: MergedShard) -> dict[str, Any]:
    return {
        "outputs": list(merged.outputs),
        "inputs": {role: dict(files) for role, files in merged.inputs.items()},
        "statistics": merged.statistics,
        "software": software(),
    }


def software() -> dict[str, str]:
    """Return the versions that compute here."""
    return {
        "crossfade": version("crossfade"),
        "torch": version("torch"),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
