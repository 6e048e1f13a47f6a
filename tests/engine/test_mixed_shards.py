"""Everything at once: tensors of every dtype and every kind of row share chunks, and none disturbs another."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.oracle import (
    as_f32,
    chained_f32,
    delta_f32,
    dequantised,
    differing,
    encode,
    merged,
    merged_elementwise,
    stepped_f32,
)
from tests.engine.sweep import adapter_source, float_tensor, memory_source, run_sweep
from tests.fakes.checkpoints import Tensor

LAMBDAS = [0.0, 0.3, 1.0, 1.5]
FLOATS = ["BF16", "F16", "F32", "F64"]
INTEGERS = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}
OUT = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
SHAPES = st.sampled_from([(1, 1), (3, 5), (7, 31), (2, 1025), (19, 97), (131, 33)])
POLICIES = {"one_sided": "copy", "extra_rows": "copy", "tokens": "ignore"}


class Case(NamedTuple):
    """A tensor as each parent stores it, and what its bytes should be at a λ and a dtype; None: of its own dtype."""

    base: dict[str, Tensor]
    instruct: dict[str, Tensor]
    wanted: Callable[[float, str | None], bytes]


def converted(tensor: Tensor, dtype: str | None) -> bytes:
    return tensor[2] if dtype in (None, tensor[0]) else encode(as_f32(tensor), dtype)


def plain(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Tensor:
    return float_tensor(rng.normal(0, 1, shape), dtype)


def interpolated(rng: np.random.Generator, name: str, shape: tuple[int, ...], chosen: int) -> Case:
    dtypes = FLOATS[chosen % 4], FLOATS[chosen // 4 % 4]
    base, instruct = (plain(rng, shape, dtype) for dtype in dtypes)
    return Case({name: base}, {name: instruct}, lambda lam, out: merged(base, instruct, lam, out or dtypes[0]))


def same(rng: np.random.Generator, name: str, shape: tuple[int, ...], chosen: int) -> Case:
    tensor = plain(rng, shape, FLOATS[chosen % 4])
    return Case({name: tensor}, {name: tensor}, lambda lam, out: converted(tensor, out))


def integers(rng: np.random.Generator, name: str, shape: tuple[int, ...], chosen: int) -> Case:
    dtype = list(INTEGERS)[chosen % len(INTEGERS)]
    size = int(np.prod(shape)) * INTEGERS[dtype]
    tensor = dtype, shape, bytes(size) if dtype == "BOOL" else rng.bytes(size)
    return Case({name: tensor}, {name: tensor}, lambda lam, out: tensor[2])


def alone(rng: np.random.Generator, name: str, shape: tuple[int, ...], chosen: int) -> Case:
    tensor = plain(rng, shape, FLOATS[chosen % 4])
    sides = ({name: tensor}, {}) if chosen % 8 < 4 else ({}, {name: tensor})
    return Case(*sides, lambda lam, out: converted(tensor, out))


def codes(rng: np.random.Generator, name: str, shape: tuple[int, ...], chosen: int) -> Case:
    coded = "F8_E4M3", shape, rng.integers(0, 0x7F, shape, np.uint8).tobytes()
    scales = float_tensor(rng.uniform(0.001, 0.01, (shape[0], 1)), ("F32", "BF16")[chosen % 2])
    values = dequantised(coded, as_f32(scales).reshape(-1, 1), (1, shape[1]))
    other = plain(rng, shape, FLOATS[chosen % 4])
    stored = {name: coded, f"{name}_scale_inv": scales}
    if chosen % 8 < 4:
        return Case(
            stored, {name: other}, lambda lam, out: merged_elementwise(values, as_f32(other), lam, out or "BF16")
        )
    return Case({name: other}, stored, lambda lam, out: merged_elementwise(other, as_f32(values), lam, out or other[0]))


KINDS = [interpolated, same, integers, alone, codes]


@st.composite
def mixtures(draw: st.DrawFn) -> list[Case]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(2, 12))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=count, max_size=count))
    return [kind(rng, f"t{number}", draw(SHAPES), draw(st.integers(0, 15))) for number, kind in enumerate(kinds)]


@given(
    cases=mixtures(),
    chunk_bytes=st.sampled_from([4096, 8192, None]),
    threads=st.integers(1, 3),
    out_dtype=st.sampled_from([None, *OUT]),
)
def test_tensors_of_every_kind_share_a_chunk(cases, chunk_bytes, threads, out_dtype):
    base, instruct = ({name: tensor for case in cases for name, tensor in case[side].items()} for side in (0, 1))
    options = {"threads": threads, "chunk_bytes": chunk_bytes, "policies": POLICIES, "out_dtype": out_dtype or "auto"}
    sweep = run_sweep(memory_source(base), memory_source(instruct), LAMBDAS, **options)
    for lam in LAMBDAS:
        found = sweep.tensors(lam)
        assert found.keys() == {f"t{number}" for number in range(len(cases))}
        for number, case in enumerate(cases):
            dtype, _, data = found[f"t{number}"]
            wanted = case.wanted(lam, OUT.get(out_dtype))
            assert data == wanted if dtype in INTEGERS else differing(data, wanted, dtype) == 0, (lam, number)


@given(
    seed=st.integers(0, 2**32),
    shapes=st.lists(SHAPES, min_size=1, max_size=6),
    dtypes=st.lists(st.tuples(*[st.sampled_from(FLOATS)] * 3), min_size=6, max_size=6),
    chunk_bytes=st.sampled_from([4096, 8192, None]),
    out_dtype=st.sampled_from([None, *OUT]),
)
def test_links_of_a_chain_share_a_chunk(seed, shapes, dtypes, chunk_bytes, out_dtype):
    rng = np.random.default_rng(seed)
    tensors = [
        {f"t{number}": plain(rng, shape, dtypes[number][role]) for number, shape in enumerate(shapes)}
        for role in range(3)
    ]
    ids = {"ids": ("U8", (3,), b"123")}
    base, tuned, origin = (memory_source({**side, **ids}) for side in tensors)
    options = {"chunk_bytes": chunk_bytes, "out_dtype": out_dtype or "auto"}
    sweep = run_sweep(base, tuned, LAMBDAS, reference=origin, **options)
    for lam in LAMBDAS:
        found = sweep.tensors(lam)
        assert found.pop("ids") == ids["ids"]
        for name, (dtype, _, data) in found.items():
            sides = [side[name] for side in tensors]
            wanted = merged_elementwise(sides[0], chained_f32(*map(as_f32, sides)), lam, dtype)
            assert differing(data, wanted, dtype) == 0, (lam, name)


@given(
    seed=st.integers(0, 2**32),
    shapes=st.lists(SHAPES, min_size=1, max_size=6),
    dtypes=st.lists(st.sampled_from(FLOATS), min_size=6, max_size=6),
    adapted=st.sets(st.integers(0, 5), min_size=1),
    chunk_bytes=st.sampled_from([4096, 8192, None]),
    out_dtype=st.sampled_from([None, *OUT]),
)
def test_adapted_and_untouched_tensors_share_a_chunk(seed, shapes, dtypes, adapted, chunk_bytes, out_dtype):
    rng = np.random.default_rng(seed)
    base = {f"t{number}.weight": plain(rng, shape, dtypes[number]) for number, shape in enumerate(shapes)}
    factors = {
        f"t{number}": (plain(rng, (2, shape[1]), "F32"), plain(rng, (shape[0], 2), "BF16"))
        for number, shape in enumerate(shapes)
        if number in adapted or not adapted & set(range(len(shapes)))
    }
    stored = {
        f"{name}.lora_{letter}.weight": pair[side] for name, pair in factors.items() for side, letter in enumerate("AB")
    }
    options = {"chunk_bytes": chunk_bytes, "out_dtype": out_dtype or "auto"}
    sweep = run_sweep(memory_source(base), adapter_source(stored, r=2, lora_alpha=1), LAMBDAS, **options)
    for lam in LAMBDAS:
        for name, (dtype, _, data) in sweep.tensors(lam).items():
            pair = factors.get(name.removesuffix(".weight"))
            wanted = converted(base[name], dtype)
            if pair is not None:
                instruct_f32 = stepped_f32(as_f32(base[name]), delta_f32(*pair, 0.5).reshape(-1))
                wanted = merged_elementwise(base[name], instruct_f32, lam, dtype)
            assert differing(data, wanted, dtype) == 0, (lam, name)
