"""A head that is stored is data; one that is not is the embedding, unless its config denies it."""

import itertools

import pytest

from crossfade_core.parents import Chain
from crossfade_core.plan import Action
from tests.fakes.layouts import make_adapter, make_checkpoint, plan_parents, rows_of

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
NAMES = [
    (EMBED, HEAD),
    ("transformer.wte.weight", "lm_head.weight"),
    ("gpt_neox.embed_in.weight", "embed_out.weight"),
    ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
]
SILENT = {"model_type": "llama"}
CONFIGS = {
    "says tied": {**SILENT, "tie_word_embeddings": True},
    "says untied": {**SILENT, "tie_word_embeddings": False},
    "silent": SILENT,
    "none": None,
}
TIED, UNTIED = CONFIGS["says tied"], CONFIGS["says untied"]


def parent(config, *, has_head, names=(EMBED, HEAD), rows=64, dtype="BF16"):
    tensors = [(names[0], dtype, (rows, 16)), ("model.norm.weight", dtype, (16,))]
    return make_checkpoint([*tensors, *([(names[1], dtype, (rows, 16))] if has_head else [])], config=config)


def embedding_of(checkpoint, name=EMBED):
    return checkpoint.values.tensors[name].bytes


def head_of(checkpoint, name=HEAD):
    return checkpoint.values.tensors[name].bytes


PARENTS = list(itertools.product(CONFIGS, [True, False]))


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[1])
@pytest.mark.parametrize("carried", ["base", "instruct"])
@pytest.mark.parametrize(("ours", "theirs"), list(itertools.product(PARENTS, PARENTS)), ids=str)
def test_every_mix_of_stored_and_tied_heads_gives_what_loaders_would_merge(names, carried, ours, theirs):
    sides = [parent(CONFIGS[words], has_head=stored, names=names) for words, stored in (ours, theirs)]
    plan = plan_parents(*sides, tokenizer_from=carried)
    rows, (embed, head) = rows_of(plan), names
    stored = [has_head for _, has_head in (ours, theirs)]
    denied = [words == "says untied" for words, _ in (ours, theirs)]
    if not any(stored):
        assert sorted(rows) == sorted([embed, "model.norm.weight"])
        assert not plan.config_changes
    elif all(stored):
        assert rows[head].action is Action.INTERPOLATE
        assert (rows[head].base, rows[head].instruct) == tuple(head_of(side, head) for side in sides)
        assert not plan.config_changes
    elif denied[stored.index(False)]:
        assert rows[head].action is Action.REFUSE
        assert "policy one_sided" in rows[head].reason
    else:
        assert rows[head].action is Action.INTERPOLATE
        expected = [
            head_of(side, head) if has else embedding_of(side, embed) for side, has in zip(sides, stored, strict=True)
        ]
        assert [rows[head].base, rows[head].instruct] == expected
        assert f"the {('base', 'instruct')[stored.index(False)]} ties it to {embed}" in rows[head].reason
        words = {"base": ours, "instruct": theirs}[carried][0]
        is_due = words in ("says tied", "silent")
        assert plan.config_changes == ({"/tie_word_embeddings": False} if is_due else {})


def test_tied_head_is_written_once_beside_its_embedding():
    plan = plan_parents(parent(TIED, has_head=False), parent(UNTIED, has_head=True))
    (shard,) = plan.shards
    assert sorted(row.name for row in shard.rows) == sorted([EMBED, HEAD, "model.norm.weight"])
    rows = rows_of(plan)
    assert rows[EMBED].base == rows[HEAD].base
    assert rows[EMBED].instruct != rows[HEAD].instruct
    assert (rows[EMBED].start, rows[EMBED].end) != (rows[HEAD].start, rows[HEAD].end)


def test_embedding_of_scaled_codes_is_a_tied_head_with_its_scales():
    coded = [(EMBED, "F8_E4M3", (256, 128)), (f"{EMBED}_scale_inv", "F32", (2, 1))]
    plain = [(EMBED, "BF16", (256, 128)), (HEAD, "BF16", (256, 128))]
    base, instruct = make_checkpoint(coded, config=TIED), make_checkpoint(plain, config=UNTIED)
    rows = rows_of(plan_parents(base, instruct))
    assert rows[HEAD].base == rows[EMBED].base == embedding_of(base)
    assert rows[HEAD].base.scales is not None
    assert rows[HEAD].out_dtype == "BF16"
    assert rows[f"{EMBED}_scale_inv"].action is Action.ABSORB


@pytest.mark.parametrize("is_base_tied", [True, False])
def test_tied_and_untied_heads_of_two_vocabularies_share_the_rows_that_both_have(is_base_tied):
    tied, untied = parent(TIED, has_head=False), parent(UNTIED, has_head=True, rows=66)
    sides = (tied, untied) if is_base_tied else (untied, tied)
    rows = rows_of(plan_parents(*sides, policies={"extra_rows": "copy", "tokens": "ignore"}))
    for name in (EMBED, HEAD):
        assert (rows[name].shape, rows[name].shared_elements) == ((66, 16), 64 * 16)
    assert "ties it" in rows[HEAD].reason
    assert rows_of(plan_parents(*sides))[HEAD].action is Action.REFUSE


