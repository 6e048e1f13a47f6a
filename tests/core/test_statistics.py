"""Figures are what their definitions say of the numbers themselves, and never anything JSON cannot hold."""

import json
import math
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.statistics import SweepStatistics, output_figures, tensor_figures
from crossfade_core.strength import as_float32
from crossfade_core.sweep_warnings import MAX_STRAY, warnings


def bfloat16(value):
    """Round a float32 to bfloat16, to nearest even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    bits += 0x7FFF + (bits >> 16 & 1)
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0]


def counted_on(tensor, base, instruct, outputs, **changes):
    """Count a tensor as a unit does, from its numbers."""
    delta = [i - b for b, i in zip(base, instruct, strict=True)]
    steps = [[m - b for b, m in zip(base, output, strict=True)] for output in outputs]
    return {
        "tensor": tensor,
        "factor": 1.0,
        "elements": len(base),
        "counted": len(base),
        "delta_squares": math.fsum(d * d for d in delta),
        "base_squares": math.fsum(b * b for b in base),
        "base_non_finite": [0, 0],
        "instruct_non_finite": [0, 0],
        "outputs": [
            [
                math.fsum(map(math.prod, zip(step, delta, strict=True))),
                math.fsum(s * s for s in step),
                step.count(0),
                0,
            ]
            for step in steps
        ],
        **changes,
    }


def of_tensors(*tensors, method="exact"):
    return SweepStatistics.of_results([{"statistics": {"method": method, "tensors": list(tensors)}}])


def rounded_pair(seed=0, count=20_000, delta_std=1e-4):
    """The fixture of docs/numerics.md: weights N(0, 0.02), delta N(0, 1e-4), in bfloat16."""
    chance = random.Random(seed)
    base = [bfloat16(chance.gauss(0, 0.02)) for _ in range(count)]
    return base, [bfloat16(b + chance.gauss(0, delta_std)) for b in base]


def merged(base, instruct, lam):
    return [bfloat16(b + as_float32(lam) * (i - b)) for b, i in zip(base, instruct, strict=True)]


def said(statistics, lam=0.1, position=0, *, rounding="nearest", out_dtypes=("BF16",)):
    tensors = tensor_figures(statistics, position, lam)
    return warnings(output_figures(statistics, position, lam), tensors, rounding=rounding, out_dtypes=out_dtypes)


@pytest.mark.parametrize(("lam", "realised"), [(0.1, 0.027), (0.3, 0.225), (0.5, 0.5)])
def test_small_deltas_in_bfloat16_bend_the_sweep_as_measured(lam, realised):
    base, instruct = rounded_pair()
    figures = output_figures(of_tensors(counted_on("w", base, instruct, [merged(base, instruct, lam)])), 0, lam)
    assert figures.realised == pytest.approx(realised, abs=0.01)


def test_a_tensors_figures_are_their_definitions():
    base, instruct = [3.0, 0.0, 4.0, 0.0], [3.0, 1.0, 4.0, 2.0]
    output = [
        3.0,
        0.25,
        4.0,
        1.5,
    ]  # the step is (0, 0.25, 0, 1.5), the delta (0, 1, 0, 2); exact would be (0, .5, 0, 1)
    (figures,) = tensor_figures(of_tensors(counted_on("w", base, instruct, [output])), 0, 0.5)
    assert figures.tensor == "w"
    assert figures.requested == 0.5
    assert figures.realised == pytest.approx((0.25 + 3) / 5)
    assert figures.relative_delta_norm == pytest.approx(math.sqrt(0.0625 + 2.25) / 5)
    assert figures.unchanged_share == 0.5
    assert figures.rounding_error == pytest.approx(math.hypot(0.25, 0.5) / math.sqrt(1.25))


def test_an_exact_output_has_its_strength_and_no_error():
    base, instruct = [1.0, 2.0], [1.5, 1.0]
    figures = output_figures(of_tensors(counted_on("w", base, instruct, [[1.25, 1.5]])), 0, 0.5)
    assert (figures.requested, figures.realised, figures.rounding_error) == (0.5, 0.5, 0.0)


@given(st.integers(1, 60), st.integers(0, 2**32), st.sampled_from([0.1, 0.5, 0.9]))
def test_a_whole_output_has_the_figures_of_its_numbers_in_one_tensor(cut, seed, lam):
    base, instruct = rounded_pair(seed, 64, 1e-3)
    output = merged(base, instruct, lam)
    parts = [
        counted_on(str(at), base[at:to], instruct[at:to], [output[at:to]]) for at, to in ((0, cut), (cut, len(base)))
    ]
    split = output_figures(of_tensors(*parts), 0, lam)
    one = output_figures(of_tensors(counted_on("w", base, instruct, [output])), 0, lam)
    for name in ("requested", "realised", "relative_delta_norm", "unchanged_share", "rounding_error"):
        assert getattr(split, name) == pytest.approx(getattr(one, name), rel=1e-6), name


def test_units_are_joined_in_their_order_and_each_lambda_has_its_own_figures():
    base, instruct = [1.0], [2.0]
    units = [
        {"statistics": {"method": "exact", "tensors": [counted_on(name, base, instruct, [[1.25], [1.5]])]}}
        for name in ("b", "a")
    ]
    statistics = SweepStatistics.of_results(units)
    assert [tensor.tensor for tensor in tensor_figures(statistics, 0, 0.25)] == ["b", "a"]
    assert [output_figures(statistics, at, lam).realised for at, lam in enumerate((0.25, 0.5))] == [0.25, 0.5]


def test_a_sampled_tensor_counts_as_much_as_it_has_elements():
    base, instruct = [1.0, 1.0], [2.0, 2.0]
    small = counted_on("small", base, instruct, [[1.0, 1.0]])
    large = counted_on("large", base, instruct, [[1.5, 1.5]], elements=6, counted=2)
    figures = output_figures(of_tensors(small, large, method="sampled"), 0, 0.5)
    assert figures.method == "sampled"
    assert figures.realised == pytest.approx(0.5 * 6 / 8)
    assert figures.unchanged_share == pytest.approx(2 / 8)


def test_a_schedule_asks_of_the_whole_the_mean_weighted_by_the_delta():
    one = counted_on("one", [0.0], [1.0], [[0.5]])
    two = counted_on("two", [0.0], [3.0], [[0.75]], factor=0.5)
    statistics = of_tensors(one, two)
    figures = output_figures(statistics, 0, 0.5)
    assert [tensor.requested for tensor in tensor_figures(statistics, 0, 0.5)] == [0.5, 0.25]
    assert figures.requested == pytest.approx((0.5 * 1 + 0.25 * 9) / 10)
    assert figures.realised == pytest.approx(figures.requested)
    assert figures.rounding_error == 0


@pytest.mark.parametrize("factors", [(), (1.0,), (1.0, 1.0)])
def test_without_a_schedule_the_requested_strength_is_lambda_as_computed_with(factors):
    tensors = [counted_on(str(at), [1.0], [1.0 + 0.1 * at], [[1.0]]) for at, _ in enumerate(factors)]
    assert output_figures(of_tensors(*tensors), 0, 0.1).requested == pytest.approx(as_float32(0.1), rel=1e-12)


def test_where_nothing_was_counted_there_are_no_ratios():
    nothing = counted_on("equal", [], [], [[]], elements=7)
    for statistics in (of_tensors(nothing), of_tensors()):
        record = output_figures(statistics, 0, 0.5).as_record()
        ratios = ("realised", "relative_delta_norm", "unchanged_share", "rounding_error")
        assert [record[name] for name in ratios] == [None] * 4
        assert record["requested"] == 0.5


def test_a_copied_base_has_a_strength_of_0_and_no_rounding_error_to_speak_of():
    figures = output_figures(of_tensors(counted_on("w", [1.0], [2.0], [[1.0]])), 0, 0.0)
    assert (figures.realised, figures.unchanged_share, figures.rounding_error) == (0.0, 1.0, None)


NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-(10**300), 10**300))


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 5)), max_size=4),
    st.floats(-3e38, 3e38, allow_nan=False),
)
def test_figures_are_json_whatever_the_sums(rows, lam):
    tensors = [
        counted_on(str(at), [], [], [], elements=5, counted=counted, delta_squares=dd, base_squares=bb)
        | {"outputs": [[pd, pp, counted, 1]]}
        for at, (dd, bb, pd, pp, counted) in enumerate(rows)
    ]
    statistics = of_tensors(*tensors)
    records = [figures.as_record() for figures in tensor_figures(statistics, 0, lam)]
    json.dumps([output_figures(statistics, 0, lam).as_record(), *records], allow_nan=False)
    said(statistics, lam)


def test_a_tensor_without_finite_sums_is_left_out_of_the_whole_and_that_is_said():
    whole = counted_on("whole", [0.0], [1.0], [[0.5]])
    broken = counted_on("broken", [0.0], [1.0], [[0.5]], delta_squares=math.nan, base_non_finite=[2, 1])
    statistics = of_tensors(whole, broken)
    figures = output_figures(statistics, 0, 0.5)
    assert (figures.realised, figures.base_non_finite, figures.left_out) == (0.5, (2, 1), 1)
    assert tensor_figures(statistics, 0, 0.5)[1].realised is None
    first, second = said(statistics, 0.5)
    assert "the base holds 2 NaN and 1 infinite values, most of them in broken" in first
    assert "leave out 1 tensor(s)" in second


def test_records_have_six_digits_and_only_counts_that_are_there():
    base, instruct = [1.0, 1.0, 1.0], [2.0, 2.0, 4.0]
    statistics = of_tensors(counted_on("w", base, instruct, [[1.1, 1.1, 1.1]], instruct_non_finite=[0, 3]))
    assert tensor_figures(statistics, 0, 0.1)[0].as_record() == {
        "tensor": "w",
        "requested": 0.1,
        "realised": 0.0454545,
        "relative_delta_norm": 0.1,
        "unchanged_share": 0.0,
        "rounding_error": 0.603023,
        "instruct_non_finite": [0, 3],
    }
    assert output_figures(statistics, 0, 0.1).as_record() == {
        "method": "exact",
        "requested": 0.1,
        "realised": 0.0454545,
        "relative_delta_norm": 0.1,
        "unchanged_share": 0.0,
        "rounding_error": 0.603023,
        "base_non_finite": [0, 0],
        "instruct_non_finite": [0, 3],
        "overflowed": 0,
    }


def stray(realised, **changes):
    return of_tensors(counted_on("w", [0.0], [1.0], [[realised]], **changes))


def test_a_stray_strength_is_told_with_both_cures():
    assert said(stray(0.0268)) == [
        "λ = 0.1 was realised as 0.027: bfloat16 rounds small steps away; "
        "use rounding: stochastic or out_dtype: float32"
    ]


@pytest.mark.parametrize(("realised", "is_told"), [(0.5 + 0.75 * MAX_STRAY, False), (0.5 + 1.25 * MAX_STRAY, True)])
@pytest.mark.parametrize("sign", [1, -1])
def test_only_more_than_the_allowed_stray_is_told(realised, is_told, sign):
    assert bool(said(stray(0.5 + sign * (realised - 0.5)), 0.5)) is is_told


def test_a_cure_that_was_taken_is_not_offered_again():
    (text,) = said(stray(0.02), rounding="stochastic")
    assert text.endswith(": bfloat16 rounds small steps away; use out_dtype: float32")
    (text,) = said(stray(0.02), out_dtypes=("F32", "I64"))
    assert "out_dtype" not in text
    assert "crossfade inspect --tensors" in text


def test_the_dtypes_that_round_are_named():
    (text,) = said(stray(0.02), out_dtypes=("F16", "F32", "BF16"))
    assert ": bfloat16 and float16 round small steps away" in text


def test_a_scheduled_strength_is_told_as_a_mean():
    tensors = [counted_on("a", [0.0], [1.0], [[0.0]]), counted_on("b", [0.0], [1.0], [[0.0]], factor=0.5)]
    (text,) = said(of_tensors(*tensors))
    assert text.startswith("λ = 0.075 on average was realised as 0:")


@pytest.mark.parametrize(("dtype", "cure"), [("F16", "bfloat16 or float32"), ("BF16", "a smaller λ")])
def test_kept_overflow_is_told_with_its_tensor_and_a_cure(dtype, cure):
    tensors = [counted_on(name, [0.0], [1.0], [[0.1]]) for name in ("few", "many")]
    tensors[0]["outputs"][0][3], tensors[1]["outputs"][0][3] = 1, 4
    (text,) = said(of_tensors(*tensors), out_dtypes=(dtype,))
    assert text.startswith("5 results were too large")
    assert "most of them in many" in text
    assert cure in text
