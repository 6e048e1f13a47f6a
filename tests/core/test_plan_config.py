"""The outputs' config.json states what their files hold: dtype, ties, vocabulary, no quantisation; no more changes."""

import itertools

import pytest

from crossfade_core.model_config import apply_changes, read_config
from crossfade_core.parents import Chain
from tests.fakes.layouts import make_adapter, make_checkpoint, plan_parents

EMBED, HEAD, W = "model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.up_proj.weight"
NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
OPEN = {"extra_rows": "copy", "tokens": "ignore"}


def parent(config, *, dtype="BF16", rows=64, more=()):
    return make_checkpoint([(EMBED, dtype, (rows, 16)), (W, dtype, (48, 16)), *more], config=config)


def changes(base, tuned, **fields):
    plan = plan_parents(base, tuned, **fields)
    plan.require_accepted()
    return plan.config_changes


@pytest.mark.parametrize("carried", ["base", "instruct"])
@pytest.mark.parametrize(("base", "instruct"), list(itertools.product(NAMES, NAMES)))
def test_dtype_is_that_of_the_outputs_whosever_config_is_carried(base, instruct, carried):
    sides = [parent({"dtype": NAMES[dtype]}, dtype=dtype) for dtype in (base, instruct)]
    stated = NAMES[{"base": base, "instruct": instruct}[carried]]
    expected = {} if stated == NAMES[base] else {"/dtype": NAMES[base]}
    assert changes(*sides, tokenizer_from=carried) == expected


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("asked", NAMES.values())
def test_out_dtype_asked_for_is_stated_in_the_key_that_is_there(asked, key):
    side = parent({key: "bfloat16"})
    assert changes(side, side, out_dtype=asked) == ({} if asked == "bfloat16" else {f"/{key}": asked})


def test_dtype_is_that_of_most_bytes_of_numbers():
    more = [("ids", "I64", (10_000,)), ("scale", "F32", (16,))]
    side = parent({"dtype": "bfloat16"}, more=more)
    assert changes(side, side) == {}
    wide = parent({"dtype": "bfloat16"}, more=[("table", "F32", (10_000,))])
    assert changes(wide, wide) == {"/dtype": "float32"}


def test_config_that_says_nothing_of_dtypes_stays_silent_unless_the_outputs_differ_from_its_parent():
    silent = parent({"model_type": "llama"})
    assert changes(silent, silent) == {}
    assert changes(silent, silent, out_dtype="float16") == {"/torch_dtype": "float16"}
    assert changes(parent({}, dtype="F32"), silent, out_dtype="auto") == {}


def test_parent_without_a_config_gives_no_changes():
    assert changes(parent(None), parent(None), out_dtype="float16") == {}
    assert changes(parent({"dtype": "bfloat16"}), parent(None), tokenizer_from="instruct", out_dtype="float16") == {}


def test_checkpoint_without_numbers_leaves_the_config_alone():
    side = make_checkpoint([("ids", "I64", (4,))], config={"dtype": "bfloat16"})
    assert changes(side, side, out_dtype="float32") == {}


@pytest.mark.parametrize("carried", ["base", "instruct"])
@pytest.mark.parametrize(("base", "instruct"), [(64, 66), (66, 64), (64, 64)])
def test_vocabulary_is_as_large_as_the_outputs_embedding(base, instruct, carried):
    sides = [parent({"vocab_size": rows}, rows=rows) for rows in (base, instruct)]
    rows = {"base": base, "instruct": instruct}[carried]
    expected = {} if rows == max(base, instruct) else {"/vocab_size": max(base, instruct)}
    assert changes(*sides, tokenizer_from=carried, policies=OPEN) == expected


@pytest.mark.parametrize("chosen", ["base", "instruct"])
@pytest.mark.parametrize("carried", ["base", "instruct"])
def test_vocabulary_of_a_copied_embedding_is_stated(chosen, carried):
    rows = {"base": 64, "instruct": 66}
    sides = [
        make_checkpoint([(EMBED, "BF16", (64, 16))], config={"vocab_size": 64}),
        make_checkpoint([(EMBED, "BF16", (66, 8))], config={"vocab_size": 66}),
    ]
    found = changes(*sides, tokenizer_from=carried, policies={"other_shape": chosen})
    assert found == ({} if chosen == carried else {"/vocab_size": rows[chosen]})


def test_vocabulary_that_a_config_states_otherwise_than_its_own_files_is_left_so():
    side = parent({"vocab_size": 60})
    assert changes(side, side) == {}


