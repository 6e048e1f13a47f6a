"""Every tensor of the union gets one row, with an action and a reason, or a refusal that names it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.errors import PlanRefused, QuantisationUnsupported
from crossfade_core.plan import Action, ByteRange, Scales
from tests.fakes.layouts import HEADER_BYTES, plan_pair, rows_of

FLOATS = ["BF16", "F16", "F32", "F64"]
EXACT = ["BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"]
CODES = sorted(dtype for dtype in DTYPE_BITS if dtype.startswith(("F4", "F6_", "F8")))


def only_row(base, instruct, **fields):
    plan = plan_pair([("w", *base)], [("w", *instruct)], **fields)
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
    row = only_row((dtype, (4,)), (dtype, (4,)), out_dtype=asked)
    assert row.out_dtype == written
    assert row.end - row.start == 4 * DTYPE_BITS[written] // 8


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("asked", ["auto", "bfloat16"])
def test_integers_and_bools_must_be_equal_and_keep_their_dtype(dtype, asked):
    row = only_row((dtype, (3,)), (dtype, (3,)), out_dtype=asked)
    assert (row.action, row.out_dtype) == (Action.COPY_EQUAL, dtype)
    assert dtype in row.reason
    assert "equal" in row.reason


def test_row_says_from_which_bytes_of_which_file():
    plan = plan_pair([("v", "U8", (10,)), ("w", "F32", (2,))], [("w", "BF16", (2,)), ("v", "U8", (10,))])
    rows = rows_of(plan)
    assert rows["w"].base == ByteRange("base.safetensors", "F32", HEADER_BYTES + 10, HEADER_BYTES + 18)
    assert rows["w"].instruct == ByteRange("model.safetensors", "BF16", HEADER_BYTES, HEADER_BYTES + 4)


@pytest.mark.parametrize("plain", FLOATS)
@pytest.mark.parametrize("is_base_coded", [True, False])
def test_scaled_codes_interpolate_as_bfloat16_and_their_scales_are_absorbed(is_base_coded, plain):
    sides = [[("w", "F8_E4M3", (64, 96)), ("w_scale_inv", "F32", (1, 1))], [("w", plain, (64, 96))]]
    plan = plan_pair(*(sides if is_base_coded else sides[::-1]))
    rows = rows_of(plan)
    coded, other = (rows["w"].base, rows["w"].instruct)[:: 1 if is_base_coded else -1]
    assert (rows["w"].action, rows["w"].out_dtype) == (Action.INTERPOLATE, "BF16" if is_base_coded else plain)
    assert isinstance(coded.scales, Scales)
    assert other.scales is None
    assert (rows["w_scale_inv"].action, [row.name for row in plan.absorbed]) == (Action.ABSORB, ["w_scale_inv"])
    assert rows["w_scale_inv"].side("base" if is_base_coded else "instruct") is not None


def test_scales_that_both_parents_have_are_absorbed_in_one_row_with_both_sides():
    coded = [("w", "F8_E4M3", (64, 96)), ("w_scale_inv", "F32", (1, 1))]
    (row,) = plan_pair(coded, coded).absorbed
    assert (row.name, row.base.file, row.instruct.file) == ("w_scale_inv", "base.safetensors", "model.safetensors")


@pytest.mark.parametrize("policies", [{}, {"one_sided": "copy"}])
def test_scales_of_one_parent_have_nothing_to_do_with_a_plain_tensor_of_that_name_in_the_other(policies):
    coded = [("w", "F8_E4M3", (64, 96)), ("w_scale_inv", "F32", (1, 1))]
    plain = [("w", "BF16", (64, 96)), ("w_scale_inv", "F32", (1, 1))]
    row = rows_of(plan_pair(coded, plain, policies=policies))["w_scale_inv"]
    assert row.action is (Action.COPY_INSTRUCT if policies else Action.REFUSE)
    assert (row.base, row.instruct.file) == (None, "model.safetensors")


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("is_base_coded", [True, False])
def test_codes_without_scales_are_refused_by_name(is_base_coded, dtype):
    sides = [[("w", dtype, (8,))], [("w", "BF16", (8,))]]
    with pytest.raises(QuantisationUnsupported, match=rf"'w'.*{dtype} codes.*unquantised"):
        plan_pair(*(sides if is_base_coded else sides[::-1]))


def test_complex_tensors_are_refused():
    row = only_row(("C64", (8,)), ("C64", (8,)))
    assert row.action is Action.REFUSE
    assert "C64" in row.reason


@pytest.mark.parametrize(
    ("base", "instruct"),
    [("BF16", "C64"), ("C64", "BF16"), ("I32", "I64"), ("I32", "F32"), ("BF16", "U8"), ("BOOL", "U8"), ("I64", "C64")],
)
def test_dtypes_that_do_not_pair_are_refused_with_both_named(base, instruct):
    row = only_row((base, (8,)), (instruct, (8,)))
    assert row.action is Action.REFUSE
    assert f"{base} in base (base.safetensors)" in row.reason
    assert f"{instruct} in instruct (model.safetensors)" in row.reason
    assert ("policy integers: base or instruct" in row.reason) == ({base, instruct} <= {*EXACT})


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((6,), (2, 3)), ((), (1,)), ((0,), (0, 1)), ((4,), (5,))])
@pytest.mark.parametrize("dtype", ["BF16", "I64", "C64"])
def test_shapes_that_differ_are_refused_with_both_their_files_and_the_way_out_named(shapes, dtype):
    row = only_row((dtype, shapes[0]), (dtype, shapes[1]))
    assert row.action is Action.REFUSE
    for part in (*(str(list(shape)) for shape in shapes), "base.safetensors", "model.safetensors"):
        assert part in row.reason
    assert "policy other_shape: base or instruct" in row.reason


def test_tensor_in_the_base_only_is_refused_with_its_file_and_the_way_out_named():
    plan = plan_pair([("w", "BF16", (2,)), ("bias", "BF16", (2,))], [("w", "BF16", (2,))])
    (row,) = plan.refusals
    assert (row.name, row.action, row.instruct) == ("bias", Action.REFUSE, None)
    assert row.base.file == "base.safetensors"
    assert "only in the base checkpoint (base.safetensors); policy one_sided: copy" in row.reason


def test_tensor_in_the_instruct_only_is_refused_with_its_file_and_the_way_out_named():
    plan = plan_pair([("w", "BF16", (2,))], [("w", "BF16", (2,)), ("bias", "BF16", (2,))])
    (row,) = plan.refusals
    assert (row.name, row.action, row.base) == ("bias", Action.REFUSE, None)
    assert row.instruct.file == "model.safetensors"
    assert "only in the instruct checkpoint (model.safetensors); policy one_sided: copy" in row.reason


def test_plan_without_refusals_is_accepted():
    plan_pair([("w", "BF16", (2,))], [("w", "BF16", (2,))]).require_accepted()


def test_refused_tensor_is_in_no_file_of_the_outputs():
    plan = plan_pair([("w", "BF16", (2,)), ("v", "BF16", (2,))], [("w", "BF16", (2,)), ("v", "BF16", (3,))])
    assert [row.name for row in plan.rows] == ["w"]
    assert [row.name for row in plan.refusals] == ["v"]


def test_refused_plan_names_tensors_and_reasons_and_counts_them_all():
    plan = plan_pair([(f"b{at}", "BF16", ()) for at in range(30)], [("w", "BF16", ())])
    with pytest.raises(PlanRefused, match=r"31 tensor\(s\).*w: only in the instruct.*28 more") as caught:
        plan.require_accepted()
    details = caught.value.details
    assert details["count"] == 31
    assert len(details["refusals"]) == 20
    assert details["refusals"][0] == {
        "tensor": "w",
        "reason": "only in the instruct checkpoint (model.safetensors); policy one_sided: copy keeps such tensors",
    }


def test_few_refusals_are_all_named_in_the_message():
    plan = plan_pair([("a", "BF16", ()), ("b", "BF16", (2,))], [("b", "BF16", (3,)), ("c", "BF16", ())])
    with pytest.raises(PlanRefused) as caught:
        plan.require_accepted()
    assert all(f"{name}: " in caught.value.message for name in "abc")
    assert "more" not in caught.value.message


plain = st.tuples(st.sampled_from(sorted({*DTYPE_BITS} - {*CODES})), st.sampled_from([(), (0,), (8,), (2, 4)]))
embeddings = st.fixed_dictionaries(
    {}, optional={name: st.just(("BF16", (8, 4))) for name in ("model.embed_tokens.weight", "lm_head.weight")}
)
coded = st.sets(st.sampled_from(["f.weight", "g.weight", "lm_head.weight"])).map(
    lambda names: {
        key: fields
        for name in names
        for key, fields in ((name, ("F8_E4M3", (8, 4))), (f"{name}_scale_inv", ("F32", (8, 1))))
    }
)
checkpoints = st.tuples(
    st.dictionaries(st.sampled_from([*"abcde", "f.weight_scale_inv"]), plain), embeddings, coded
).map(lambda parts: parts[0] | parts[1] | parts[2])


@given(checkpoints, checkpoints, st.sampled_from(["auto", "bfloat16", "float16", "float32"]))
def test_every_tensor_of_the_union_has_exactly_one_row_with_a_reason(base, instruct, out_dtype):
    plan = plan_pair(
        [(name, *fields) for name, fields in base.items()],
        [(name, *fields) for name, fields in instruct.items()],
        out_dtype=out_dtype,
    )
    rows = rows_of(plan)
    assert sorted(rows) == sorted({*base, *instruct})
    assert all(row.reason for row in rows.values())
    assert all(row.action is Action.REFUSE for row in plan.refusals)
    assert all(row.action is Action.ABSORB for row in plan.absorbed)
    assert all(row.base and row.instruct and row.action not in (Action.REFUSE, Action.ABSORB) for row in plan.rows)
