"""A tensor's strength is factor · λ: equal strengths give equal bytes, however they are written."""

import numpy as np
import pytest

from crossfade_core.strength import as_float32
from tests.engine.oracle import merged
from tests.engine.sweep import memory_source, normal_pair, run_every_way, run_sweep
from tests.engine.test_device import RecordingDevice
from tests.fakes.checkpoints import Tensor
from tests.fakes.source import MemorySource

NAMES = [f"model.layers.{number}.w" for number in range(5)]


@pytest.fixture
def parents(rng) -> list[dict[str, Tensor]]:
    pairs = {name: normal_pair(rng, 3001 + 900 * number, "BF16") for number, name in enumerate(NAMES)}
    return [{name: pair[side] for name, pair in pairs.items()} for side in (0, 1)]


@pytest.fixture
def sources(parents) -> tuple[MemorySource, MemorySource]:
    return memory_source(parents[0]), memory_source(parents[1])


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize(("factor", "lam"), [(0.5, 0.6), (0.1, 0.3), (3.0, 0.1), (-0.5, 0.6), (1e-60, 0.5), (2.0, 0.5)])
def test_a_factor_gives_the_bytes_of_the_plain_strength(sources, factor, lam, rounding):
    schedule = [{"pattern": NAMES[2], "factor": factor}, {"pattern": "*", "factor": 1.0}]
    sweep = run_every_way(*sources, [lam], schedule=schedule, rounding=rounding)
    plain = run_sweep(*sources, [lam, lam * factor], rounding=rounding)
    for name, tensor in sweep.tensors(lam).items():
        assert tensor == plain.tensors(lam * factor if name == NAMES[2] else lam)[name]


def test_a_schedule_of_ones_gives_the_bytes_of_no_schedule(sources):
    schedule = [{"pattern": "model.layers.?.w", "factor": 1.0}]
    assert (
        run_sweep(*sources, [0.0, 0.3, 1.0], schedule=schedule).outputs == run_sweep(*sources, [0.0, 0.3, 1.0]).outputs
    )


def test_a_gradient_gives_every_layer_its_own_strength(parents, sources):
    sweep = run_every_way(*sources, [0.8], schedule=[{"pattern": "*", "gradient": [0.0, 1.0, 0.5]}])
    for name, factor in zip(NAMES, (0.0, 0.5, 1.0, 0.75, 0.5), strict=True):
        wanted = merged(parents[0][name], parents[1][name], as_float32(0.8 * factor), "BF16")
        assert sweep.tensors(0.8)[name][2] == wanted


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0, 4.0])
def test_a_factor_of_nothing_copies_the_base(parents, sources, lam):
    schedule = [{"pattern": NAMES[0], "factor": 0.0}, {"pattern": "*", "factor": 1.0}]
    assert run_sweep(*sources, [lam], schedule=schedule).tensors(lam)[NAMES[0]] == parents[0][NAMES[0]]


def test_factors_that_lead_to_0_or_1_reach_no_arithmetic(sources, parents):
    schedule = [{"pattern": NAMES[0], "factor": 0.0}, {"pattern": "*", "factor": 2.0}]
    seen = RecordingDevice()
    sweep = run_sweep(*sources, [0.5, 0.0], schedule=schedule, device=seen)
    assert seen.lambdas == []
    assert sweep.tensors(0.5) == {**parents[1], NAMES[0]: parents[0][NAMES[0]]}
    assert sweep.tensors(0.0) == parents[0]


def test_the_product_is_rounded_to_float32_once(sources):
    """0.1 · 0.3 in float64 is another float32 than the product of the two rounded."""
    assert np.float32(0.1) * np.float32(0.3) != np.float32(0.1 * 0.3)
    sweep = run_sweep(*sources, [0.1], schedule=[{"pattern": "*", "factor": 0.3}], out_dtype="float32")
    assert sweep.tensors(0.1) == run_sweep(*sources, [0.1 * 0.3], out_dtype="float32").tensors(0.1 * 0.3)