@pytest.mark.parametrize(
    "tensors",
    [
        [("encoder.embed_tokens.weight", "BF16", (64, 16)), ("decoder.embed_tokens.weight", "BF16", (64, 16))],
        [("w", "BF16", (64, 16))],
        [(EMBED, "BF16", (64,))],
    ],
    ids=["two embeddings", "none", "no matrix"],
)
def test_no_tie_is_guessed_where_it_is_not_clear_which_embedding_it_would_be(tensors):
    base = make_checkpoint(tensors, config=TIED)
    instruct = make_checkpoint([*tensors, (HEAD, "BF16", (64, 16))], config=UNTIED)
    refused = rows_of(plan_parents(base, instruct))[HEAD]
    assert refused.action is Action.REFUSE
    assert "only in the instruct" in refused.reason


def test_no_tie_is_guessed_where_two_heads_are_stored():
    base = parent(SILENT, has_head=False)
    heads = [(HEAD, "BF16", (64, 16)), ("draft.lm_head.weight", "BF16", (64, 16))]
    instruct = make_checkpoint([(EMBED, "BF16", (64, 16)), ("model.norm.weight", "BF16", (16,)), *heads])
    assert sorted(row.name for row in plan_parents(base, instruct).refusals) == sorted(name for name, _, _ in heads)


def test_parts_of_a_multimodal_config_are_untied_wherever_they_say_otherwise():
    config = {"text_config": {"tie_word_embeddings": True}, "vision_config": {}}
    plan = plan_parents(parent(TIED, has_head=True), parent(config, has_head=False))
    assert plan.config_changes == {"/tie_word_embeddings": False, "/text_config/tie_word_embeddings": False}


CHAINED = list(itertools.product([True, False], repeat=3))


@pytest.mark.parametrize("stored", CHAINED, ids=str)
def test_chain_of_tied_and_untied_models_adds_heads_as_loaders_see_them(stored):
    sides = [parent(UNTIED if has else TIED, has_head=has) for has in stored]
    plan = plan_parents(sides[0], Chain(*sides[1:]))
    rows = rows_of(plan)
    assert (HEAD in rows) == any(stored)
    if any(stored):
        expected = [head_of(side) if has else embedding_of(side) for side, has in zip(sides, stored, strict=True)]
        assert [rows[HEAD].base, rows[HEAD].instruct, rows[HEAD].reference] == expected
        assert rows[HEAD].action is Action.INTERPOLATE
        assert ("the base ties it to" in rows[HEAD].reason) == (not stored[0])
        assert ("the reference ties it to" in rows[HEAD].reason) == (not stored[2])
    assert plan.config_changes == ({"/tie_word_embeddings": False} if any(stored) and not stored[0] else {})


def test_head_that_a_chain_skips_is_the_tied_bases_embedding_as_it_is():
    base, tuned, origin = (parent(UNTIED if has else TIED, has_head=has) for has in (False, True, True))
    plan = plan_parents(base, Chain(tuned, origin), skip=["lm_head*"])
    rows = rows_of(plan)
    assert (rows[HEAD].action, rows[HEAD].base) == (Action.COPY_BASE, embedding_of(base))
    assert rows[EMBED].action is Action.INTERPOLATE
    assert plan.config_changes == {"/tie_word_embeddings": False}


@pytest.mark.parametrize("words", CONFIGS)
@pytest.mark.parametrize("has_head", [True, False])
def test_adapter_that_holds_the_embedding_whole_is_refused_where_the_head_may_be_the_same(has_head, words):
    base = parent(CONFIGS[words], has_head=has_head)
    whole = [("base_model.model.model.embed_tokens.modules_to_save.weight", "BF16", (64, 16))]
    plan = plan_parents(base, make_adapter(whole, base))
    may_be_tied = not has_head and words != "says untied"
    assert [row.name for row in plan.refusals] == ([EMBED] if may_be_tied else [])
    if may_be_tied:
        assert "merge it with peft" in plan.refusals[0].reason


@pytest.mark.parametrize("words", CONFIGS)
def test_adapter_that_adds_to_a_tied_embedding_leaves_it_tied(words):
    base = parent(CONFIGS[words], has_head=False)
    factors = [
        ("base_model.model.model.embed_tokens.lora_embedding_A", "F32", (4, 64)),
        ("base_model.model.model.embed_tokens.lora_embedding_B", "F32", (16, 4)),
    ]
    plan = plan_parents(base, make_adapter(factors, base))
    plan.require_accepted()
    assert sorted(row.name for row in plan.rows) == sorted([EMBED, "model.norm.weight"])
    assert not plan.config_changes