def test_vocabulary_of_a_multimodal_model_is_stated_in_its_part_on_text():
    sides = [parent({"text_config": {"vocab_size": rows}}, rows=rows) for rows in (66, 64)]
    assert changes(*sides, policies=OPEN) == {"/text_config/vocab_size": 66}


def test_several_embeddings_of_one_size_tell_the_vocabulary_too():
    """DeepSeek-V3 stores the embedding again in its layer for multi-token prediction."""
    again = "model.layers.61.embed_tokens.weight"
    sides = [parent({"vocab_size": rows}, rows=rows, more=[(again, "BF16", (rows, 16))]) for rows in (66, 64)]
    assert changes(*sides, policies=OPEN) == {"/vocab_size": 66}


def test_embeddings_of_several_sizes_tell_no_vocabulary():
    """BLIP-2 has one for the words of its Q-Former, too."""
    own = [("qformer.embeddings.word_embeddings.weight", "BF16", (30, 16))]
    sides = [parent({"vocab_size": rows}, rows=rows, more=own) for rows in (66, 64)]
    assert changes(*sides, policies=OPEN) == {}


def test_vocabulary_that_an_adapter_enlarges_is_stated():
    base = parent({"vocab_size": 64, "tie_word_embeddings": False}, more=[(HEAD, "BF16", (64, 16))])
    whole = [(f"base_model.model.{name}", "BF16", (66, 16)) for name in (EMBED, HEAD)]
    assert changes(base, make_adapter(whole, base), policies=OPEN) == {"/vocab_size": 66}


def test_vocabulary_of_a_chain_stays_the_bases():
    sides = [parent({"vocab_size": rows}, rows=rows) for rows in (64, 66, 65)]
    assert changes(sides[0], Chain(*sides[1:]), policies=OPEN) == {}


def coded(config):
    return make_checkpoint([(W, "F8_E4M3", (48, 16)), (f"{W}_scale_inv", "F32", (1, 1))], config=config)


def plain(config):
    return make_checkpoint([(W, "BF16", (48, 16))], config=config)


@pytest.mark.parametrize("carried", ["base", "instruct"])
@pytest.mark.parametrize("which", ["base", "instruct", "both"])
def test_quantisation_is_removed_from_the_config_of_a_parent_that_was_dequantised(which, carried):
    config = {"dtype": "bfloat16", "quantization_config": FP8}
    sides = [
        coded(config) if which in (side, "both") else plain({"dtype": "bfloat16"}) for side in ("base", "instruct")
    ]
    found = changes(*sides, tokenizer_from=carried)
    assert found == ({"/quantization_config": None} if which in (carried, "both") else {})


def test_what_a_config_says_of_quantisation_that_is_not_there_is_noted():
    side = plain({"quantization_config": {"quant_method": "gptq"}})
    plan = plan_parents(side, side)
    assert any("gptq" in note and "no tensor is quantised" in note for note in plan.notes)


def test_adapter_of_a_dequantised_base_and_a_chain_carry_the_bases_changes():
    config = {"dtype": "bfloat16", "quantization_config": FP8}
    factors = [
        (f"base_model.model.{W}".replace("weight", f"lora_{part}.weight"), "F32", shape)
        for part, shape in (("A", (4, 16)), ("B", (48, 4)))
    ]
    assert changes(coded(config), make_adapter(factors, coded(config))) == {"/quantization_config": None}
    assert changes(coded(config), Chain(plain({}), plain({}))) == {"/quantization_config": None}
    assert changes(plain({"dtype": "bfloat16"}), Chain(coded(config), plain({}))) == {}


@pytest.mark.parametrize("tokenizer_from", ["base", "instruct", None])
def test_chain_changes_the_bases_config_whosever_tokenizer_is_carried(tokenizer_from):
    base, tuned = parent({"dtype": "float32"}, dtype="F32"), parent({"dtype": "bfloat16"})
    assert changes(base, Chain(tuned, tuned), tokenizer_from=tokenizer_from) == {}
    assert changes(tuned, Chain(base, base), tokenizer_from=tokenizer_from, out_dtype="float32") == {
        "/dtype": "float32"
    }


def test_changes_can_be_made_in_the_very_config_they_were_planned_with():
    raw = b'{"vocab_size": 64, "dtype": "bfloat16", "tie_word_embeddings": true, "rope_theta": 1e6}'
    tied = parent(read_config(raw))
    untied = parent({"tie_word_embeddings": False}, rows=66, more=[(HEAD, "BF16", (66, 16))])
    found = changes(untied, tied, out_dtype="float32", policies=OPEN)
    assert read_config(apply_changes(raw, found)) == {
        "vocab_size": 66,
        "dtype": "float32",
        "tie_word_embeddings": False,
        "rope_theta": 1e6,
    }
