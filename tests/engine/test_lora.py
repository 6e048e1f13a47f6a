"""A PEFT adapter as the instruct side: its deltas are formed as they stream, bit for bit those of the oracle."""

import math
from typing import Any

import numpy as np
import pytest

from tests.engine.oracle import (
    as_f32,
    delta_f32,
    dequantised,
    differing,
    merged,
    merged_elementwise,
    rescaled_f32,
    stepped_f32,
)
from tests.engine.sweep import (
    Sweep,
    adapter_source,
    float_tensor,
    memory_source,
    run_every_way,
    run_sweep,
)
from tests.fakes.checkpoints import Tensor

LAMBDAS = [0.0, 0.3, 0.7, 1.0, 1.5]
NAME = "model.layers.0.mlp.up_proj.weight"
MODULE = NAME.removesuffix(".weight")
FLOATS = ["BF16", "F16", "F32", "F64"]
OUT = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def factors(rng: np.random.Generator, shape: tuple[int, int], rank: int, dtype: str = "F32") -> tuple[Tensor, Tensor]:
    """Return lora_A [rank, columns] and lora_B [rows, rank] of a matrix."""
    rows, columns = shape
    return (
        float_tensor(rng.normal(0, 0.1, (rank, columns)), dtype),
        float_tensor(rng.normal(0, 0.1, (rows, rank)), dtype),
    )


def parts(module: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    return {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}


def weight(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "BF16") -> Tensor:
    return float_tensor(rng.normal(0, 0.1, shape), dtype)


def adapted(base: Tensor, down: Tensor, up: Tensor, scaling: float) -> np.ndarray:
    """Return the oracle's instruct side, flat."""
    return stepped_f32(as_f32(base), delta_f32(down, up, scaling).reshape(-1))


def assert_is_merged(sweep: Sweep, base: Tensor, instruct_f32: np.ndarray, name: str = NAME) -> None:
    for lam in sweep.outputs:
        dtype, shape, data = sweep.tensors(lam)[name]
        wanted = merged_elementwise(base, instruct_f32, lam, dtype)
        assert (shape, differing(data, wanted, dtype)) == (base[1], 0), lam


@pytest.mark.parametrize("rank", [1, 2, 3, 8, 16, 64])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_any_rank_and_dtype_of_factors(rng, rank, dtype):
    base, pair = weight(rng, (95, 131)), factors(rng, (95, 131), rank, dtype)
    sweep = run_every_way(
        memory_source({NAME: base}), adapter_source(parts(MODULE, *pair), r=rank, lora_alpha=24), LAMBDAS
    )
    assert_is_merged(sweep, base, adapted(base, *pair, 24 / rank))


@pytest.mark.parametrize("out_dtype", ["auto", *OUT])
@pytest.mark.parametrize("dtype", FLOATS)
def test_any_dtype_of_the_base_and_of_the_output(rng, dtype, out_dtype):
    base, pair = weight(rng, (77, 61), dtype), factors(rng, (77, 61), 4)
    adapter = adapter_source(parts(MODULE, *pair), r=4, lora_alpha=8)
    sweep = run_every_way(memory_source({NAME: base}), adapter, LAMBDAS, out_dtype=out_dtype)
    assert {tensors[NAME][0] for tensors in map(sweep.tensors, LAMBDAS)} == {OUT.get(out_dtype, dtype)}
    assert_is_merged(sweep, base, adapted(base, *pair, 2.0))
    if out_dtype == "auto":
        assert sweep.tensors(0.0)[NAME] == base


@pytest.mark.parametrize("shape", [(1, 1), (1, 40_000), (40_000, 1), (3, 40_001), (9001, 7)], ids=str)
def test_rows_wider_and_narrower_than_what_is_formed_at_a_time(rng, shape):
    base, pair = weight(rng, shape), factors(rng, shape, 3, "BF16")
    sweep = run_every_way(
        memory_source({NAME: base}), adapter_source(parts(MODULE, *pair), r=3, lora_alpha=3), [0.3, 1]
    )
    assert_is_merged(sweep, base, adapted(base, *pair, 1.0))


SCALINGS: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "alpha / r": ({"r": 4, "lora_alpha": 10}, {"q": 2.5, "k": 2.5}),
    "alpha / √r": ({"r": 4, "lora_alpha": 10, "use_rslora": True}, {"q": 5.0, "k": 5.0}),
    "alpha of its own": ({"r": 4, "lora_alpha": 10, "alpha_pattern": {"k": 3}}, {"q": 2.5, "k": 0.75}),
    "below nothing": ({"r": 4, "lora_alpha": -1.5}, {"q": -0.375, "k": -0.375}),
    "none": ({"r": 4, "lora_alpha": 0}, {"q": 0.0, "k": 0.0}),
}


