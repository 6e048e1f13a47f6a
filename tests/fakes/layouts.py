"""Checkpoints without any bytes behind them, for what is decided from headers and small files alone."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crossfade_core.adapter import ADAPTER_FILE, read_adapter
from crossfade_core.checkpoint import DTYPE_BITS, CheckpointLayout, ShardHeader, TensorEntry, build_layout
from crossfade_core.parents import AdapterSide, Chain, Checkpoint, Tuned
from crossfade_core.plan import MergePlan, PlanRow
from crossfade_core.planning import plan_merge
from crossfade_core.quantisation import read_values
from crossfade_core.spec import MergeSpec

HEADER_BYTES = 4096

Tensors = Iterable[tuple[str, str, tuple[int, ...]]]
"""Name, dtype and shape of each, in file order."""


def make_layout(shards: Mapping[str, Tensors]) -> CheckpointLayout:
    """Lay out a checkpoint.

    Args:
        shards: For each file its tensors in order.
    """
    headers = [_lay_out(file, tensors) for file, tensors in shards.items()]
    return build_layout(headers, {tensor.name: header.file for header in headers for tensor in header.tensors})


def make_checkpoint(
    tensors: Tensors | Mapping[str, Tensors],
    *,
    config: Mapping[str, Any] | None = None,
    vocabulary: Mapping[int, str] | None = None,
) -> Checkpoint:
    """Return a parent of one `model.safetensors`, or of the files given."""
    layout = make_layout(tensors if isinstance(tensors, Mapping) else {"model.safetensors": tensors})
    return Checkpoint(layout, read_values(layout, config), config, vocabulary)


def make_adapter(
    tensors: Tensors, base: Checkpoint, *, vocabulary: Mapping[int, str] | None = None, **config: Any
) -> AdapterSide:
    """Return an adapter over `base`: of rank 4 and alpha 8, unless `config` says otherwise."""
    layout = make_layout({ADAPTER_FILE: tensors})
    raw = json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}).encode()
    return AdapterSide(read_adapter(raw, layout, base.values.tensors), layout, vocabulary)


def plan_parents(base: Checkpoint, tuned: Tuned, *, skip: Sequence[str] = (), **fields: Any) -> MergePlan:
    """Plan two parents with the spec's `fields`; `skip` is a chain's."""
    if isinstance(tuned, Chain):
        fields["instruct"] = {"delta_of": ["local://models/a", "local://models/b"], "skip": skip}
    return plan_merge(make_spec(**fields), base, tuned)


def plan_pair(base: Tensors, instruct: Tensors, **fields: Any) -> MergePlan:
    """Plan two checkpoints of one file each, without configs or tokenizers: `base.safetensors`, `model.safetensors`."""
    return plan_parents(make_checkpoint({"base.safetensors": base}), make_checkpoint(instruct), **fields)


def plan_layouts(base: CheckpointLayout, instruct: CheckpointLayout, **fields: Any) -> MergePlan:
    """Plan two checkpoints without configs or tokenizers, with the spec's `fields`."""
    ours, theirs = (Checkpoint(layout, read_values(layout, None)) for layout in (base, instruct))
    return plan_parents(ours, theirs, **fields)


def rows_of(plan: MergePlan) -> dict[str, PlanRow]:
    """Return every row of a plan by name, written or not; fails where two rows have one name."""
    every = [*plan.rows, *plan.absorbed, *plan.refusals]
    rows = {row.name: row for row in every}
    assert len(rows) == len(every), f"tensors with two rows: {sorted({row.name for row in every})}"
    return rows


def make_spec(**fields: Any) -> MergeSpec:
    """Return a spec of which only `fields` matter."""
    required = {
        "base": "local://models/base",
        "instruct": "local://models/instruct",
        "lambdas": [0.5],
        "destination": "outputs",
    }
    return MergeSpec.model_validate({**required, **fields})


def _lay_out(file: str, tensors: Tensors) -> ShardHeader:
    position, entries = HEADER_BYTES, []
    for name, dtype, shape in tensors:
        end = position + math.prod(shape) * DTYPE_BITS[dtype] // 8
        entries.append(TensorEntry(name, dtype, shape, position, end))
        position = end
    return ShardHeader(file, position, HEADER_BYTES, tuple(entries))
