"""Row i of an embedding is merged only where id i means one token on every side, or the user said not to mind."""

import pytest

from crossfade_core.errors import PlanRefused, TokensConflict
from crossfade_core.parents import Chain
from tests.fakes.layouts import make_adapter, make_checkpoint, plan_parents

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
WORDS = {id_: f"word{id_}" for id_ in range(64)}
SWAPPED = {**WORDS, 40: "word41", 41: "word40"}
COPY = {"extra_rows": "copy"}
UNTIED = {"tie_word_embeddings": False}


def parent(vocabulary, rows=64, names=(EMBED, HEAD)):
    tensors = [*((name, "BF16", (rows, 16)) for name in names), ("norm.weight", "BF16", (16,))]
    return make_checkpoint(tensors, config=UNTIED, vocabulary=vocabulary)


def plan_with(base, tuned, **policies):
    return plan_parents(base, tuned, policies=policies)


def test_equal_tokenizers_merge_without_a_note():
    assert plan_with(parent(WORDS), parent(dict(WORDS))).notes == ()


def test_ids_that_mean_two_tokens_are_refused_with_the_first_five_named_and_twenty_listed():
    theirs = {id_: f"other{id_}" if id_ >= 30 else token for id_, token in WORDS.items()}
    with pytest.raises(TokensConflict) as caught:
        plan_with(parent(WORDS), parent(theirs))
    message, details = caught.value.message, caught.value.details
    assert message.startswith(
        "34 id(s) mean two tokens: id 30 is 'word30' in the base and 'other30' in the instruct; id 31"
    )
    assert "id 34" in message
    assert "id 35" not in message
    assert "and 29 more" in message
    assert "policy tokens: ignore" in message
    assert details["count"] == 34
    assert details["conflicts"][0] == {"id": "30", "base": "'word30'", "instruct": "'other30'"}
    assert [one["id"] for one in details["conflicts"]] == [str(id_) for id_ in range(30, 50)]
    assert isinstance(caught.value, PlanRefused)


def test_ignored_conflict_is_merged_and_noted():
    plan = plan_with(parent(WORDS), parent(SWAPPED), tokens="ignore")
    (note,) = plan.notes
    assert note.startswith("2 id(s) mean two tokens: id 40 is")
    assert note.endswith("ignored by policy tokens: ignore")
    assert plan.summary()["notes"] == [note]


@pytest.mark.parametrize("fewer", [(), (41,), (40, 41)])
def test_id_that_only_one_side_knows_is_no_conflict(fewer):
    theirs = {id_: token for id_, token in SWAPPED.items() if id_ not in (40, *fewer)}
    sides = parent(WORDS), parent(theirs)
    if 41 in theirs:
        with pytest.raises(TokensConflict, match="id 41"):
            plan_with(*sides)
    else:
        assert plan_with(*sides).notes == ()


@pytest.mark.parametrize("silent", ["base", "instruct"])
def test_tokenizers_that_cannot_be_compared_are_noted_where_the_vocabularies_are_of_one_size(silent):
    sides = [parent(None if side == silent else WORDS) for side in ("base", "instruct")]
    (note,) = plan_with(*sides).notes
    assert note == f"the tokenizers could not be compared: the {silent} has no tokenizer file that crossfade reads"


@pytest.mark.parametrize("silent", ["base", "instruct"])
def test_tokenizers_that_cannot_be_compared_are_refused_where_the_sizes_differ(silent):
    sides = [parent(None if side == silent else WORDS, rows) for side, rows in (("base", 64), ("instruct", 66))]
    with pytest.raises(TokensConflict, match=rf"the {silent} has no tokenizer.*differ in size.*policy tokens: ignore"):
        plan_with(*sides, **COPY)
    (note,) = plan_with(*sides, **COPY, tokens="ignore").notes
    assert "could not be compared" in note


