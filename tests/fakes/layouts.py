"""Checkpoint layouts without any bytes behind them, for what is decided from headers alone."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from crossfade_core.checkpoint import DTYPE_BITS, CheckpointLayout, ShardHeader, TensorEntry, build_layout
from crossfade_core.parents import Checkpoint
from crossfade_core.plan import MergePlan
from crossfade_core.planning import plan_merge
from crossfade_core.quantisation import read_values
from crossfade_core.spec import MergeSpec

HEADER_BYTES = 4096


def make_layout(shards: Mapping[str, Iterable[tuple[str, str, tuple[int, ...]]]]) -> CheckpointLayout:
    """Lay out a checkpoint.

    Args:
        shards: For each file its tensors in order, as (name, dtype, shape).
    """
    headers = [_lay_out(file, tensors) for file, tensors in shards.items()]
    return build_layout(headers, {tensor.name: header.file for header in headers for tensor in header.tensors})


def plan_layouts(base: CheckpointLayout, instruct: CheckpointLayout, **fields: Any) -> MergePlan:
    """Plan two checkpoints without configs or tokenizers, with the spec's `fields`."""
    ours, theirs = (Checkpoint(layout, read_values(layout, None)) for layout in (base, instruct))
    return plan_merge(make_spec(**fields), ours, theirs)


def make_spec(**fields: Any) -> MergeSpec:
    """Return a spec of which only `fields` matter."""
    required = {
        "base": "local://models/base",
        "instruct": "local://models/instruct",
        "lambdas": [0.5],
        "destination": "outputs",
    }
    return MergeSpec.model_validate({**required, **fields})


def _lay_out(file: str, tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> ShardHeader:
    position, entries = HEADER_BYTES, []
    for name, dtype, shape in tensors:
        end = position + math.prod(shape) * DTYPE_BITS[dtype] // 8
        entries.append(TensorEntry(name, dtype, shape, position, end))
        position = end
    return ShardHeader(file, position, HEADER_BYTES, tuple(entries))
