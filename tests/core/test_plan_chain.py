"""A chain adds A − B to the base where all three have the numbers; all else stays the base's, or is refused."""

import itertools
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfade_core.parents import Chain
from crossfade_core.plan import Action
from tests.fakes.layouts import make_checkpoint, plan_parents, rows_of

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FLOATS = ["BF16", "F16", "F32", "F64"]
W = ("w", "BF16", (2, 3))


def plan_chain(base, tuned, origin, **fields):
    """Plan three checkpoints, each given as its (name, dtype, shape) tuples, in a file of its own."""
    sides = zip(("base", "a", "b"), (base, tuned, origin), strict=True)
    ours, theirs, older = (make_checkpoint({f"{name}.safetensors": tensors}) for name, tensors in sides)
    return plan_parents(ours, Chain(theirs, older), **fields)


def row_of(name, *sides, **fields):
    return rows_of(plan_chain(*sides, **fields))[name]


@pytest.mark.parametrize("dtypes", list(itertools.product(FLOATS, repeat=3)), ids="-".join)
def test_numbers_of_all_three_are_chained_into_the_dtype_of_the_base(dtypes):
    row = row_of("w", *([("w", dtype, (2, 3))] for dtype in dtypes))
    assert (row.action, row.out_dtype, row.shape) == (Action.INTERPOLATE, dtypes[0], (2, 3))
    assert [(side.file, side.dtype) for side in (row.base, row.instruct, row.reference)] == list(
        zip(("base.safetensors", "a.safetensors", "b.safetensors"), dtypes, strict=True)
    )
    assert row.reason == "floating point in all three"


def test_outputs_are_in_the_bases_files():
    base = make_checkpoint({"one.safetensors": [W], "two.safetensors": [("v", "BF16", (2,))]})
    tuned = make_checkpoint([("v", "BF16", (2,)), W])
    plan = plan_parents(base, Chain(tuned, tuned))
    assert {shard.file: [row.name for row in shard.rows] for shard in plan.shards} == {
        "one.safetensors": ["w"],
        "two.safetensors": ["v"],
    }


@pytest.mark.parametrize("missing", [("A",), ("B",), ("A", "B")], ids="".join)
def test_tensor_that_a_or_b_lacks_is_refused_or_left_as_the_base_has_it(missing):
    full = [W, ("x", "F32", (4,))]
    sides = full, [W] if "A" in missing else full, [W] if "B" in missing else full
    refused = row_of("x", *sides)
    assert refused.action is Action.REFUSE
    assert refused.reason.startswith(f"the chain's {' and '.join(missing)} lack")
    assert "policy one_sided: copy" in refused.reason
    row = row_of("x", *sides, policies={"one_sided": "copy"})
    assert (row.action, row.out_dtype, row.instruct, row.reference) == (Action.COPY_BASE, "F32", None, None)
    assert row.reason.startswith(refused.reason.split(";")[0])


@pytest.mark.parametrize("holding", [("A",), ("B",), ("A", "B")], ids="".join)
def test_tensor_that_the_base_lacks_is_refused_once_or_absorbed_with_its_own_bytes(holding):
    more = [W, ("x", "F32", (4,))]
    sides = [W], more if "A" in holding else [W], more if "B" in holding else [W]
    for row, action in (
        (row_of("x", *sides), Action.REFUSE),
        (row_of("x", *sides, policies={"one_sided": "copy"}), Action.ABSORB),
        (row_of("x", *sides, skip=["x"]), Action.ABSORB),
    ):
        assert row.action is action
        assert row.reason.startswith(f"only in the chain's {' and '.join(holding)}")
        assert row.base is None
        assert (row.instruct is None) == ("A" not in holding)
        assert (row.reference is None) == ("B" not in holding)
        assert {side.file for side in (row.instruct, row.reference) if side} == {
            f"{letter.lower()}.safetensors" for letter in holding
        }


@pytest.mark.parametrize("dtype", ["BOOL", "U8", "I32", "I64"])
def test_integers_stay_the_bases(dtype):
    row = row_of("ids", *([W, ("ids", dtype, (3,))] for _ in range(3)))
    assert (row.action, row.instruct, row.reference) == (Action.COPY_BASE, None, None)
    assert row.reason == f"{dtype}: a chain adds floating-point differences only"


