"""A plan survives the store, its numbers add up, and every input file's digest is owed once, of any parents."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.adapter import ADAPTER_FILE
from crossfade_core.parents import Chain, layouts_of
from crossfade_core.plan import Action, ShardPlan
from tests.fakes.layouts import make_adapter, make_checkpoint, plan_parents, rows_of

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
Q = "model.layers.0.self_attn.q_proj"
CODED = [("c.weight", "F8_E4M3", (256, 300)), ("c.weight_scale_inv", "F32", (2, 3))]
COMMON = [(f"{Q}.weight", "BF16", (32, 16)), *CODED, ("ids", "I64", (3,)), ("none", "F32", (0, 4)), ("one", "F16", ())]
OPEN = {"extra_rows": "copy", "one_sided": "copy", "other_shape": "instruct", "tokens": "ignore"}
SCHEDULE = [{"pattern": "*layers*", "gradient": [0.1, 0.7]}, {"pattern": "*", "factor": 1 / 3}]


def parent(rows, *more, files=2, prefix="model", **config):
    tensors = [(EMBED, "BF16", (rows, 16)), *COMMON, *more]
    cut = len(tensors) // files + 1
    names = [f"{prefix}-{at:05d}.safetensors" for at in range(files)]
    return make_checkpoint(
        {file: tensors[at * cut : (at + 1) * cut] for at, file in enumerate(names)}, config={"rows": rows, **config}
    )


def adapter_over(base, *, use_dora):
    outer = "base_model.model."
    magnitude = [(f"{outer}{Q}.lora_magnitude_vector", "F32", (32,))] if use_dora else []
    factors = [(f"{outer}{Q}.lora_A.weight", "F32", (4, 16)), (f"{outer}{Q}.lora_B.weight", "BF16", (32, 4))]
    embedded = [
        (f"{outer}model.embed_tokens.lora_embedding_A", "F32", (4, 64)),
        (f"{outer}model.embed_tokens.lora_embedding_B", "F32", (16, 4)),
    ]
    whole = [(f"{outer}one", "F32", ())]
    return make_adapter([*factors, *magnitude, *whole, *([] if use_dora else embedded)], base, use_dora=use_dora)


def plan_adapter(*, use_dora):
    base = parent(64)
    return base, adapter_over(base, use_dora=use_dora)


PARENTS = {
    "pair": lambda: (parent(64, ("x", "F64", (2,))), parent(66, (HEAD, "F32", (66, 16)), files=3)),
    "chain": lambda: (parent(64), Chain(parent(66, files=3, prefix="a"), parent(64, files=1, prefix="b"))),
    "adapter": lambda: plan_adapter(use_dora=False),
    "dora": lambda: plan_adapter(use_dora=True),
}


def plan_of(kind, **fields):
    return plan_parents(*PARENTS[kind](), policies=OPEN, schedule=SCHEDULE, **fields)


@pytest.mark.parametrize("out_dtype", ["auto", "float32"])
@pytest.mark.parametrize("kind", PARENTS)
def test_every_shard_survives_the_store_with_all_that_its_rows_say(kind, out_dtype):
    for shard in plan_of(kind, out_dtype=out_dtype).shards:
        again = ShardPlan.from_record(json.loads(json.dumps(shard.as_record())))
        assert again == shard
        assert (again.header, again.size_bytes) == (shard.header, shard.size_bytes)
        assert [type(row.action) for row in again.rows] == [Action] * len(shard.rows)


def test_what_the_store_must_keep_is_there_to_be_kept():
    """Else the test above would prove nothing."""
    pair, chain, adapter, dora = (rows_of(plan_of(kind)) for kind in PARENTS)
    assert pair[EMBED].shared_elements == 64 * 16
    assert pair["c.weight"].base.scales.block == (128, 128)
    assert pair["c.weight"].base.scales.shape == (2, 3)
    assert chain[f"{Q}.weight"].reference is not None
    assert adapter[EMBED].delta.is_transposed
    assert dora[f"{Q}.weight"].delta.magnitude is not None
    assert {row.factor for row in adapter.values()} == {0.1, 1 / 3, 1.0}


@pytest.mark.parametrize("kind", PARENTS)
def test_absorbed_and_refused_rows_survive_the_store_too(kind):
    plan = plan_parents(*PARENTS[kind]())
    assert plan.absorbed
    for row in (*plan.absorbed, *plan.refusals):
        assert type(row).from_record(json.loads(json.dumps(row.as_record()))) == row


def test_record_leaves_out_what_is_not_said():
    row = rows_of(plan_parents(*PARENTS["adapter"]()))["ids"]
    assert sorted(row.as_record()) == ["action", "base", "end", "name", "out_dtype", "reason", "shape", "start"]


@pytest.mark.parametrize("kind", PARENTS)
def test_digest_of_every_file_of_every_parent_is_owed_once(kind):
    parents = PARENTS[kind]()
    plan = plan_parents(*parents, policies=OPEN)
    plan.require_accepted()
    owed = [(role, file) for shard in plan.shards for role, files in shard.owed.items() for file in files]
    expected = [(role, shard.file) for role, layout in layouts_of(*parents).items() for shard in layout.shards]
    assert sorted(owed) == sorted(expected)
    if kind == "adapter":
        assert ("instruct", ADAPTER_FILE) in owed


tensors = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), st.sampled_from(["BF16", "F32", "I64"]), st.sampled_from([(), (4,), (8, 4)])
    ),
    max_size=6,
    unique_by=lambda tensor: tensor[0],
)


@st.composite
def parents_of_many_files(draw, prefix):
    found, count = draw(tensors), draw(st.integers(1, 3))
    return make_checkpoint({f"{prefix}{at}.safetensors": found[at::count] for at in range(count)})


@given(parents_of_many_files("x"), parents_of_many_files("y"), parents_of_many_files("z"), st.booleans())
def test_digests_of_any_parents_are_owed_once_by_units_that_exist(base, tuned, origin, is_chain):
    other = Chain(tuned, origin) if is_chain else tuned
    plan = plan_parents(base, other, policies={**OPEN, "integers": "base"})
    if not plan.shards:
        return
    for role, layout in layouts_of(base, other).items():
        owed = [file for shard in plan.shards for file in shard.owed[role]]
        assert sorted(owed) == sorted(shard.file for shard in layout.shards)


@pytest.mark.parametrize("kind", PARENTS)
def test_bytes_read_and_written_are_those_of_the_rows(kind):
    parents = PARENTS[kind]()
    plan = plan_parents(*parents, policies=OPEN)
    assert plan.write_bytes_per_output == sum(len(shard.header) for shard in plan.shards) + sum(
        row.end - row.start for row in plan.rows
    )
    stored = sum(
        tensor.end - tensor.start
        for layout in layouts_of(*parents).values()
        for shard in layout.shards
        for tensor in shard.tensors
    )
    if kind in ("adapter", "dora"):
        assert plan.read_bytes == stored  # every byte of base and adapter, once
    assert plan.read_bytes > 0


@pytest.mark.parametrize("policies", [{}, OPEN], ids=["refusing", "open"])
@pytest.mark.parametrize("kind", PARENTS)
def test_exceptions_list_every_row_that_is_not_plain_interpolation_with_its_reason(kind, policies):
    plan = plan_parents(*PARENTS[kind](), policies=policies)
    listed = {item["tensor"]: item for item in plan.exceptions()}
    for name, row in rows_of(plan).items():
        is_plain = row.action is Action.INTERPOLATE and row.shared_elements is None
        assert (name in listed) != is_plain
    assert all(item["reason"] and item["action"] in {*Action} for item in listed.values())
    assert json.loads(json.dumps(plan.exceptions())) == plan.exceptions()


def test_summary_counts_what_is_absorbed_beside_what_is_written():
    plan = plan_of("pair")
    summary = plan.summary()
    assert summary["tensors"] == len(plan.rows)
    assert summary["actions"]["absorb"] == len(plan.absorbed) == 1
    assert sum(summary["actions"].values()) == len(plan.rows) + len(plan.absorbed)
    assert summary["read_bytes"] == plan.read_bytes


def test_output_file_that_would_hold_nothing_but_absorbed_tensors_is_not_made():
    tensors = {"one.safetensors": [CODED[0]], "two.safetensors": [CODED[1]]}
    coded = make_checkpoint(tensors)
    plan = plan_parents(coded, coded)
    (shard,) = plan.shards
    assert shard.file == "one.safetensors"
    assert shard.owed == {
        "base": ("one.safetensors", "two.safetensors"),
        "instruct": ("one.safetensors", "two.safetensors"),
    }
    assert list(json.loads(plan.index_json())["weight_map"].values()) == ["one.safetensors"]


@pytest.mark.parametrize(
    ("beside", "home"),
    [("a", "y0.safetensors"), ("bc", "y1.safetensors"), ("abc", "y1.safetensors"), ("", "y0.safetensors")],
)
def test_tensor_of_the_base_alone_goes_into_the_file_of_most_tensors_beside_it(beside, home):
    own = [(name, "BF16", (4,)) for name in "abc"]
    near = [tensor for tensor in own if tensor[0] in beside]
    far = [tensor for tensor in own if tensor[0] not in beside]
    base = make_checkpoint({"x0.safetensors": [*near, ("only", "BF16", (2,))], "x1.safetensors": far})
    tuned = make_checkpoint({"y0.safetensors": own[:1], "y1.safetensors": own[1:]})
    plan = plan_parents(base, tuned, policies={"one_sided": "copy"})
    (file,) = [shard.file for shard in plan.shards for row in shard.rows if row.name == "only"]
    assert file == home