@pytest.mark.parametrize("case", SCALINGS)
def test_the_scaling_is_the_modules_own(rng, case):
    config, wanted = SCALINGS[case]
    base = {f"{name}.weight": weight(rng, (30, 20)) for name in wanted}
    pairs = {name: factors(rng, (30, 20), 4) for name in wanted}
    tensors = {key: tensor for name, pair in pairs.items() for key, tensor in parts(name, *pair).items()}
    sweep = run_every_way(memory_source(base), adapter_source(tensors, **config), LAMBDAS)
    for name, scaling in wanted.items():
        held = base[f"{name}.weight"]
        assert_is_merged(sweep, held, adapted(held, *pairs[name], scaling), f"{name}.weight")


@pytest.mark.parametrize("is_stabilised", [False, True])
def test_ranks_may_differ_by_module(rng, is_stabilised):
    ranks = {"layers.0.q": 2, "layers.1.q": 7, "layers.0.k": 64}
    base = {f"{name}.weight": weight(rng, (66, 70)) for name in ranks}
    pairs = {name: factors(rng, (66, 70), rank) for name, rank in ranks.items()}
    tensors = {key: tensor for name, pair in pairs.items() for key, tensor in parts(name, *pair).items()}
    config = {"r": 2, "lora_alpha": 6, "rank_pattern": {"layers.1.q": 7, "k": 64}, "use_rslora": is_stabilised}
    sweep = run_every_way(memory_source(base), adapter_source(tensors, **config), LAMBDAS)
    for name, rank in ranks.items():
        held, scaling = base[f"{name}.weight"], 6 / (math.sqrt(rank) if is_stabilised else rank)
        assert_is_merged(sweep, held, adapted(held, *pairs[name], scaling), f"{name}.weight")


