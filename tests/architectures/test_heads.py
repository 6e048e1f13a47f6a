"""One parent shares its head with the embedding, the other does not: the output is untied, and its config says so."""

import copy
import json
from pathlib import Path

import pytest
import torch

from tests.architectures.accounting import assert_every_key_has_one_row, exact_items
from tests.architectures.merging import LAMBDAS, merge
from tests.architectures.pairs import (
    Folders,
    Models,
    assert_same_bits,
    assert_same_model,
    in_memory,
    lerp_state,
    make_models,
    make_untied_and_tied,
    read_state,
    reload,
    rewrite,
    save,
)
from tests.architectures.zoo import ARCHITECTURES, VOCABULARY, text_inputs

HEADS = {
    "llama": "lm_head.weight",
    "gemma2": "lm_head.weight",
    "gpt_neox": "embed_out.weight",
    "gpt2": "lm_head.weight",
    "gemma3": "language_model.lm_head.weight",
}


def untied(models: Models, lam: float):
    """The merge of the two models in memory: the tied one's head is its embedding."""
    (model,) = [copy.deepcopy(model) for model in models if not model.config.tie_word_embeddings]
    model.load_state_dict(lerp_state(models.base.state_dict(), models.instruct.state_dict(), lam))
    return model


def forget_ties(folder: Path) -> None:
    """Leave tie_word_embeddings out of config.json, as configs of older transformers do for a class's default."""
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config.get("text_config", {})):
        part.pop("tie_word_embeddings", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def check(models: Models, folders: Folders, out: Path, name: str) -> None:
    merged = merge(*folders, out)
    assert_every_key_has_one_row(merged.plan, *folders)
    for lam in LAMBDAS:
        folder = merged.folders[lam]
        assert HEADS[name] in read_state(folder)
        reloaded = reload(folder, ARCHITECTURES[name])
        assert reloaded.config.tie_word_embeddings is False
        assert reloaded.get_output_embeddings().weight is not reloaded.get_input_embeddings().weight
        assert_same_model(reloaded, untied(models, lam), ARCHITECTURES[name].inputs())


@pytest.mark.parametrize("is_base_tied", [True, False], ids=["base tied", "instruct tied"])
@pytest.mark.parametrize("name", HEADS)
def test_output_of_a_tied_and_an_untied_parent_is_the_untied_merge_of_the_models(tmp_path, name, is_base_tied):
    models = make_untied_and_tied(ARCHITECTURES[name], is_base_tied=is_base_tied)
    check(models, save(models, tmp_path), tmp_path / "out", name)


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "gemma3"])
def test_config_that_leaves_the_tie_to_its_class_is_understood(tmp_path, name):
    models = make_untied_and_tied(ARCHITECTURES[name], is_base_tied=False)
    folders = save(models, tmp_path)
    forget_ties(folders.instruct)
    check(models, folders, tmp_path / "out", name)


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)], ids=["base", "instruct", "both"])
def test_head_that_is_stored_though_it_is_tied_changes_nothing(tmp_path, sides):
    models = make_models(ARCHITECTURES["gemma2"])
    folders = save(models, tmp_path)
    for side in sides:
        state = read_state(folders[side])
        rewrite(folders[side], {**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()})
    merged = merge(*folders, tmp_path / "out")
    assert_every_key_has_one_row(merged.plan, *folders)
    for lam in LAMBDAS:
        assert_same_model(reload(merged.folders[lam]), in_memory(models, lam), text_inputs())


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "gemma3"])
def test_two_tied_parents_give_a_tied_output_whatever_their_configs_leave_out(tmp_path, name):
    models = make_models(ARCHITECTURES[name])
    folders = save(models, tmp_path)
    for folder in folders:
        forget_ties(folder)
    merged = merge(*folders, tmp_path / "out", lambdas=[0.5])
    assert HEADS[name] not in read_state(merged.folders[0.5])
    assert (merged.folders[0.5] / "config.json").read_bytes() == (folders.instruct / "config.json").read_bytes()
    reloaded = reload(merged.folders[0.5], ARCHITECTURES[name])
    assert reloaded.get_output_embeddings().weight is reloaded.get_input_embeddings().weight


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)], ids=["base", "instruct", "both"])
def test_stored_head_that_differs_counts_as_it_does_for_the_loader_though_the_config_ties_it(tmp_path, sides):
    folders = save(make_models(ARCHITECTURES["gemma2"]), tmp_path)
    chance = torch.Generator().manual_seed(6)
    for side in sides:
        head = torch.randn(VOCABULARY, 32, generator=chance).bfloat16()
        rewrite(folders[side], {**read_state(folders[side]), "lm_head.weight": head})
    parents = [reload(folder).state_dict() for folder in folders]
    assert not torch.equal(parents[sides[0]]["lm_head.weight"], parents[sides[0]]["model.embed_tokens.weight"])
    merged = merge(*folders, tmp_path / "out")
    assert_every_key_has_one_row(merged.plan, *folders)
    for lam in LAMBDAS:
        assert_same_bits(reload(merged.folders[lam]).state_dict(), lerp_state(*parents, lam))


def test_nothing_but_the_tie_changes_in_the_config(tmp_path):
    models = make_untied_and_tied(ARCHITECTURES["llama"], is_base_tied=False)
    folders = save(models, tmp_path)
    merged = merge(*folders, tmp_path / "out", lambdas=[0.5])
    found, given = exact_items(merged.folders[0.5] / "config.json"), exact_items(folders.instruct / "config.json")
    assert found == [(key, False if key == "tie_word_embeddings" else value) for key, value in given]
