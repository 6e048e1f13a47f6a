"""Every tensor of the union gets one row, with an action and a reason, or a refusal that names it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.errors import PlanRefused
from crossfade_core.plan import Action, ByteRange
from tests.fakes.layouts import HEADER_BYTES, make_layout, plan_layouts

FLOATS = ["BF16", "F16", "F32", "F64"]
EXACT = ["BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"]
NEITHER = sorted(set(DTYPE_BITS) - set(FLOATS) - set(EXACT))


def plan_of(base, instruct, out_dtype="auto"):
    """Plan two single-file checkpoints, each given as its (name, dtype, shape) tuples."""
    return plan_layouts(
        make_layout({"base.safetensors": base}), make_layout({"model.safetensors": instruct}), out_dtype=out_dtype
    )


def only_row(base, instruct, out_dtype="auto"):
    plan = plan_of([("w", *base)], [("w", *instruct)], out_dtype)
    (row,) = (*plan.rows, *plan.refusals)
    assert row.name == "w"
    assert (row.action is Action.REFUSE) == (row in plan.refusals)
    return row


@pytest.mark.parametrize(("base", "instruct"), list(itertools.product(FLOATS, FLOATS)))
def test_floats_interpolate_into_the_dtype_of_the_base(base, instruct):
    row = only_row((base, (2, 3)), (instruct, (2, 3)))
    assert (row.action, row.out_dtype, row.shape) == (Action.INTERPOLATE, base, (2, 3))
    assert "floating point" in row.reason
    assert (row.base.dtype, row.instruct.dtype) == (base, instruct)


@pytest.mark.parametrize(("asked", "written"), [("bfloat16", "BF16"), ("float16", "F16"), ("float32", "F32")])
@pytest.mark.parametrize("dtype", FLOATS)
def test_out_dtype_asked_for_is_that_of_every_interpolated_tensor(dtype, asked, written):
    row = only_row((dtype, (4,)), (dtype, (4,)), asked)
    assert row.out_dtype == written
    assert row.end - row.start == 4 * DTYPE_BITS[written] // 8


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("asked", ["auto", "bfloat16"])
def test_integers_and_bools_must_be_equal_and_keep_their_dtype(dtype, asked):
    row = only_row((dtype, (3,)), (dtype, (3,)), asked)
    assert (row.action, row.out_dtype) == (Action.COPY_EQUAL, dtype)
    assert dtype in row.reason
    assert "equal" in row.reason


def test_row_says_from_which_bytes_of_which_file():
    plan = plan_of([("v", "U8", (10,)), ("w", "F32", (2,))], [("w", "BF16", (2,)), ("v", "U8", (10,))])
    rows = {row.name: row for row in plan.rows}
    assert rows["w"].base == ByteRange("base.safetensors", "F32", HEADER_BYTES + 10, HEADER_BYTES + 18)
    assert rows["w"].instruct == ByteRange("model.safetensors", "BF16", HEADER_BYTES, HEADER_BYTES + 4)


@pytest.mark.parametrize("dtype", NEITHER)
def test_quantised_and_complex_tensors_are_refused(dtype):
    row = only_row((dtype, (8,)), (dtype, (8,)))
    assert row.action is Action.REFUSE
    assert dtype in row.reason


@pytest.mark.parametrize(
    ("base", "instruct"),
    [("BF16", "F8_E4M3"), ("F8_E4M3", "BF16"), ("I32", "I64"), ("I32", "F32"), ("BF16", "U8"), ("BOOL", "U8")],
)
def test_dtypes_that_do_not_pair_are_refused_with_both_named(base, instruct):
    row = only_row((base, (8,)), (instruct, (8,)))
    assert row.action is Action.REFUSE
    assert f"{base} in base" in row.reason
    assert f"{instruct} in instruct" in row.reason


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((6,), (2, 3)), ((), (1,)), ((0,), (0, 1)), ((4,), (5,))])
@pytest.mark.parametrize("dtype", ["BF16", "I64", "F8_E4M3"])
def test_shapes_that_differ_are_refused_with_both_and_their_files_named(shapes, dtype):
    row = only_row((dtype, shapes[0]), (dtype, shapes[1]))
    assert row.action is Action.REFUSE
    for part in (str(list(shapes[0])), str(list(shapes[1])), "base.safetensors", "model.safetensors"):
        assert part in row.reason


def test_tensor_in_the_base_only_is_refused_with_its_file_named():
    plan = plan_of([("w", "BF16", (2,)), ("lm_head", "BF16", (2,))], [("w", "BF16", (2,))])
    (row,) = plan.refusals
    assert (row.name, row.action, row.instruct) == ("lm_head", Action.REFUSE, None)
    assert row.base.file == "base.safetensors"
    assert "only in the base checkpoint (base.safetensors)" in row.reason


def test_tensor_in_the_instruct_only_is_refused_with_its_file_named():
    plan = plan_of([("w", "BF16", (2,))], [("w", "BF16", (2,)), ("lm_head", "BF16", (2,))])
    (row,) = plan.refusals
    assert (row.name, row.action, row.base) == ("lm_head", Action.REFUSE, None)
    assert row.instruct.file == "model.safetensors"
    assert "only in the instruct checkpoint (model.safetensors)" in row.reason


def test_plan_without_refusals_is_accepted():
    plan_of([("w", "BF16", (2,))], [("w", "BF16", (2,))]).require_accepted()


def test_refused_plan_names_tensors_and_reasons_and_counts_them_all():
    plan = plan_of([(f"b{at}", "BF16", ()) for at in range(30)], [("w", "BF16", ())])
    with pytest.raises(PlanRefused, match=r"31 tensor\(s\).*w: only in the instruct.*28 more") as caught:
        plan.require_accepted()
    details = caught.value.details
    assert details["count"] == 31
    assert len(details["refusals"]) == 20
    assert details["refusals"][0] == {"tensor": "w", "reason": "only in the instruct checkpoint (model.safetensors)"}


def test_few_refusals_are_all_named_in_the_message():
    plan = plan_of([("a", "BF16", ()), ("b", "BF16", (2,))], [("b", "BF16", (3,)), ("c", "BF16", ())])
    with pytest.raises(PlanRefused) as caught:
        plan.require_accepted()
    assert all(f"{name}: " in caught.value.message for name in "abc")
    assert "more" not in caught.value.message


checkpoints = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(st.sampled_from(sorted(DTYPE_BITS)), st.sampled_from([(), (0,), (8,), (2, 4)])),
)


@given(checkpoints, checkpoints, st.sampled_from(["auto", "bfloat16", "float16", "float32"]))
def test_every_tensor_of_the_union_has_exactly_one_row_with_a_reason(base, instruct, out_dtype):
    plan = plan_of(
        [(name, *fields) for name, fields in base.items()],
        [(name, *fields) for name, fields in instruct.items()],
        out_dtype,
    )
    rows = [*plan.rows, *plan.refusals]
    assert sorted(row.name for row in rows) == sorted({*base, *instruct})
    assert all(row.reason for row in rows)
    assert all(row.action is Action.REFUSE for row in plan.refusals)
    assert all(row.base and row.instruct and row.action is not Action.REFUSE for row in plan.rows)
