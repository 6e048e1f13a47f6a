"""Run a whole sweep in memory: plan two memory sources, stream every shard, take the outputs apart again."""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from crossfade_core.plan import MergePlan
from crossfade_core.ports import OpenSource, Source
from crossfade_core.spec import MergeSpec, Role
from crossfade_engine.device import CpuDevice, Device
from crossfade_engine.input_digests import InputDigests
from crossfade_engine.merge_shard import MergedShard, Parents, Resources, merge_shard
from crossfade_engine.terms import Terms
from crossfade_registries.layout import plan_spec
from tests.engine.oracle import as_f32, encode
from tests.fakes.checkpoints import Tensor, encode_file
from tests.fakes.layouts import make_spec
from tests.fakes.sink import MemoryWriter
from tests.fakes.source import EndlessSource, MemorySource

CHUNK_BYTES = 4096
"""The smallest there is, so that small tensors span several chunks."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep made: per λ the files by name; per shard its digests."""

    plan: MergePlan
    outputs: dict[float, dict[str, bytes]]
    merged: list[MergedShard] = field(default_factory=list)

    def tensors(self, lam: float) -> dict[str, Tensor]:
        """Return all tensors of one λ by name."""
        return {name: tensor for content in self.outputs[lam].values() for name, tensor in decode_file(content).items()}

    def digests_of(self, side: str) -> dict[str, str]:
        """Return the digests of one parent's files, of all shards together."""
        return {file: digest for shard in self.merged for file, digest in shard.inputs[side].items()}

    def sums(self, name: str) -> dict[str, Any]:
        """Return what the pass counted on one tensor."""
        return next(each for shard in self.merged for each in shard.statistics["tensors"] if each["tensor"] == name)


def memory_source(
    tensors: Mapping[str, Tensor],
    shards: Sequence[Sequence[str]] | None = None,
    *,
    uri: str = "local://models/memory",
    config: Mapping[str, Any] | None = None,
) -> MemorySource:
    """Return a source of one checkpoint: `model.safetensors`, or numbered files of the names given, and an index."""
    small = {} if config is None else {"config.json": json.dumps(config).encode()}
    if shards is None:
        return MemorySource({"model.safetensors": encode_file(tensors), **small}, uri)
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    files = {
        file: encode_file({name: tensors[name] for name in held}) for file, held in zip(names, shards, strict=True)
    }
    weight_map = {name: file for file, held in zip(names, shards, strict=True) for name in held}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    return MemorySource({**files, **small}, uri)


def adapter_source(tensors: Mapping[str, Tensor], **config: Any) -> MemorySource:
    """Return a source of one PEFT adapter; the tensors' names get `base_model.model.` in front."""
    named = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    raw = json.dumps({"peft_type": "LORA", **config}).encode()
    return MemorySource({"adapter_config.json": raw, "adapter_model.safetensors": encode_file(named)})


AnySource = MemorySource | EndlessSource
KEEPING = {"non_finite": "keep", "overflow": "keep"}
KEEPING_TERMS = Terms(keeps_non_finite=True, keeps_overflow=True)


def plan_of(base: AnySource, instruct: AnySource, reference: AnySource | None = None, **fields: Any) -> MergePlan:
    """Plan sources, refusing nothing silently."""
    return plan_spec(spec_of(reference, **fields), opener(base, instruct, reference)).plan


def spec_of(reference: AnySource | None = None, **fields: Any) -> MergeSpec:
    """Return a spec with `fields`; a chain where there is a reference."""
    if reference is not None:
        skip = fields.pop("skip", ())
        fields["instruct"] = {"delta_of": ["local://models/instruct", "local://models/reference"], "skip": skip}
    return make_spec(allow_extrapolation=True, **fields)


def opener(base: AnySource, instruct: AnySource, reference: AnySource | None = None) -> OpenSource:
    """Return what opens the sources of `spec_of`."""
    found = {"base": base, "instruct": instruct, "reference": reference}

    def open_source(uri: str) -> Source:
        source = found[uri.rsplit("/", 1)[1]]
        assert source is not None
        return source

    return open_source


def parents_of(base: AnySource, instruct: AnySource, reference: AnySource | None = None) -> Parents:
    """Return open parents by role."""
    sources: dict[Role, AnySource] = {"base": base, "instruct": instruct}
    if reference is not None:
        sources["reference"] = reference
    return Parents(sources, {role: source.files() for role, source in sources.items()})


def run_sweep(
    base: MemorySource,
    instruct: MemorySource,
    lambdas: Sequence[float],
    *,
    reference: MemorySource | None = None,
    threads: int = 2,
    chunk_bytes: int | None = CHUNK_BYTES,
    device: Device | None = None,
    is_one_process: bool = False,
    **fields: Any,
) -> Sweep:
    """Stream every shard of a plan; forgets the reads that planning took. Numbers that are not finite are kept."""
    fields = {**fields, "policies": {**KEEPING, **fields.get("policies", {})}}
    plan = plan_of(base, instruct, reference, **fields)
    for source in (base, instruct, reference):
        if source is not None:
            source.reads.clear()
    parents, sweep = parents_of(base, instruct, reference), Sweep(plan, {lam: {} for lam in lambdas})
    if is_one_process:
        parents = replace(parents, digests=InputDigests(plan.shards, parents.sources, parents.files))
    terms, resources = Terms.of(spec_of(reference, **fields)), Resources(device or CpuDevice(), threads, chunk_bytes)
    for shard in plan.shards:
        writers = [MemoryWriter(shard.size_bytes) for _ in lambdas]
        outputs = list(zip(lambdas, writers, strict=True))
        sweep.merged.append(merge_shard(shard, parents, outputs, terms, resources=resources, on_tick=lambda _: None))
        for lam, writer in outputs:
            assert writer.state == "finished"
            sweep.outputs[lam][shard.file] = writer.content
    return sweep


def run_every_way(base: MemorySource, instruct: MemorySource, lambdas: Sequence[float], **options: Any) -> Sweep:
    """Stream in chunks of three sizes, by one, two and three threads, which changes no byte; return one sweep."""
    ways = [(None, 2, False), (CHUNK_BYTES, 1, False), (3 * CHUNK_BYTES, 3, True)]
    sweep, *others = (
        run_sweep(base, instruct, lambdas, chunk_bytes=size, threads=threads, is_one_process=is_one, **options)
        for size, threads, is_one in ways
    )
    for other in others:
        assert other.outputs == sweep.outputs
        assert [merged.outputs for merged in other.merged] == [merged.outputs for merged in sweep.merged]
        assert all(other.digests_of(role) == sweep.digests_of(role) for role in other.merged[0].inputs)
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
