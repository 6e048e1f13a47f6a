"""Run a whole sweep in memory: plan two memory sources, stream every shard, take the outputs apart again."""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from crossfade_core.plan import MergePlan, plan_merge
from crossfade_core.spec import OutDtype
from crossfade_engine.device import CpuDevice, Device
from crossfade_engine.merge_shard import Parents, Resources, ShardDigests, merge_shard
from crossfade_registries.layout import read_layout
from tests.engine.oracle import as_f32, encode
from tests.fakes.checkpoints import Tensor, encode_file
from tests.fakes.sink import MemoryWriter
from tests.fakes.source import EndlessSource, MemorySource

CHUNK_BYTES = 4096
"""The smallest there is, so that small tensors span several chunks."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep made: per λ the files by name; per shard its digests."""

    plan: MergePlan
    outputs: dict[float, dict[str, bytes]]
    digests: list[ShardDigests] = field(default_factory=list)

    def tensors(self, lam: float) -> dict[str, Tensor]:
        """Return all tensors of one λ by name."""
        return {name: tensor for content in self.outputs[lam].values() for name, tensor in decode_file(content).items()}

    def digests_of(self, side: str) -> dict[str, str]:
        """Return the digests of one parent's files, of all shards together."""
        return {file: digest for shard in self.digests for file, digest in getattr(shard, side).items()}


def memory_source(
    tensors: Mapping[str, Tensor], shards: Sequence[Sequence[str]] | None = None, *, uri: str = "local://models/memory"
) -> MemorySource:
    """Return a source of one checkpoint: `model.safetensors`, or numbered files of the names given, and an index."""
    if shards is None:
        return MemorySource({"model.safetensors": encode_file(tensors)}, uri)
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    files = {
        file: encode_file({name: tensors[name] for name in held}) for file, held in zip(names, shards, strict=True)
    }
    weight_map = {name: file for file, held in zip(names, shards, strict=True) for name in held}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    return MemorySource(files, uri)


def plan_of(
    base: MemorySource | EndlessSource, instruct: MemorySource | EndlessSource, out_dtype: OutDtype = "auto"
) -> MergePlan:
    """Plan two sources, refusing nothing silently."""
    plan = plan_merge(read_layout(base, base.files()), read_layout(instruct, instruct.files()), out_dtype)
    plan.require_accepted()
    return plan


def run_sweep(
    base: MemorySource,
    instruct: MemorySource,
    lambdas: Sequence[float],
    *,
    out_dtype: OutDtype = "auto",
    threads: int = 2,
    chunk_bytes: int | None = CHUNK_BYTES,
    device: Device | None = None,
) -> Sweep:
    """Stream every shard of a plan; forgets the reads that planning took."""
    plan = plan_of(base, instruct, out_dtype)
    base.reads.clear()
    instruct.reads.clear()
    parents = Parents(base, instruct, base.files(), instruct.files())
    sweep = Sweep(plan, {lam: {} for lam in lambdas})
    for shard in plan.shards:
        writers = [MemoryWriter(shard.size_bytes) for _ in lambdas]
        resources = Resources(device or CpuDevice(), threads, chunk_bytes)
        outputs = list(zip(lambdas, writers, strict=True))
        sweep.digests.append(merge_shard(shard, parents, outputs, resources, lambda _: None))
        for lam, writer in outputs:
            assert writer.state == "finished"
            sweep.outputs[lam][shard.file] = writer.content
    return sweep


def decode_file(content: bytes) -> dict[str, Tensor]:
    """Take a safetensors file apart."""
    (length,) = struct.unpack("<Q", content[:8])
    document = json.loads(content[8 : 8 + length])
    document.pop("__metadata__", None)
    data = content[8 + length :]
    return {
        name: (fields["dtype"], tuple(fields["shape"]), data[slice(*fields["data_offsets"])])
        for name, fields in document.items()
    }


def normal_pair(
    rng: np.random.Generator, elements: int, dtype: str, instruct_dtype: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return a weight and its tuned version as they occur: N(0, 0.02), and a delta of N(0, 0.002)."""
    base = rng.normal(0, 0.02, elements)
    instruct = base + rng.normal(0, 0.002, elements)
    return float_tensor(base, dtype), float_tensor(instruct, instruct_dtype or dtype)


def float_tensor(values: np.ndarray | Sequence[float], dtype: str) -> Tensor:
    """Return a tensor of the values' shape; F64 keeps all of its precision."""
    wide = np.asarray(values, np.float64)
    exact = "F64", wide.shape, wide.tobytes()
    return exact if dtype == "F64" else (dtype, wide.shape, encode(as_f32(exact), dtype))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
