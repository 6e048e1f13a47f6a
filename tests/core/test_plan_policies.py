"""What does not simply interpolate is refused with the policy that would let it in, and that policy lets it in."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.plan import Action
from tests.fakes.layouts import plan_pair, rows_of

FLOATS = ["BF16", "F16", "F32", "F64"]
EXACT = ["BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"]
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
SHARED = [("w", "BF16", (2,))]
ASKED = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def plan_with(base, instruct, out_dtype="auto", **policies):
    return plan_pair(base, instruct, out_dtype=out_dtype, policies=policies)


def row_of(name, base, instruct, out_dtype="auto", **policies):
    return rows_of(plan_with(base, instruct, out_dtype, **policies))[name]


@pytest.mark.parametrize("dtype", [*FLOATS, *EXACT, "C64"])
@pytest.mark.parametrize("side", ["base", "instruct"])
def test_one_sided_copy_keeps_a_tensor_of_one_parent_as_it_is(side, dtype):
    alone = [*SHARED, ("x", dtype, (3,))]
    row = row_of("x", *((alone, SHARED) if side == "base" else (SHARED, alone)), one_sided="copy")
    assert row.action is {"base": Action.COPY_BASE, "instruct": Action.COPY_INSTRUCT}[side]
    assert (row.out_dtype, row.shape, row.shared_elements) == (dtype, (3,), None)
    assert row.side(side) is not None
    assert row.side("instruct" if side == "base" else "base") is None
    assert f"only in the {side}" in row.reason
    assert "policy one_sided: copy" in row.reason


@pytest.mark.parametrize("policies", [{"other_shape": "base"}, {"extra_rows": "copy"}, {"integers": "instruct"}])
def test_other_policies_do_not_let_a_tensor_of_one_parent_in(policies):
    assert row_of("x", [*SHARED, ("x", "I64", (3,))], SHARED, **policies).action is Action.REFUSE


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3"])
@pytest.mark.parametrize("policies", [{"one_sided": "copy"}, {"other_shape": "base", "one_sided": "copy"}])
def test_elements_smaller_than_a_byte_are_never_copied(dtype, policies):
    base = [*SHARED, ("experts_scale", dtype, (8,))]
    instruct = SHARED if "other_shape" not in policies else [*SHARED, ("experts_scale", dtype, (16,))]
    row = row_of("experts_scale", base, instruct, **policies)
    assert row.action is Action.REFUSE
    assert f"{dtype} elements, smaller than a byte" in row.reason


@pytest.mark.parametrize(("asked", "written"), ASKED.items())
@pytest.mark.parametrize("dtype", [*FLOATS, "I64", "C64"])
@pytest.mark.parametrize("side", ["base", "instruct"])
def test_copy_of_numbers_takes_the_out_dtype_asked_for_and_any_other_keeps_its_own(side, dtype, asked, written):
    alone = [*SHARED, ("x", dtype, (3,))]
    sides = (alone, SHARED) if side == "base" else (SHARED, alone)
    row = row_of("x", *sides, out_dtype=asked, one_sided="copy")
    assert row.out_dtype == (written if dtype in FLOATS else dtype)
    assert row.end - row.start == 3 * DTYPE_BITS[row.out_dtype] // 8


def test_copy_of_scaled_codes_is_bfloat16():
    coded = [*SHARED, ("x", "F8_E4M3", (64, 96)), ("x_scale_inv", "F32", (1, 1))]
    row = row_of("x", SHARED, coded, one_sided="copy")
    assert (row.action, row.out_dtype) == (Action.COPY_INSTRUCT, "BF16")
    assert row.instruct.scales is not None


@pytest.mark.parametrize("chosen", ["base", "instruct"])
@pytest.mark.parametrize(
    ("base", "instruct"),
    [
        (("BF16", (2, 3)), ("BF16", (3, 2))),
        (("F32", (2, 3)), ("BF16", (4, 3))),
        (("I64", (2,)), ("I64", (3,))),
        (("I64", (2,)), ("BF16", (3,))),
        (("BF16", ()), ("BF16", (1,))),
        (("C64", (2,)), ("C64", (3,))),
    ],
)
def test_other_shape_copies_the_tensor_of_the_parent_named(base, instruct, chosen):
    row = row_of("x", [("x", *base)], [("x", *instruct)], other_shape=chosen)
    dtype, shape = {"base": base, "instruct": instruct}[chosen]
    assert row.action is {"base": Action.COPY_BASE, "instruct": Action.COPY_INSTRUCT}[chosen]
    assert (row.out_dtype, row.shape) == (dtype, shape)
    assert row.side(chosen).dtype == dtype
    assert row.side("instruct" if chosen == "base" else "base") is None
    assert f"policy other_shape: {chosen}" in row.reason


def test_other_shape_changes_nothing_for_tensors_of_one_shape():
    tensors = [("w", "BF16", (2,)), ("ids", "I64", (2,))]
    rows = rows_of(plan_with(tensors, tensors, other_shape="base"))
    assert [rows[name].action for name in ("w", "ids")] == [Action.INTERPOLATE, Action.COPY_EQUAL]


@pytest.mark.parametrize("chosen", ["base", "instruct"])
@pytest.mark.parametrize(("base", "instruct"), [("I64", "I64"), ("I64", "I32"), ("BOOL", "U8"), ("U8", "I64")])
def test_integers_policy_copies_those_of_the_parent_named_whatever_their_dtypes(base, instruct, chosen):
    row = row_of("ids", [("ids", base, (2,))], [("ids", instruct, (2,))], integers=chosen)
    assert row.action is {"base": Action.COPY_BASE, "instruct": Action.COPY_INSTRUCT}[chosen]
    assert row.out_dtype == {"base": base, "instruct": instruct}[chosen]
    assert row.side("instruct" if chosen == "base" else "base") is None
    assert f"policy integers: {chosen}" in row.reason


@pytest.mark.parametrize("chosen", ["equal", "base", "instruct"])
@pytest.mark.parametrize(("base", "instruct"), [("BF16", "BF16"), ("BF16", "I64"), ("C64", "C64"), ("I64", "F32")])
def test_integers_policy_touches_nothing_but_integers_on_both_sides(base, instruct, chosen):
    row = row_of("w", [("w", base, (2,))], [("w", instruct, (2,))], integers=chosen)
    assert row.action is (Action.INTERPOLATE if (base, instruct) == ("BF16", "BF16") else Action.REFUSE)


@pytest.mark.parametrize(
    "name", [EMBED, HEAD, "transformer.wte.weight", "gpt_neox.embed_in.weight", "embed_out.weight"]
)
@pytest.mark.parametrize(("base", "instruct"), [(64, 66), (66, 64), (64, 0)])
def test_shared_rows_of_two_vocabularies_interpolate_and_the_longer_sides_rest_is_copied(name, base, instruct):
    sides = [("w", "BF16", (2,)), (name, "BF16", (base, 16))], [("w", "BF16", (2,)), (name, "BF16", (instruct, 16))]
    refused = row_of(name, *sides)
    assert refused.action is Action.REFUSE
    assert f"vocabularies differ: [{base}, 16] in base (base.safetensors), [{instruct}, 16]" in refused.reason
    assert "policy extra_rows: copy" in refused.reason
    row = row_of(name, *sides, extra_rows="copy", tokens="ignore")
    assert (row.action, row.shape) == (Action.INTERPOLATE, (max(base, instruct), 16))
    assert row.shared_elements == min(base, instruct) * 16
    assert f"copied from the {'base' if base > instruct else 'instruct'}" in row.reason
    assert row.end - row.start == max(base, instruct) * 16 * 2
    assert row.base.end - row.base.start == base * 32
    assert row.instruct.end - row.instruct.start == instruct * 32


def test_tensors_as_long_as_the_vocabularies_follow_them():
    base = [(EMBED, "BF16", (64, 16)), ("lm_head.bias", "BF16", (64,)), ("table", "F32", (64, 2, 2))]
    instruct = [(EMBED, "BF16", (66, 16)), ("lm_head.bias", "BF16", (66,)), ("table", "F32", (66, 2, 2))]
    rows = rows_of(plan_with(base, instruct, extra_rows="copy", tokens="ignore"))
    assert {name: row.shared_elements for name, row in rows.items()} == {EMBED: 1024, "lm_head.bias": 64, "table": 256}


@pytest.mark.parametrize(
    ("base", "instruct"),
    [
        (("BF16", (64, 16)), ("BF16", (66, 8))),
        (("BF16", (64, 16)), ("BF16", (66,))),
        (("BF16", (64,)), ("BF16", ())),
        (("I64", (64, 16)), ("I64", (66, 16))),
        (("BF16", (64, 16)), ("I64", (66, 16))),
    ],
)
def test_extra_rows_is_only_for_numbers_that_differ_in_their_rows(base, instruct):
    row = row_of(HEAD, [(HEAD, *base)], [(HEAD, *instruct)], extra_rows="copy", tokens="ignore")
    assert row.action is Action.REFUSE
    assert "policy other_shape" in row.reason


def test_extra_rows_is_not_for_tensors_of_other_lengths_than_the_vocabularies():
    base = [(EMBED, "BF16", (64, 16)), ("w", "BF16", (8, 16))]
    instruct = [(EMBED, "BF16", (66, 16)), ("w", "BF16", (9, 16))]
    plan = plan_with(base, instruct, extra_rows="copy", tokens="ignore")
    assert [row.name for row in plan.refusals] == ["w"]


def test_other_shape_does_not_decide_vocabularies():
    row = row_of(EMBED, [(EMBED, "BF16", (64, 16))], [(EMBED, "BF16", (66, 16))], other_shape="base")
    assert row.action is Action.REFUSE
    assert "policy extra_rows" in row.reason


tensors = st.tuples(
    st.sampled_from(["BF16", "F32", "I64", "U64", "BOOL", "C64"]), st.sampled_from([(), (2,), (8, 4), (9, 4), (0, 4)])
)
names = st.sampled_from(["a", "b", EMBED, HEAD, "c.bias"])
checkpoints = st.dictionaries(names, tensors, min_size=1).map(lambda found: [(name, *of) for name, of in found.items()])


@given(checkpoints, checkpoints)
def test_policy_that_a_refusal_names_lets_its_tensor_in(base, instruct):
    plan = plan_with(base, instruct)
    assume(plan.refusals)
    for row in plan.refusals:
        named = re.search(r"policy (\w+): (\w+)", row.reason)
        if named is None:
            assert "do not pair" in row.reason
            continue
        again = row_of(row.name, base, instruct, **{named[1]: named[2], "tokens": "ignore"})
        assert again.action is not Action.REFUSE
        assert named[2] in again.reason or again.shared_elements is not None


@given(checkpoints, checkpoints, st.sampled_from(["base", "instruct"]))
def test_every_policy_set_to_copy_leaves_only_kinds_of_numbers_that_do_not_pair(base, instruct, side):
    open_to_all = {"one_sided": "copy", "other_shape": side, "extra_rows": "copy", "integers": side, "tokens": "ignore"}
    plan = plan_with(base, instruct, **open_to_all)
    assert all("do not pair" in row.reason for row in plan.refusals)
    assert len(rows_of(plan)) == len({name for name, _, _ in (*base, *instruct)})
