"""Stream shards of growing size through one pass each, and print how far this process's memory rose above its baseline.

Run as `python -m tests.engine.peak_memory KIND DTYPE OUT_DTYPE ROUNDING THREADS MIB...`; prints one JSON list of bytes,
one number a size. The parents exist nowhere and the outputs are dropped, so what rises is the engine's own, and the
file of an adapter beyond the first one's. KIND is pair, chain, fp8, lora or dora.
"""

import json
import sys
from pathlib import Path

import numpy as np

from crossfade_engine.device import CpuDevice
from crossfade_engine.merge_shard import Resources, merge_shard
from crossfade_engine.terms import Terms
from tests.engine.sweep import (
    KEEPING,
    AnySource,
    adapter_source,
    float_tensor,
    normal_pair,
    parents_of,
    plan_of,
    spec_of,
)
from tests.fakes.sink import MemoryWriter
from tests.fakes.source import EndlessSource

LAMBDAS = [number / 10 for number in range(11)]
COLUMNS, RANK = 4096, 16
WIDTH = {"F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4, "F64": 8}


def resident_bytes(field: str) -> int:
    """Return VmRSS or VmHWM of this process (proc(5))."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def make_parents(kind: str, dtype: str, rows: int) -> list[AnySource]:
    """Return the base, the instruct and, of a chain, the reference: one matrix of `rows` each."""
    rng = np.random.default_rng(1)
    if kind == "fp8":
        tensors = {"m.weight": (dtype, rows, COLUMNS), "m.weight_scale_inv": ("F32", -(-rows // 128), COLUMNS // 128)}
        return [EndlessSource(tensors, bytes([code]) * (1 << 18)) for code in (0x3A, 0x3B)]
    patterns = [data for _, _, data in (*normal_pair(rng, 1 << 17, dtype), *normal_pair(rng, 1 << 17, dtype))]
    base, *others = (EndlessSource({"m.weight": (dtype, rows, COLUMNS)}, pattern) for pattern in patterns)
    if kind in ("pair", "chain"):
        return [base, *others[: 1 if kind == "pair" else 2]]
    shapes = {"lora_A.weight": (RANK, COLUMNS), "lora_B.weight": (rows, RANK)}
    shapes |= {"lora_magnitude_vector": (rows,)} if kind == "dora" else {}
    factors = {f"m.{name}": float_tensor(rng.normal(0, 0.01, shape), "BF16") for name, shape in shapes.items()}
    return [base, adapter_source(factors, r=RANK, lora_alpha=RANK, use_dora=kind == "dora")]


def stream(parents: list[AnySource], out_dtype: str, rounding: str, threads: int) -> None:
    """Sweep eleven λ."""
    fields = {"out_dtype": out_dtype, "rounding": rounding, "policies": KEEPING}
    (shard,) = plan_of(*parents, **fields).shards
    outputs = [(lam, MemoryWriter(shard.size_bytes, is_keeping=False)) for lam in LAMBDAS]
    terms, resources = Terms.of(spec_of(**fields)), Resources(CpuDevice(), threads)
    merge_shard(shard, parents_of(*parents), outputs, terms, resources=resources, on_tick=lambda _: None)


def main(kind: str, dtype: str, out_dtype: str, rounding: str, threads: str, *sizes_mib: str) -> None:
    growth: list[int] = []
    baseline = 0
    for mib in sizes_mib:
        parents = make_parents(kind, dtype, (int(mib) << 20) // (COLUMNS * WIDTH[dtype]))
        baseline = baseline or resident_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins again at the present VmRSS
        stream(parents, out_dtype, rounding, int(threads))
        growth.append(resident_bytes("VmHWM") - baseline)
    print(json.dumps(growth))


if __name__ == "__main__":
    main(*sys.argv[1:])