def transposed(delta: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(delta.T).reshape(-1)


def test_an_embeddings_delta_is_transposed(rng):
    name, (tokens, width), rank = "model.embed_tokens", (301, 40), 5
    base = weight(rng, (tokens, width))
    down, up = (float_tensor(rng.normal(0, 0.1, shape), "F32") for shape in ((rank, tokens), (width, rank)))
    tensors = {f"{name}.lora_embedding_A": down, f"{name}.lora_embedding_B": up}
    sweep = run_every_way(
        memory_source({f"{name}.weight": base}), adapter_source(tensors, r=rank, lora_alpha=rank), LAMBDAS
    )
    assert_is_merged(sweep, base, stepped_f32(as_f32(base), transposed(delta_f32(down, up, 1.0))), f"{name}.weight")


@pytest.mark.parametrize("shape", [(60, 90), (70, 70)], ids=["by shape", "by word"])
def test_layers_that_store_in_by_out_take_the_transposed_delta(rng, shape):
    """GPT-2's Conv1D: the weight is [in, out], lora_A is [rank, in], lora_B is [out, rank]."""
    base, (down, up) = weight(rng, shape), factors(rng, shape[::-1], 3)
    adapter = adapter_source(parts("h.0.c", down, up), r=3, lora_alpha=3, fan_in_fan_out=True)
    sweep = run_every_way(memory_source({"h.0.c.weight": base}), adapter, LAMBDAS)
    wanted = stepped_f32(as_f32(base), transposed(delta_f32(down, up, 1.0)))
    assert_is_merged(sweep, base, wanted, "h.0.c.weight")


@pytest.mark.parametrize("columns", [1, 64, 129, 2000, 40_000])
@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_dora_gives_every_row_its_length(rng, dtype, columns):
    """Rows span chunks, and chunks hold many rows."""
    shape = (max(3, 9000 // columns), columns)
    base, (down, up) = weight(rng, shape, dtype), factors(rng, shape, 2)
    magnitude = float_tensor(rng.uniform(0.5, 2, shape[0]), "F32")
    tensors = {**parts(MODULE, down, up), f"{MODULE}.lora_magnitude_vector": magnitude}
    adapter = adapter_source(tensors, r=2, lora_alpha=2, use_dora=True)
    sweep = run_every_way(memory_source({NAME: base}), adapter, LAMBDAS)
    whole = adapted(base, down, up, 1.0).reshape(shape)
    assert_is_merged(sweep, base, rescaled_f32(whole, magnitude).reshape(-1))


def test_modules_to_save_are_interpolated_as_they_are(rng):
    base = {
        "lm_head.weight": weight(rng, (101, 50)),
        "norm.weight": weight(rng, (50,), "F32"),
        NAME: weight(rng, (9, 8)),
    }
    saved = {"lm_head.weight": weight(rng, (101, 50), "F32"), "norm.weight": weight(rng, (50,), "F32")}
    pair = factors(rng, (9, 8), 2)
    adapter = adapter_source({**saved, **parts(MODULE, *pair)}, r=2, lora_alpha=2, modules_to_save=["lm_head", "norm"])
    sweep = run_every_way(memory_source(base), adapter, LAMBDAS)
    assert_is_merged(sweep, base[NAME], adapted(base[NAME], *pair, 1.0))
    for name, tensor in saved.items():
        for lam in LAMBDAS:
            assert sweep.tensors(lam)[name][2] == merged(base[name], tensor, lam, base[name][0])


def test_an_adapter_may_lie_over_codes(rng):
    shape = (130, 140)
    coded = {
        NAME: ("F8_E4M3", shape, rng.integers(0, 0x7F, 130 * 140, np.uint8).tobytes()),
        f"{NAME}_scale_inv": float_tensor(rng.uniform(0.001, 0.01, (2, 2)), "F32"),
    }
    base = dequantised(coded[NAME], as_f32(coded[f"{NAME}_scale_inv"]).reshape(2, 2), (128, 128))
    down, up = factors(rng, shape, 4)
    magnitude = float_tensor(rng.uniform(0.5, 2, shape[0]), "BF16")
    for extra, wanted in (
        ({}, adapted(base, down, up, 2.0)),
        (
            {f"{MODULE}.lora_magnitude_vector": magnitude},
            rescaled_f32(adapted(base, down, up, 2.0).reshape(shape), magnitude).reshape(-1),
        ),
    ):
        adapter = adapter_source({**parts(MODULE, down, up), **extra}, r=4, lora_alpha=8, use_dora=bool(extra))
        assert_is_merged(run_every_way(memory_source(coded), adapter, LAMBDAS), base, wanted)


@pytest.mark.parametrize("dtype", FLOATS)
def test_tensors_the_adapter_does_not_touch_keep_every_bit(rng, dtype):
    width = {"F32": 4, "F64": 8}.get(dtype, 2)
    other = dtype, (9001,), rng.bytes(9001 * width)  # NaN of every payload, infinities, −0.0
    sweep = run_every_way(
        memory_source({NAME: weight(rng, (9, 8)), "norm.weight": other}),
        adapter_source(parts(MODULE, *factors(rng, (9, 8), 2)), r=2, lora_alpha=2),
        LAMBDAS,
    )
    assert [sweep.tensors(lam)["norm.weight"] for lam in LAMBDAS] == [other] * len(LAMBDAS)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_delta_of_nothing_keeps_every_bit_of_the_base(rng, dtype):
    """As an adapter is before its first step: lora_B is zero."""
    width = {"F32": 4, "F64": 8}.get(dtype, 2)
    base = dtype, (90, 101), rng.bytes(9090 * width)
    down, _ = factors(rng, (90, 101), 2)
    adapter = adapter_source(parts(MODULE, down, float_tensor(np.zeros((90, 2)), "F32")), r=2, lora_alpha=2)
    sweep = run_every_way(memory_source({NAME: base}), adapter, LAMBDAS)
    assert [sweep.tensors(lam)[NAME] for lam in LAMBDAS] == [base] * len(LAMBDAS)


@pytest.mark.parametrize("dtype", FLOATS)
def test_lambda_0_is_the_base_bit_for_bit(rng, dtype):
    width = {"F32": 4, "F64": 8}.get(dtype, 2)
    base = dtype, (90, 101), rng.bytes(9090 * width)
    adapter = adapter_source(parts(MODULE, *factors(rng, (90, 101), 2)), r=2, lora_alpha=2)
    assert run_every_way(memory_source({NAME: base}), adapter, [0.0, 0.5]).tensors(0.0)[NAME] == base


def test_shards_and_order_do_not_change_a_tensors_bytes(rng):
    modules = [f"layers.{number}.q" for number in range(5)]
    base = {f"{module}.weight": weight(rng, (40, 51)) for module in modules}
    tensors = {key: held for module in modules for key, held in parts(module, *factors(rng, (40, 51), 3)).items()}
    sweeps = [
        run_sweep(memory_source(base, shards), adapter_source(dict(order), r=3, lora_alpha=3), [0.4, 1.0])
        for shards, order in (
            (None, tensors.items()),
            ([sorted(base)[0::2], sorted(base)[1::2]], reversed(tensors.items())),
        )
    ]
    for lam in (0.4, 1.0):
        assert sweeps[0].tensors(lam) == sweeps[1].tensors(lam)


@pytest.mark.parametrize("chunk_bytes", [4096, 65536])
@pytest.mark.parametrize("is_dora", [False, True])
def test_an_adapter_is_read_once_for_its_deltas_and_once_for_its_digest(rng, is_dora, chunk_bytes):
    """However many chunks its tensors have."""
    modules = [f"layers.{number}.q" for number in range(3)]
    base = {f"{module}.weight": weight(rng, (200, 150)) for module in modules}
    tensors = {key: held for module in modules for key, held in parts(module, *factors(rng, (200, 150), 3)).items()}
    if is_dora:
        tensors |= {f"{module}.lora_magnitude_vector": weight(rng, (200,), "F32") for module in modules}
    adapter = adapter_source(tensors, r=3, lora_alpha=3, use_dora=is_dora)
    size = adapter.files()["adapter_model.safetensors"].size_bytes
    factor_bytes = sum(len(data) for _, _, data in tensors.values())
    run_sweep(memory_source(base), adapter, [0.3, 1.0], chunk_bytes=chunk_bytes)
    assert adapter.read_bytes() == size + factor_bytes


@pytest.mark.parametrize("columns", [150, 4000])
def test_dora_reads_again_of_the_base_two_rows_a_chunk_at_most(rng, columns):
    base = memory_source({NAME: weight(rng, (40, columns))})
    tensors = parts(MODULE, *factors(rng, (40, columns), 2))
    tensors[f"{MODULE}.lora_magnitude_vector"] = weight(rng, (40,), "F32")
    adapter = adapter_source(tensors, r=2, lora_alpha=2, use_dora=True)
    sweep = run_sweep(base, adapter, [0.5], chunk_bytes=4096)
    chunks = -(-sweep.plan.shards[0].size_bytes // 4096)
    assert base.read_bytes() <= base.files()["model.safetensors"].size_bytes + chunks * 2 * columns * 2
