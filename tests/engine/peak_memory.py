"""Stream shards of growing size through one pass each, and print how far this process's memory rose above its baseline.

Run as `python -m tests.engine.peak_memory DTYPE OUT_DTYPE ROUNDING THREADS MIB...`; prints one JSON list of bytes, one number a
size. The parents exist nowhere and the outputs are dropped, so what rises is the engine's own.
"""

import json
import sys
from pathlib import Path

import numpy as np

from crossfade_engine.device import CpuDevice
from crossfade_engine.merge_shard import Resources, merge_shard
from crossfade_engine.terms import Terms
from tests.engine.sweep import KEEPING, normal_pair, parents_of, plan_of, spec_of
from tests.fakes.sink import MemoryWriter
from tests.fakes.source import EndlessSource

LAMBDAS = [number / 10 for number in range(11)]


def resident_bytes(field: str) -> int:
    """Return VmRSS or VmHWM of this process (proc(5))."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def stream(dtype: str, out_dtype: str, rounding: str, threads: int, size_bytes: int) -> None:
    """Sweep eleven λ over one tensor of `size_bytes` a parent."""
    width = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}[dtype]
    parents = normal_pair(np.random.default_rng(1), 1 << 17, dtype)
    base, instruct = (EndlessSource({"w": (dtype, size_bytes // width)}, data) for _, _, data in parents)
    fields = {"out_dtype": out_dtype, "rounding": rounding, "policies": KEEPING}
    (shard,) = plan_of(base, instruct, **fields).shards
    outputs = [(lam, MemoryWriter(shard.size_bytes, is_keeping=False)) for lam in LAMBDAS]
    terms, resources = Terms.of(spec_of(**fields)), Resources(CpuDevice(), threads)
    merge_shard(shard, parents_of(base, instruct), outputs, terms, resources=resources, on_tick=lambda _: None)


def main(dtype: str, out_dtype: str, rounding: str, threads: str, *sizes_mib: str) -> None:
    baseline = resident_bytes("VmRSS")
    growth = []
    for mib in sizes_mib:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins again at the present VmRSS
        stream(dtype, out_dtype, rounding, int(threads), int(mib) << 20)
        growth.append(resident_bytes("VmHWM") - baseline)
    print(json.dumps(growth))


if __name__ == "__main__":
    main(*sys.argv[1:])
