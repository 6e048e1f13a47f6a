"""Vocabularies of two sizes, with real tokenizers: shared rows are merged, further rows copied, the model speaks."""

import copy
import json

import pytest
import torch
import transformers

from crossfade_core.errors import Reported
from crossfade_core.plan import Action
from tests.architectures.accounting import assert_every_key_has_one_row
from tests.architectures.merging import LAMBDAS, merge
from tests.architectures.pairs import Models, assert_same_model, greedy, lerp, make_models, perturbed, reload, save
from tests.architectures.tokens import CHAT_TOKENS, SPECIAL, make_tokenizer, save_tokenizers
from tests.architectures.zoo import ARCHITECTURES, VOCABULARY, text_inputs

COPY = {"extra_rows": "copy"}


def make_resized(name: str, *, base_rows: int, instruct_rows: int) -> Models:
    base = make_models(ARCHITECTURES[name]).base
    instruct = copy.deepcopy(base)
    base.resize_token_embeddings(base_rows, mean_resizing=False)
    instruct.resize_token_embeddings(instruct_rows, mean_resizing=False)
    return Models(base, perturbed(instruct, seed=2))


def in_memory(models: Models, lam: float) -> transformers.PreTrainedModel:
    """Merge two models of two vocabularies: the larger one's, with the shared rows merged."""
    base, instruct = (model.state_dict() for model in models)
    merged = {}
    for name, ours in base.items():
        theirs = instruct[name]
        shared = min(len(ours), len(theirs))
        rest = (ours if len(ours) > len(theirs) else theirs)[shared:]
        merged[name] = torch.cat([lerp(ours[:shared], theirs[:shared], lam), rest])
    model = copy.deepcopy(max(models, key=lambda model: model.config.get_text_config().vocab_size))
    model.load_state_dict(merged)
    return model


def vocabulary_size(folder) -> int:
    config = json.loads((folder / "config.json").read_text())
    return config.get("text_config", config)["vocab_size"]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3", "gpt_neox"])
@pytest.mark.parametrize("tokenizer_from", ["instruct", "base"])
def test_shared_rows_are_merged_and_the_instructs_further_rows_copied(tmp_path, name, tokenizer_from):
    more = VOCABULARY + len(CHAT_TOKENS)
    models = make_resized(name, base_rows=VOCABULARY, instruct_rows=more)
    folders = save(models, tmp_path)
    save_tokenizers(*folders)
    merged = merge(*folders, tmp_path / "out", policies=COPY, tokenizer_from=tokenizer_from)
    assert_every_key_has_one_row(merged.plan, *folders)
    cut = {row.name: row.action for row in merged.plan.rows if row.shared_elements is not None}
    assert len(cut) == (1 if models.base.config.tie_word_embeddings else 2)
    assert set(cut.values()) == {Action.INTERPOLATE}
    for lam in LAMBDAS:
        assert vocabulary_size(merged.folders[lam]) == more
        reloaded = reload(merged.folders[lam], ARCHITECTURES[name])
        assert_same_model(reloaded, in_memory(models, lam), ARCHITECTURES[name].inputs())


def test_padded_rows_of_the_base_are_kept(tmp_path):
    models = make_resized("llama", base_rows=128, instruct_rows=VOCABULARY + len(CHAT_TOKENS))
    folders = save(models, tmp_path)
    save_tokenizers(*folders)
    merged = merge(*folders, tmp_path / "out", policies=COPY)
    for lam in LAMBDAS:
        assert vocabulary_size(merged.folders[lam]) == 128
        assert_same_model(reload(merged.folders[lam]), in_memory(models, lam), text_inputs())


def test_output_speaks_the_added_tokens(tmp_path):
    models = make_resized("llama", base_rows=VOCABULARY, instruct_rows=VOCABULARY + len(CHAT_TOKENS))
    folders = save(models, tmp_path)
    save_tokenizers(*folders)
    folder = merge(*folders, tmp_path / "out", policies=COPY, lambdas=[0.5]).folders[0.5]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    said = [{"role": "user", "content": "word7 word8"}]
    inputs = tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)
    assert inputs["input_ids"].tolist() == [[VOCABULARY, 7, 8, VOCABULARY + 1]]
    assert greedy(reload(folder), {"input_ids": inputs["input_ids"]}) == greedy(
        in_memory(models, 0.5), {"input_ids": inputs["input_ids"]}
    )


def test_further_rows_without_a_policy_are_refused_by_name(tmp_path):
    models = make_resized("llama", base_rows=VOCABULARY, instruct_rows=VOCABULARY + 2)
    folders = save(models, tmp_path)
    save_tokenizers(*folders)
    with pytest.raises(Reported, match="extra_rows") as caught:
        merge(*folders, tmp_path / "out")
    assert caught.value.record["code"] == "plan_refused"
    named = {refusal["tensor"] for refusal in caught.value.record["details"]["refusals"]}
    assert named == {"model.embed_tokens.weight", "lm_head.weight"}


@pytest.fixture
def conflicting(tmp_path):
    """A pair whose tokenizers have two words in each other's place."""
    folders = save(make_models(ARCHITECTURES["llama"]), tmp_path)
    words = [*SPECIAL, *(f"word{number}" for number in range(3, VOCABULARY))]
    make_tokenizer(words=words).save_pretrained(folders.base)
    words[40], words[41] = words[41], words[40]
    make_tokenizer(words=words).save_pretrained(folders.instruct)
    return folders


def test_ids_that_mean_two_tokens_are_refused_by_name(tmp_path, conflicting):
    with pytest.raises(Reported, match=r"40.*word40.*word41") as caught:
        merge(*conflicting, tmp_path / "out")
    assert caught.value.record["code"] == "tokens_conflict"


def test_ids_that_mean_two_tokens_are_merged_where_the_user_says_so(tmp_path, conflicting):
    merged = merge(*conflicting, tmp_path / "out", policies={"tokens": "ignore"}, lambdas=[0.5])
    assert len(greedy(reload(merged.folders[0.5]), text_inputs())) == 6
