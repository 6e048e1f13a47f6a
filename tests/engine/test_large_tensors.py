"""A tensor may have more bytes than one read gives (2 147 479 552 on Linux, read(2)), and than 32 bits count."""

import hashlib

import numpy as np
import pytest

from crossfade_engine.device import CpuDevice
from crossfade_engine.merge_shard import Resources, merge_shard
from crossfade_engine.terms import Terms
from tests.engine.oracle import merged
from tests.engine.sweep import normal_pair, parents_of, plan_of
from tests.fakes.sink import MemoryWriter
from tests.fakes.source import EndlessSource

PERIOD = 1 << 20
SIZE_BYTES = (1 << 32) + 3 * PERIOD


@pytest.mark.slow
def test_tensor_over_four_gib_is_merged_to_its_last_byte():
    pair = normal_pair(np.random.default_rng(1), PERIOD // 2, "BF16")
    base, instruct = (EndlessSource({"w": ("BF16", SIZE_BYTES // 2)}, data) for _, _, data in pair)
    (shard,) = plan_of(base, instruct).shards
    (row,) = shard.rows
    writer = MemoryWriter(shard.size_bytes, is_keeping=False)
    resources, terms = Resources(CpuDevice(), threads=4), Terms(statistics="sampled")
    made = merge_shard(
        shard, parents_of(base, instruct), [(0.4, writer)], terms, resources=resources, on_tick=lambda _: None
    )
    start = row.base.start % PERIOD  # the pattern counts from the beginning of the parent's file
    pattern = merged(*pair, 0.4, "BF16")
    pattern = pattern[start:] + pattern[:start]
    wanted = hashlib.sha256(shard.header)
    for _ in range(SIZE_BYTES // PERIOD):
        wanted.update(pattern)
    assert made.outputs == (wanted.hexdigest(),)
    assert writer.state == "finished"
