"""Checkpoint layouts without any bytes behind them, for what is decided from headers alone."""

import math
from collections.abc import Iterable, Mapping

from crossfade_core.checkpoint import DTYPE_BITS, CheckpointLayout, ShardHeader, TensorEntry, build_layout

HEADER_BYTES = 4096


def make_layout(shards: Mapping[str, Iterable[tuple[str, str, tuple[int, ...]]]]) -> CheckpointLayout:
    """Lay out a checkpoint.

    Args:
        shards: For each file its tensors in order, as (name, dtype, shape).
    """
    headers = [_lay_out(file, tensors) for file, tensors in shards.items()]
    return build_layout(headers, {tensor.name: header.file for header in headers for tensor in header.tensors})


def _lay_out(file: str, tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> ShardHeader:
    position, entries = HEADER_BYTES, []
    for name, dtype, shape in tensors:
        end = position + math.prod(shape) * DTYPE_BITS[dtype] // 8
        entries.append(TensorEntry(name, dtype, shape, position, end))
        position = end
    return ShardHeader(file, position, HEADER_BYTES, tuple(entries))
