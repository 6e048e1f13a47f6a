"""What must not change an output's bytes does not, and λ = 0 and 1 are the parents."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_engine.device import CpuDevice
from tests.engine.oracle import merged
from tests.engine.sweep import float_tensor, memory_source, normal_pair, run_sweep
from tests.fakes.checkpoints import Tensor

FLOATS = ["BF16", "F16", "F32", "F64"]
WIDTH = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}
LAMBDAS = [0.0, 0.3, 0.5, 1.0, 1.25]
KINDS = ["tuned", "any bits", "equal", "last differs"]
LAYOUTS = st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=2, max_size=2)
SCHEDULES = st.sampled_from([(), ({"pattern": "t0", "factor": 0.5}, {"pattern": "*", "factor": 1.0})])
TERMS = st.fixed_dictionaries(
    {
        "out_dtype": st.sampled_from(["auto", "bfloat16", "float16", "float32"]),
        "rounding": st.sampled_from(["nearest", "stochastic"]),
        "schedule": SCHEDULES,
        "seed": st.integers(0, 2),
    }
)
METHODS = st.sampled_from(["exact", "sampled"])


class Pair(NamedTuple):
    base: dict[str, Tensor]
    instruct: dict[str, Tensor]


def make_tensors(kind: str, dtypes: tuple[str, str], shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Return one tensor of both parents; `any bits` holds NaNs of every payload, infinities, subnormals and −0.0."""
    rng = np.random.default_rng(seed)
    elements = int(np.prod(shape, dtype=int))
    base_dtype, instruct_dtype = dtypes if kind in ("tuned", "any bits") else (dtypes[0], dtypes[0])
    if kind == "tuned":
        (_, _, base), (_, _, instruct) = normal_pair(rng, elements, base_dtype, instruct_dtype)
    else:
        base, instruct = (rng.bytes(elements * WIDTH[dtype]) for dtype in (base_dtype, instruct_dtype))
    if kind in ("equal", "last differs"):
        instruct = base
    if kind == "last differs" and elements:
        instruct = base[:-1] + bytes([base[-1] ^ 1])
    return (base_dtype, shape, base), (instruct_dtype, shape, instruct)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Up to six tensors of odd shapes, of one chunk or several."""
    shapes = st.lists(st.integers(0, 9), max_size=2).flatmap(
        lambda small: st.sampled_from([tuple(small), (*small, 3), (1025,), (3, 1367), (6149,)])
    )
    pair = Pair({}, {})
    for number in range(draw(st.integers(1, 6))):
        dtypes = draw(st.tuples(st.sampled_from(FLOATS), st.sampled_from(FLOATS)))
        tensors = make_tensors(draw(st.sampled_from(KINDS)), dtypes, draw(shapes), draw(st.integers(0, 2**32)))
        pair.base[f"t{number}"], pair.instruct[f"t{number}"] = tensors
    return pair


def in_one_go(pair: Pair, lambdas: Sequence[float], **options) -> dict[float, dict[str, Tensor]]:
    """Return every tensor of every λ, by one thread, in as large chunks as there are, from single files."""
    sweep = run_sweep(
        memory_source(pair.base), memory_source(pair.instruct), lambdas, threads=1, chunk_bytes=None, **options
    )
    return {lam: sweep.tensors(lam) for lam in lambdas}


@given(
    pair=pairs(),
    chunk_bytes=st.sampled_from([4096, 8192, 12288, 65536]),
    threads=st.integers(1, 4),
    terms=TERMS,
    method=METHODS,
)
def test_chunks_threads_and_statistics_do_not_change_output_bytes(pair, chunk_bytes, threads, terms, method, device):
    parents = memory_source(pair.base), memory_source(pair.instruct)
    options = {"threads": threads, "chunk_bytes": chunk_bytes, "statistics": method, "device": device}
    sweep = run_sweep(*parents, LAMBDAS, **terms, **options)
    assert {lam: sweep.tensors(lam) for lam in LAMBDAS} == in_one_go(pair, LAMBDAS, **terms, device=device)


@given(pair=pairs(), chunk_bytes=st.sampled_from([4096, 12288]), threads=st.integers(1, 3), terms=TERMS)
def test_chunks_and_threads_do_not_change_a_count(pair, chunk_bytes, threads, terms):
    parents = memory_source(pair.base), memory_source(pair.instruct)
    ways = {"threads": threads, "chunk_bytes": chunk_bytes}, {"threads": 1, "chunk_bytes": None}
    sweeps = [run_sweep(*parents, [0.3, 1.0], **terms, **way) for way in ways]
    for name in pair.base:
        first, second = (sweep.sums(name) for sweep in sweeps)
        for key in ("elements", "counted", "base_non_finite", "instruct_non_finite"):
            assert first[key] == second[key]
        counts = [[[unchanged, over] for _, _, unchanged, over in each["outputs"]] for each in (first, second)]
        assert counts[0] == counts[1]


@given(pair=pairs(), orders=st.lists(st.permutations(range(6)), min_size=2, max_size=2), layouts=LAYOUTS, terms=TERMS)
def test_shards_and_order_do_not_change_a_tensors_bytes(pair, orders, layouts, terms):
    sources = []
    for tensors, order, layout in zip(pair, orders, layouts, strict=True):
        names = [f"t{number}" for number in order if f"t{number}" in tensors]
        shards = [[name for name in names if layout[int(name[1])] == shard] for shard in range(6)]
        sources.append(memory_source(tensors, [shard for shard in shards if shard]))
    sweep = run_sweep(*sources, LAMBDAS, **terms)
    assert {lam: sweep.tensors(lam) for lam in LAMBDAS} == in_one_go(pair, LAMBDAS, **terms)


@given(
    pair=pairs(),
    lambdas=st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 2.0]), min_size=1, unique=True),
    terms=TERMS,
)
def test_a_lambda_does_not_depend_on_the_others(pair, lambdas, terms):
    together = run_sweep(memory_source(pair.base), memory_source(pair.instruct), lambdas, **terms)
    for lam in lambdas:
        alone = run_sweep(memory_source(pair.base), memory_source(pair.instruct), [lam], **terms)
        assert together.outputs[lam] == alone.outputs[lam]


@given(pair=pairs(), terms=TERMS)
def test_lambda_0_and_1_are_the_parents_byte_for_byte(pair, terms):
    terms = {**terms, "schedule": ()}
    sweep = run_sweep(memory_source(pair.base), memory_source(pair.instruct), [0.0, 1.0], **terms)
    for lam, parent in ((0.0, pair.base), (1.0, pair.instruct)):
        for name, tensor in sweep.tensors(lam).items():
            if tensor[0] == parent[name][0]:
                assert tensor == parent[name]


@pytest.mark.parametrize("dtype", FLOATS)
def test_lambda_0_and_1_keep_infinities_payloads_and_signs_of_zero(dtype, device):
    pair = Pair(*({"w": tensor} for tensor in make_tensors("any bits", (dtype, dtype), (70_001,), 1)))
    sweep = run_sweep(memory_source(pair.base), memory_source(pair.instruct), [0.0, 0.5, 1.0, -0.0], device=device)
    assert (sweep.tensors(0.0), sweep.tensors(1.0)) == pair


def test_strengths_are_rounded_to_float32_first():
    """Else a λ given as float64 would give other bits on near-ties."""
    pair = Pair(*({"w": tensor} for tensor in make_tensors("any bits", ("F32", "F32"), (10_000,), 2)))
    nearest = float(np.float32(0.1))
    sweep = run_sweep(memory_source(pair.base), memory_source(pair.instruct), [0.1, nearest, 1e-60, 1 - 1e-12])
    assert sweep.tensors(0.1) == sweep.tensors(nearest)
    assert (sweep.tensors(1e-60), sweep.tensors(1 - 1e-12)) == pair


def test_mixed_dtypes_at_the_ends_are_rounded_once():
    base, instruct = normal_pair(np.random.default_rng(2), 10_000, "F64", "F32")
    parents = memory_source({"w": base}), memory_source({"w": instruct})
    sweep = run_sweep(*parents, [0.0, 1.0], out_dtype="bfloat16")
    for lam in (0.0, 1.0):
        assert sweep.tensors(lam)["w"][2] == merged(base, instruct, lam, "BF16")


def test_a_nan_made_on_the_way_has_the_same_bits_wherever_it_lies():
    """torch's vector and scalar code make different ones, and chunk borders decide which of them runs."""
    base, instruct = float_tensor(np.full(5000, np.inf), "BF16"), float_tensor(np.full(5000, -np.inf), "BF16")
    sweep = run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), [0.5])
    assert set(np.frombuffer(sweep.tensors(0.5)["w"][2], np.uint16)) == {0x7FC0}


class DawdlingDevice(CpuDevice):
    """The CPU, slower for some λ than for others, so that streams are many chunks apart."""

    def lerp(self, base, instruct, lam, out):
        time.sleep(0.004 * (lam > 0.5))
        super().lerp(base, instruct, lam, out)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("is_chain", [False, True])
def test_a_slot_is_not_filled_again_while_a_slow_lambda_reads_it(rng, rounding, is_chain):
    base, instruct, reference = (
        memory_source({"w": float_tensor(rng.normal(0, 1, 60_000), dtype)}) for dtype in ("BF16", "F32", "BF16")
    )
    options = {"rounding": rounding, "reference": reference if is_chain else None}
    lambdas = [0.1, 0.3, 0.7, 0.9]
    slow = run_sweep(base, instruct, lambdas, threads=5, device=DawdlingDevice(), **options)
    assert slow.outputs == run_sweep(base, instruct, lambdas, threads=1, chunk_bytes=None, **options).outputs
    assert slow.sums("w")["outputs"][2][2:] == run_sweep(base, instruct, [0.7], **options).sums("w")["outputs"][0][2:]
