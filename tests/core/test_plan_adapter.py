"""An adapter adds deltas and replaces whole tensors; the rest is the base's, and no tensor goes unaccounted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.adapter import ADAPTER_FILE
from crossfade_core.plan import Action
from tests.fakes.layouts import make_adapter, make_checkpoint, plan_parents, rows_of

OUTER = "base_model.model."
Q, NORM, EMBED, HEAD = "model.layers.0.self_attn.q_proj", "model.norm", "model.embed_tokens", "lm_head"
UNTIED = {"tie_word_embeddings": False}
TENSORS = [
    (f"{EMBED}.weight", "BF16", (64, 16)),
    (f"{Q}.weight", "BF16", (32, 16)),
    (f"{Q}.bias", "F32", (32,)),
    ("ids", "I64", (4,)),
    (f"{NORM}.weight", "BF16", (16,)),
    (f"{HEAD}.weight", "BF16", (64, 16)),
]


def base_of(*files):
    return make_checkpoint(
        {f"model-{at:05d}.safetensors": tensors for at, tensors in enumerate(files or [TENSORS], start=1)},
        config=UNTIED,
    )


def factors(module=Q, rows=32, columns=16):
    return [
        (f"{OUTER}{module}.lora_A.weight", "F32", (4, columns)),
        (f"{OUTER}{module}.lora_B.weight", "F32", (rows, 4)),
    ]


def whole(module, shape, dtype="BF16"):
    return [(f"{OUTER}{module}.modules_to_save.weight", dtype, shape)]


def plan_adapter(tensors, base=None, **fields):
    base = base or base_of()
    return plan_parents(base, make_adapter(tensors, base), **fields)


def test_tensor_with_a_delta_interpolates_between_the_base_and_itself_with_the_delta():
    row = rows_of(plan_adapter(factors()))[f"{Q}.weight"]
    assert (row.action, row.reason, row.instruct) == (Action.INTERPOLATE, "adapter of rank 4", None)
    assert (row.delta.rank, row.delta.scaling, row.delta.up.file) == (4, 2.0, ADAPTER_FILE)
    assert (row.shape, row.out_dtype, row.base.file) == ((32, 16), "BF16", "model-00001.safetensors")


def test_what_the_adapter_does_not_touch_is_copied_from_the_base_and_says_so():
    rows = rows_of(plan_adapter(factors()))
    untouched = {name for name, _, _ in TENSORS} - {f"{Q}.weight"}
    for name in untouched:
        assert (rows[name].action, rows[name].reason) == (Action.COPY_BASE, "the adapter leaves it as it is")
        assert rows[name].instruct is None


def test_factors_are_absorbed_under_the_adapters_own_names():
    plan = plan_adapter(factors())
    assert {row.name: (row.reason, row.instruct.file) for row in plan.absorbed} == {
        name: (f"factor of the delta of {Q}.weight", ADAPTER_FILE) for name, _, _ in factors()
    }


def test_tensor_that_the_adapter_holds_whole_interpolates_with_it():
    row = rows_of(plan_adapter(whole(NORM, (16,), "F32")))[f"{NORM}.weight"]
    assert (row.action, row.delta, row.out_dtype) == (Action.INTERPOLATE, None, "BF16")
    assert (row.instruct.file, row.instruct.dtype) == (ADAPTER_FILE, "F32")


def test_whole_tensor_of_another_shape_is_refused_or_copied_by_policy():
    tensors = whole(NORM, (8,))
    refused = rows_of(plan_adapter(tensors))[f"{NORM}.weight"]
    assert (refused.action, "policy other_shape" in refused.reason) == (Action.REFUSE, True)
    copied = rows_of(plan_adapter(tensors, policies={"other_shape": "instruct"}))[f"{NORM}.weight"]
    assert (copied.action, copied.shape, copied.base) == (Action.COPY_INSTRUCT, (8,), None)


def test_vocabulary_that_the_adapter_enlarged_shares_the_bases_rows():
    tensors = [*whole(EMBED, (66, 16)), *whole(HEAD, (66, 16))]
    plan = plan_adapter(tensors, policies={"extra_rows": "copy"})
    rows = rows_of(plan)
    for name in (EMBED, HEAD):
        assert (rows[f"{name}.weight"].shape, rows[f"{name}.weight"].shared_elements) == ((66, 16), 64 * 16)
    refused = plan_adapter(tensors).refusals
    assert {row.name for row in refused} == {f"{EMBED}.weight", f"{HEAD}.weight"}
    assert all("policy extra_rows: copy" in row.reason for row in refused)


def test_delta_of_scaled_codes_is_added_to_their_numbers():
    coded = [(f"{Q}.weight", "F8_E4M3", (32, 16)), (f"{Q}.weight_scale", "F32", ()), ("k.weight", "F8_E4M3", (4, 4))]
    base = base_of([*coded, ("k.weight_scale", "F32", ())])
    plan = plan_adapter(factors(), base)
    rows = rows_of(plan)
    assert (rows[f"{Q}.weight"].action, rows[f"{Q}.weight"].out_dtype) == (Action.INTERPOLATE, "BF16")
    assert (rows["k.weight"].action, rows["k.weight"].out_dtype) == (Action.COPY_BASE, "BF16")
    scales = {f"{Q}.weight_scale", "k.weight_scale"}
    assert {row.name for row in plan.absorbed} == {*scales, *(name for name, _, _ in factors())}


@pytest.mark.parametrize(("asked", "written"), [("auto", "BF16"), ("float32", "F32")])
def test_out_dtype_is_that_of_the_base_or_the_one_asked_for(asked, written):
    rows = rows_of(plan_adapter([*factors(), *whole(NORM, (16,), "F32")], out_dtype=asked))
    assert {rows[f"{name}.weight"].out_dtype for name in (Q, NORM, EMBED, HEAD)} == {written}
    assert (rows[f"{Q}.bias"].out_dtype, rows["ids"].out_dtype) == ("F32", "I64")


def test_outputs_are_in_the_bases_files_with_what_replaces_a_tensor_in_its_place():
    plan = plan_adapter(
        [*factors(), *whole(NORM, (8,))], base_of(TENSORS[:3], TENSORS[3:]), policies={"other_shape": "base"}
    )
    assert {shard.file: sorted(row.name for row in shard.rows) for shard in plan.shards} == {
        "model-00001.safetensors": sorted(name for name, _, _ in TENSORS[:3]),
        "model-00002.safetensors": sorted(name for name, _, _ in TENSORS[3:]),
    }


def test_bytes_read_are_the_bases_and_the_factors_once():
    base = base_of()
    plan = plan_adapter(factors(), base)
    own = sum(tensor.bytes.end - tensor.bytes.start for tensor in base.values.tensors.values())
    assert plan.read_bytes == own + 4 * (4 * 16 + 32 * 4)


def test_copy_of_the_bases_own_tensor_under_its_very_name_has_no_second_row():
    tensors = [(name.removeprefix(OUTER), *of) for name, *of in factors()]
    plan = plan_adapter([*tensors, (f"{Q}.weight", "BF16", (32, 16))])
    row = rows_of(plan)[f"{Q}.weight"]
    assert row.action is Action.INTERPOLATE
    assert row.delta is not None


UNITS = [
    factors(),
    factors("lm_head", 64, 16),
    whole(NORM, (16,)),
    whole(EMBED, (64, 16)),
    [(f"{OUTER}{Q}.bias", "F32", (32,))],
]


@given(st.lists(st.sampled_from(UNITS), min_size=1, unique_by=str), st.randoms())
def test_every_tensor_of_base_and_adapter_is_accounted_for_once(units, random):
    tensors = [tensor for unit in units for tensor in unit]
    random.shuffle(tensors)
    plan = plan_adapter(tensors)
    plan.require_accepted()
    rows = rows_of(plan)
    assert sorted(row.name for row in plan.rows) == sorted(name for name, _, _ in TENSORS)
    replacing = [row for row in plan.rows if row.instruct is not None]
    assert len(replacing) + len(plan.absorbed) == len(tensors)
    assert all(row.reason for row in rows.values())