@pytest.mark.parametrize(
    "kinds",
    [
        [("I64", (3,)), ("I32", (3,)), ("I64", (3,))],
        [("I64", (3,)), ("I64", (3,)), ("I64", (4,))],
        [("BF16", (3,)), ("I64", (3,)), ("BF16", (3,))],
        [("I64", (3,)), ("BF16", (3,)), ("BF16", (3,))],
        [("C64", (3,)), ("C64", (3,)), ("C64", (3,))],
    ],
    ids=str,
)
def test_kinds_that_cannot_be_chained_are_refused_with_all_three_named_and_may_be_skipped(kinds):
    sides = [[W, ("x", *kind)] for kind in kinds]
    row = row_of("x", *sides)
    assert row.action is Action.REFUSE
    for (dtype, shape), which in zip(kinds, ("base", "A", "B"), strict=True):
        assert f"{dtype} {list(shape)} in {which}" in row.reason
    assert row.reason.endswith("skip it")
    skipped = row_of("x", *sides, skip=["x"])
    assert (skipped.action, skipped.out_dtype) == (Action.COPY_BASE, kinds[0][0])


def test_scaled_codes_are_chained_as_numbers_and_their_scales_absorbed_once():
    coded = [("w", "F8_E4M3", (64, 96)), ("w_scale_inv", "F32", (1, 1))]
    rows = rows_of(plan_chain([("w", "F32", (64, 96))], coded, coded))
    assert (rows["w"].action, rows["w"].out_dtype) == (Action.INTERPOLATE, "F32")
    assert rows["w"].instruct.scales is not None
    assert rows["w"].reference.scales is not None
    scale = rows["w_scale_inv"]
    assert (scale.action, scale.base, scale.instruct.file, scale.reference.file) == (
        Action.ABSORB,
        None,
        "a.safetensors",
        "b.safetensors",
    )


def test_scales_that_all_three_have_are_absorbed_in_one_row():
    coded = [("w", "F8_E4M3", (64, 96)), ("w_scale_inv", "F32", (1, 1))]
    (row,) = plan_chain(coded, coded, coded).absorbed
    assert [side.file for side in (row.base, row.instruct, row.reference)] == [
        "base.safetensors",
        "a.safetensors",
        "b.safetensors",
    ]


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2), (2, 3)), ((2, 3), (2, 3), (6,)), ((), (1,), (1,))], ids=str)
@pytest.mark.parametrize("policies", [{}, {"other_shape": "base"}, {"extra_rows": "copy"}], ids=str)
def test_shapes_that_differ_are_refused_with_all_three_named(shapes, policies):
    row = row_of("w", *([("w", "BF16", shape)] for shape in shapes), policies=policies)
    assert row.action is Action.REFUSE
    assert row.reason.startswith("shapes differ: ")
    assert all(f"BF16 {list(s)} in {which}" in row.reason for s, which in zip(shapes, ("base", "A", "B"), strict=True))


