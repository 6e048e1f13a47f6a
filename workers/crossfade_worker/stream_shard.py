"""Stream one output shard into a sink: the seam where registries' bytes meet the engine's tensors."""

import contextlib
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from crossfade_core.plan import ShardPlan
from crossfade_core.ports import FileWriter, Sink
from crossfade_engine.crew import OnTick
from crossfade_engine.merge_shard import Parents, Resources, ShardDigests, merge_shard
from crossfade_registries.layout import check_unchanged


def stream_shard(
    shard: ShardPlan,
    parents: Parents,
    outputs: Sequence[tuple[float, str]],
    sink: Sink,
    *,
    resources: Resources,
    on_tick: OnTick,
) -> dict[str, Any]:
    """Merge one shard for every λ, staged in `sink`.

    Args:
        shard: The shard's plan.
        parents: Both sources, and the files that were planned.
        outputs: Each λ with the name of its output.
        sink: Where to.
        resources: What to compute with.
        on_tick: Told of progress; may raise to stop.

    Returns:
        The unit's result as JSON: hex digests of the `outputs` in order, of the `base` and `instruct` files this
        shard owes, and the `software` that computed them.

    Raises:
        SourceChanged: An input is not the planned one, before or after the pass.
        CrossfadeError: Whatever the engine, the sources or the sink raise; nothing staged is left half written.
    """
    _check_parents(parents)
    with contextlib.ExitStack() as opened:
        writers: list[tuple[float, FileWriter]] = []
        for lam, name in outputs:
            writer = sink.create_file(name, shard.file, shard.size_bytes)
            opened.callback(writer.abandon)
            writers.append((lam, writer))
        digests = merge_shard(shard, parents, writers, resources, on_tick)
    _check_parents(parents)
    return _result(digests)


def _check_parents(parents: Parents) -> None:
    check_unchanged(parents.base, parents.base_files)
    check_unchanged(parents.instruct, parents.instruct_files)


def _result(digests: ShardDigests) -> dict[str, Any]:
    return {
        "outputs": list(digests.outputs),
        "base": digests.base,
        "instruct": digests.instruct,
        "software": {
            "crossfade": version("crossfade"),
            "torch": version("torch"),
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }
