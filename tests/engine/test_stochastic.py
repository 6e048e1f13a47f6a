"""Stochastic rounding: a pure function of seed, tensor and element, that is right on average."""

import numpy as np
import pytest
import torch

from crossfade_engine.stochastic import key_of, noise, round_by_chance
from tests.engine.oracle import (
    as_f32,
    differing,
    encode,
    lerp_f32,
    merged,
    neighbours,
    random_bits,
    rounded_by_chance,
)
from tests.engine.sweep import (
    adapter_source,
    float_tensor,
    memory_source,
    normal_pair,
    run_every_way,
    run_sweep,
)
from tests.fakes.checkpoints import Tensor

LAMBDAS = [0.0, 0.1, 0.5, 0.9, 1.0, 1.5]
NARROW = ["BF16", "F16"]
TORCH = {"BF16": torch.bfloat16, "F16": torch.float16}
RANDOM = {"rounding": "stochastic"}
SPLITMIX = random_bits(2026, "model.layers.0.w", 65_537 + 70_001)


def round_all(values_f32: np.ndarray, chance: np.ndarray, dtype: str) -> np.ndarray:
    """Round by the engine; return float32."""
    out = torch.empty(len(values_f32), dtype=TORCH[dtype])
    round_by_chance(torch.from_numpy(values_f32.copy()), torch.from_numpy(chance), out)
    return out.float().numpy()


def any_floats(rng: np.random.Generator, elements: int, dtype: str) -> np.ndarray:
    """Return float32 of every exponent, up to the largest of the dtype."""
    values = np.frombuffer(rng.bytes(elements * 4), np.float32)
    largest = {"BF16": 3.38e38, "F16": 65504}[dtype]
    tiny = rng.normal(0, {"BF16": 1e-39, "F16": 3e-5}[dtype], elements).astype(np.float32)
    return np.where(np.isfinite(values) & (np.abs(values) < largest), values, tiny)


@pytest.mark.parametrize("dtype", NARROW)
def test_every_element_is_what_the_oracle_makes_of_it(rng, dtype):
    base, instruct = normal_pair(rng, 20_001, dtype)
    sources = memory_source({"model.w": base}), memory_source({"model.w": instruct})
    sweep = run_every_way(*sources, LAMBDAS, seed=7, **RANDOM)
    chance = random_bits(7, "model.w", 20_001)
    for lam in LAMBDAS:
        exact = lerp_f32(as_f32(base), as_f32(instruct), np.float32(lam))
        wanted = merged(base, instruct, lam, dtype) if lam in (0, 1) else rounded_by_chance(exact, chance, dtype)
        assert sweep.tensors(lam)["model.w"][2] == wanted, lam