def test_tokens_added_beyond_the_bases_are_no_conflict():
    plan = plan_with(parent(WORDS), parent({**WORDS, 64: "<|im_start|>", 65: "<|im_end|>"}, rows=66), **COPY)
    plan.require_accepted()
    assert plan.notes == ()


def test_sizes_that_differ_are_refused_by_tensor_before_anything_is_said_of_tokens():
    plan = plan_with(parent(WORDS), parent(SWAPPED, rows=66))
    assert {row.name for row in plan.refusals} == {EMBED, HEAD}


@pytest.mark.parametrize("names", [(EMBED,), (HEAD,), ("transformer.wte.weight",), ("tok_embeddings.weight",), ("w",)])
def test_conflict_counts_for_every_tensor_whose_rows_may_be_tokens(names):
    with pytest.raises(TokensConflict):
        plan_with(parent(WORDS, names=names), parent(SWAPPED, names=names))


def test_conflict_does_not_matter_where_no_embedding_is_merged():
    base = make_checkpoint([(EMBED, "BF16", (64, 16)), ("norm.weight", "BF16", (16,))], vocabulary=WORDS)
    tuned = make_checkpoint([(EMBED, "BF16", (64, 8)), ("norm.weight", "BF16", (16,))], vocabulary=SWAPPED)
    plan = plan_with(base, tuned, other_shape="base")
    plan.require_accepted()
    assert plan.notes == ()


@pytest.mark.parametrize(("which", "sides"), [("A", (SWAPPED, WORDS)), ("B", (WORDS, SWAPPED))])
def test_conflict_in_a_chain_names_the_side_that_has_it(which, sides):
    chain = Chain(*map(parent, sides))
    with pytest.raises(TokensConflict, match=rf"id 40 is 'word40' in the base and 'word41' in the chain's {which}"):
        plan_with(parent(WORDS), chain)
    (note,) = plan_with(parent(WORDS), chain, tokens="ignore").notes
    assert f"in the chain's {which}" in note


@pytest.mark.parametrize(("which", "sides"), [("A", (None, WORDS)), ("B", (WORDS, None))])
def test_side_of_a_chain_without_a_tokenizer_is_named(which, sides):
    (note,) = plan_with(parent(WORDS), Chain(*map(parent, sides))).notes
    assert f"the chain's {which} has no tokenizer file" in note


def test_chain_that_skips_embedding_and_head_needs_no_tokenizers():
    chain = Chain(parent(SWAPPED), parent(None))
    plan = plan_parents(parent(WORDS), chain, skip=["*embed_tokens*", "lm_head*"])
    plan.require_accepted()
    assert plan.notes == ()
    with pytest.raises(TokensConflict):
        plan_parents(parent(WORDS), chain, skip=["*embed_tokens*"])


def adapter_over(base, vocabulary, rows=64):
    whole = [(f"base_model.model.{name}", "BF16", (rows, 16)) for name in (EMBED, HEAD)]
    return make_adapter(whole, base, vocabulary=vocabulary)


@pytest.mark.parametrize("rows", [64, 66])
def test_adapter_without_a_tokenizer_means_the_bases_tokens(rows):
    base = parent(WORDS)
    plan = plan_with(base, adapter_over(base, None, rows), **COPY)
    plan.require_accepted()
    assert plan.notes == ()


def test_adapters_own_tokenizer_is_held_against_the_bases():
    base = parent(WORDS)
    with pytest.raises(TokensConflict, match="id 40 is 'word40' in the base and 'word41' in the adapter"):
        plan_with(base, adapter_over(base, SWAPPED))
    assert plan_with(base, adapter_over(base, {**WORDS, 64: "new"}, rows=65), **COPY).notes == ()


def test_adapter_that_leaves_the_embedding_alone_may_bring_any_tokenizer():
    base = parent(WORDS)
    tuned = make_adapter([("base_model.model.norm.weight", "BF16", (16,))], base, vocabulary=SWAPPED)
    assert plan_with(base, tuned).notes == ()