@pytest.mark.parametrize(
    "rows",
    [
        (64, 66, 64),
        (64, 66, 66),
        (66, 64, 64),
        (66, 64, 65),
        (66, 65, 64),
        (90, 100, 80),
        (40, 33, 50),
        (7, 9, 5),
        (64, 64, 70),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [EMBED, HEAD])
def test_vocabularies_of_a_chain_share_the_rows_of_all_three_and_keep_the_bases_length(name, rows):
    sides = [[W, (name, "BF16", (count, 16))] for count in rows]
    refused = row_of(name, *sides)
    assert refused.action is Action.REFUSE
    assert "policy extra_rows: copy" in refused.reason
    row = row_of(name, *sides, policies={"extra_rows": "copy", "tokens": "ignore"})
    assert (row.action, row.shape, row.shared_elements) == (Action.INTERPOLATE, (rows[0], 16), min(rows) * 16)
    assert "stay the base's" in row.reason


SKIPPED = [
    ("*embed_tokens*", ["model.embed_tokens.weight"]),
    ("lm_head.weight", ["lm_head.weight"]),
    ("model.layers.?.*", ["model.layers.0.mlp.weight", "model.layers.1.mlp.weight"]),
    ("*.mlp.*", ["model.layers.0.mlp.weight", "model.layers.1.mlp.weight", "model.layers.10.mlp.weight"]),
    ("*", None),
    ("model.layers.[0]*", []),
    ("MODEL*", []),
    ("mlp", []),
]
MODEL = [
    (name, "BF16", (8, 4))
    for name in (EMBED, HEAD, *(f"model.layers.{layer}.mlp.weight" for layer in (0, 1, 10)), "model.norm.weight")
]


@pytest.mark.parametrize(("pattern", "names"), SKIPPED, ids=[pattern for pattern, _ in SKIPPED])
def test_skip_leaves_every_tensor_of_a_matching_name_as_the_base_has_it(pattern, names):
    plan = plan_chain(MODEL, MODEL, MODEL, skip=[pattern])
    copied = {row.name for row in plan.rows if row.action is Action.COPY_BASE}
    assert copied == {name for name, _, _ in MODEL} if names is None else copied == set(names)
    for row in plan.rows:
        assert (f"skipped by {pattern!r}" in row.reason) == (row.name in copied)
        assert (row.instruct is None) == (row.reference is None) == (row.name in copied)
    assert (f"skip {pattern!r} matches no tensor" in plan.notes) == (names == [])


def test_first_of_the_patterns_that_match_is_named_and_each_that_matches_is_used():
    plan = plan_chain([W], [W], [W], skip=["none", "w", "*"])
    (row,) = plan.rows
    assert row.reason == "skipped by 'w'"
    assert [note for note in plan.notes if "skip" in note] == ["skip 'none' matches no tensor"]


def test_skip_that_names_only_what_the_base_lacks_is_used():
    plan = plan_chain([W], [W, ("x", "BF16", (2,))], [W], skip=["x"])
    plan.require_accepted()
    assert not any("skip" in note for note in plan.notes)


@pytest.mark.parametrize(("asked", "written"), [("auto", "F16"), ("float32", "F32")])
def test_out_dtype_asked_for_is_also_that_of_skipped_numbers(asked, written):
    sides = [[("w", "F16", (2,)), ("x", "F16", (2,)), ("ids", "I64", (1,))]] * 3
    rows = rows_of(plan_chain(*sides, out_dtype=asked, skip=["x"]))
    assert {name: row.out_dtype for name, row in rows.items()} == {"w": written, "x": written, "ids": "I64"}


kinds = st.tuples(st.sampled_from(["BF16", "F32", "I64", "BOOL", "C64"]), st.sampled_from([(), (8, 4), (9, 4), (0, 4)]))
checkpoints = st.dictionaries(st.sampled_from(["a", "b", EMBED, HEAD, "c.bias"]), kinds, min_size=1).map(
    lambda found: [(name, *of) for name, of in found.items()]
)


@given(checkpoints, checkpoints, checkpoints, st.sampled_from(["auto", "float32"]))
def test_every_tensor_of_the_union_of_three_has_exactly_one_row_with_a_reason(base, tuned, origin, out_dtype):
    plan = plan_chain(base, tuned, origin, out_dtype=out_dtype, policies={"tokens": "ignore"})
    rows = rows_of(plan)
    assert sorted(rows) == sorted({name for name, _, _ in (*base, *tuned, *origin)})
    assert all(row.reason for row in rows.values())
    for row in plan.rows:
        assert row.base is not None
        assert row.action in (Action.INTERPOLATE, Action.COPY_BASE)
        assert (row.instruct is None) == (row.reference is None) == (row.action is Action.COPY_BASE)


@given(checkpoints, checkpoints, checkpoints)
def test_way_out_that_a_refusal_names_lets_its_tensor_in(base, tuned, origin):
    plan = plan_chain(base, tuned, origin)
    assume(plan.refusals)
    for row in plan.refusals:
        assert "skip it" in row.reason
        skipped = plan_chain(base, tuned, origin, skip=[row.name], policies={"tokens": "ignore"})
        assert rows_of(skipped)[row.name].action in (Action.COPY_BASE, Action.ABSORB)
        named = re.search(r"policy (\w+): (\w+)", row.reason)
        if named is not None:
            policies = {named[1]: named[2], "tokens": "ignore"}
            again = rows_of(plan_chain(base, tuned, origin, policies=policies))[row.name]
            assert again.action is not Action.REFUSE