@pytest.mark.parametrize("out_dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("dtypes", [("F32", "F32"), ("F64", "BF16"), ("F16", "BF16")], ids="-".join)
def test_so_it_is_where_dtypes_differ(rng, dtypes, out_dtype):
    base, instruct = normal_pair(rng, 9001, *dtypes)
    sources = memory_source({"w": base}), memory_source({"w": instruct})
    sweep = run_every_way(*sources, [0.3], out_dtype=out_dtype, **RANDOM)
    dtype, _, data = sweep.tensors(0.3)["w"]
    exact = lerp_f32(as_f32(base), as_f32(instruct), np.float32(0.3))
    assert data == rounded_by_chance(exact, random_bits(0, "w", 9001), dtype)


@pytest.mark.parametrize("dtype", NARROW)
def test_all_of_float32_is_rounded_as_the_oracle_rounds(rng, dtype):
    values, chance = any_floats(rng, 200_000, dtype), rng.integers(0, 1 << 16, 200_000, np.uint16)
    found = round_all(values, chance, dtype)
    assert encode(found, dtype) == rounded_by_chance(values, chance, dtype)


@pytest.mark.parametrize("dtype", NARROW)
def test_every_result_is_a_neighbour_of_the_exact_one(rng, dtype):
    values = any_floats(rng, 200_000, dtype)
    below, above = neighbours(values, dtype)
    found = round_all(values, rng.integers(0, 1 << 16, 200_000, np.uint16), dtype)
    assert np.all((found == below) | (found == above))
    assert np.any(found == below)
    assert np.any(found[above != below] == above[above != below])


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("chance", [0, 1, 0x1FFF, 0x8000, 0xFFFF])
def test_what_the_dtype_can_hold_stays_as_it_is(dtype, chance):
    """Every number there is, both zeros, infinities and NaN."""
    every = np.arange(1 << 16, dtype=np.uint16)
    values = as_f32((dtype, (), every.tobytes()))
    out = torch.empty(len(values), dtype=TORCH[dtype])
    round_by_chance(torch.from_numpy(values.copy()), torch.from_numpy(np.full(1 << 16, chance, np.uint16)), out)
    assert differing(out.view(torch.uint8).numpy().tobytes(), every.tobytes(), dtype) == 0
    assert np.array_equal(out.isnan().numpy(), np.isnan(values))


@pytest.mark.parametrize("dtype", NARROW)
def test_zeros_keep_their_sign_and_nothing_finite_becomes_nan(dtype):
    values = np.float32([0.0, -0.0, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38, np.inf, -np.inf, np.nan])
    for chance in (0, 0xFFFF):
        found = round_all(values, np.full(len(values), chance, np.uint16), dtype)
        assert np.array_equal(np.signbit(found[:8]), np.signbit(values[:8]))
        assert not np.isnan(found[:8]).any()
        assert np.isinf(found[6:8]).all()
        assert np.isnan(found[8])


@pytest.mark.parametrize(
    ("dtype", "spread"), [("BF16", 0.02), ("BF16", 1e-39), ("F16", 0.02), ("F16", 2e-5), ("F16", 3e-8), ("F16", 100.0)]
)
def test_the_mean_error_is_nothing(rng, dtype, spread):
    """Within five standard deviations over a million elements; nearest rounding of one number would be far outside."""
    values = rng.normal(0, spread, 1_000_000).astype(np.float32)
    values[::2] = np.float32(0.3001 * spread)
    below, above = neighbours(values, dtype)
    found = round_all(
        values, noise(key_of(1, f"{dtype} {spread}"), 0, torch.empty(10**6, dtype=torch.uint16)).numpy(), dtype
    )
    share = (values - below) / np.where(above == below, 1, above - below)
    error = np.where(above == below, 0, (found - below) / np.where(above == below, 1, above - below)) - share
    assert abs(error.sum()) < 5 * np.sqrt((share * (1 - share)).sum())
    assert abs(error[::2].sum()) < 5 * np.sqrt((share[::2] * (1 - share[::2])).sum())


@pytest.mark.parametrize("dtype", NARROW)
def test_an_element_never_falls_while_lambda_moves_it_up(rng, dtype):
    base, instruct = normal_pair(rng, 20_000, dtype)
    lambdas = [number / 20 for number in range(21)]
    sweep = run_sweep(memory_source({"w": base}), memory_source({"w": instruct}), lambdas, chunk_bytes=None, **RANDOM)
    steps = np.diff([as_f32(sweep.tensors(lam)["w"]) for lam in lambdas], axis=0)
    direction = np.sign(as_f32(instruct) - as_f32(base))
    assert np.all(steps * direction >= 0)


@pytest.mark.parametrize("dtype", NARROW)
def test_equal_tensors_and_the_ends_are_the_parents_byte_for_byte(rng, dtype):
    bits = dtype, (9001,), rng.bytes(9001 * 2)
    other = dtype, (9001,), rng.bytes(9001 * 2)
    tensors = {"same": bits, "w": bits}, {"same": bits, "w": other}
    sweep = run_every_way(*map(memory_source, tensors), LAMBDAS, **RANDOM)
    assert (sweep.tensors(0.0), sweep.tensors(1.0)) == tensors
    assert all(sweep.tensors(lam)["same"] == bits for lam in LAMBDAS)


@pytest.mark.parametrize("out_dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("has_difference", [False, True])
def test_a_tensor_equal_in_both_is_copied_whole_or_not_at_all(rng, out_dtype, has_difference):
    """Copying rounds to nearest, computing by chance: a chunk that is equal must not decide for itself."""
    values = rng.normal(0, 1, 20_000)
    base = float_tensor(values, "F32")
    values[-1] += has_difference
    instruct = float_tensor(values, "F32")
    sources = memory_source({"w": base}), memory_source({"w": instruct})
    sweep = run_every_way(*sources, [0.0, 0.3, 0.7], out_dtype=out_dtype, **RANDOM)
    is_as_the_base = [sweep.tensors(lam)["w"][2][:-2] == sweep.tensors(0.0)["w"][2][:-2] for lam in (0.3, 0.7)]
    assert is_as_the_base == [not has_difference] * 2


@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_float32_and_float64_outputs_are_rounded_to_nearest(rng, dtype):
    base, instruct = normal_pair(rng, 9001, dtype)
    sources = memory_source({"w": base}), memory_source({"w": instruct})
    assert run_sweep(*sources, LAMBDAS, **RANDOM).outputs == run_sweep(*sources, LAMBDAS).outputs


def test_another_seed_or_name_gives_other_bytes(rng):
    base, instruct = normal_pair(rng, 9001, "BF16")
    found = set()
    for seed, name in ((0, "a"), (1, "a"), (2**63 - 1, "a"), (0, "b"), (0, "a.b")):
        sources = memory_source({name: base}), memory_source({name: instruct})
        found.add(run_sweep(*sources, [0.5], seed=seed, **RANDOM).tensors(0.5)[name][2])
        assert run_sweep(*sources, [0.5], seed=seed, **RANDOM).tensors(0.5)[name][2] in found
    assert len(found) == 5


def test_neither_shards_nor_other_tensors_nor_other_lambdas_change_a_byte(rng):
    pairs = {f"t{number}": normal_pair(rng, 3001 + 700 * number, "BF16") for number in range(5)}
    sides: list[dict[str, Tensor]] = [{name: pair[side] for name, pair in pairs.items()} for side in (0, 1)]
    together = run_sweep(*map(memory_source, sides), LAMBDAS, **RANDOM)
    layouts = [["t3", "t0"], ["t1"], ["t4", "t2"]], [["t2", "t1", "t0"], ["t4", "t3"]]
    apart = run_sweep(*map(memory_source, sides, layouts), [0.9, 0.1], **RANDOM)
    for lam in (0.1, 0.9):
        assert apart.tensors(lam) == together.tensors(lam)
    alone = run_sweep(*(memory_source({"t4": side["t4"]}) for side in sides), [0.1], **RANDOM)
    assert alone.tensors(0.1)["t4"] == together.tensors(0.1)["t4"]


@pytest.mark.parametrize("kind", ["adapter", "chain"])
def test_formed_parents_are_rounded_by_the_same_bits(rng, kind):
    base, tuned = (float_tensor(side.reshape(99, 101), "BF16") for side in rng.normal(0, 0.02, (2, 99 * 101)))
    if kind == "adapter":
        factors = {"m.lora_A.weight": (4, 101), "m.lora_B.weight": (99, 4)}
        instruct = adapter_source(
            {name: float_tensor(rng.normal(0, 0.1, shape), "F32") for name, shape in factors.items()}, r=4
        )
        options = {}
    else:
        instruct = memory_source({"m.weight": tuned})
        options = {"reference": memory_source({"m.weight": float_tensor(rng.normal(0, 0.02, (99, 101)), "BF16")})}
    whole = memory_source({"m.weight": base})
    sweep = run_every_way(whole, instruct, [0.3], **RANDOM, **options)
    exact = run_sweep(whole, instruct, [0.3], out_dtype="float32", **options).tensors(0.3)["m.weight"]
    chance = random_bits(0, "m.weight", 99 * 101)
    assert sweep.tensors(0.3)["m.weight"][2] == rounded_by_chance(as_f32(exact), chance, "BF16")


@pytest.mark.parametrize("first", [0, 1, 2, 3, 5, 4095, 65_535, 65_537])
@pytest.mark.parametrize("elements", [0, 1, 3, 8, 70_001])
def test_random_bits_are_splitmix64_from_any_element_on(first, elements):
    wanted = SPLITMIX[first : first + elements]
    found = noise(key_of(2026, "model.layers.0.w"), first, torch.empty(elements, dtype=torch.uint16))
    assert np.array_equal(found.numpy(), wanted)


def test_random_bits_are_uniform_and_neighbours_independent():
    """Each within five standard deviations, over a million elements."""
    count = 1 << 20
    bits = noise(key_of(0, "w"), 0, torch.empty(count, dtype=torch.uint16)).numpy()
    ones = np.unpackbits(bits.view(np.uint8)).reshape(count, 16).sum(axis=0)
    assert np.all(np.abs(ones - count / 2) < 5 * np.sqrt(count) / 2)
    for table in (
        bits >> 8,
        bits & 0xFF,
        (bits[:-1] >> 12) << 4 | (bits[1:] >> 12),
        (bits[:-4] & 15) << 4 | (bits[4:] & 15),
    ):
        found, cells = np.bincount(table, minlength=256), 256
        chi_squared = ((found - len(table) / cells) ** 2 / (len(table) / cells)).sum()
        assert abs(chi_squared - (cells - 1)) < 5 * np.sqrt(2 * (cells - 1))
    other = noise(key_of(1, "w"), 0, torch.empty(count, dtype=torch.uint16)).numpy()
    assert abs(np.corrcoef(bits, other)[0, 1]) < 5 / np.sqrt(count)
