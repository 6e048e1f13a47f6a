"""PEFT adapters as the instruct side: the sweep leads from the base to what peft's own merge_and_unload makes of it."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import peft
import pytest
import torch
from transformers import PreTrainedModel

from crossfade_core.errors import Reported
from tests.architectures.merging import LAMBDAS, Merged, merge
from tests.architectures.pairs import assert_same_bits, greedy, make_models, read_state, reload
from tests.architectures.quantising import quantise
from tests.architectures.tokens import CHAT_TOKENS, save_tokenizers
from tests.architectures.zoo import ARCHITECTURES, VOCABULARY, text_inputs

pytestmark = pytest.mark.filterwarnings(
    # peft 0.21 asks transformers 5 for a property that was renamed.
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Setting `save_embedding_layers` to `True`:UserWarning",  # what peft does where an embedding is adapted
    "ignore:Model (has|with) `tie_word_embeddings=True`:UserWarning",  # the very cases that are refused
)

ADAPTERS: Final[dict[str, dict[str, Any]]] = {
    "plain": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    "ranks and alphas by pattern": {
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        "rank_pattern": {"v_proj": 2, "layers.1.self_attn.q_proj": 6},
        "alpha_pattern": {"down_proj": 3},
    },
    "rslora": {"target_modules": ["q_proj", "up_proj"], "use_rslora": True},
    "dora": {"target_modules": ["q_proj", "down_proj"], "use_dora": True},
    "modules to save": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "o_proj"]},
}
RANK_AND_ALPHA: Final = {"r": 4, "lora_alpha": 10}


@dataclass(frozen=True)
class Adapted:
    """A base, an adapter of it on disk, and what peft merges them into in float32."""

    base: PreTrainedModel
    folders: tuple[Path, Path]
    tuned_f32: dict[str, torch.Tensor]


def save_base(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    base.save_pretrained(folder / "base", max_shard_size="30KB")
    return base


def make_base(name: str, folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Return a small model of the architecture, saved in `folder/base`."""
    return save_base(make_models(ARCHITECTURES[name]).base.to(dtype or ARCHITECTURES[name].dtype), folder)


def save_adapter(folder: Path, base: PreTrainedModel, **options: Any) -> Path:
    """Save an adapter of `base`, all of whose parameters have been trained, in `folder/adapter`."""
    config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **{**RANK_AND_ALPHA, **options})
    model = peft.get_peft_model(copy.deepcopy(base), config)
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter + torch.randn(parameter.shape, generator=chance) * 0.05)
    model.save_pretrained(folder / "adapter")
    return folder / "adapter"


def adapt(folder: Path, base: PreTrainedModel, **options: Any) -> Adapted:
    """Return `base`, whose own files are in `folder/base`, with an adapter of it."""
    adapter = save_adapter(folder, base, **options)
    wide = peft.PeftModel.from_pretrained(copy.deepcopy(base).float(), adapter).merge_and_unload()
    return Adapted(base, (folder / "base", adapter), wide.state_dict())


def check(adapted: Adapted, merged: Merged, name: str) -> None:
    """See that each output is base + λ·(tuned − base), rounded once, and that a user can load and ask it."""
    base = adapted.base.state_dict()
    assert not all(torch.equal(tensor.float(), adapted.tuned_f32[key]) for key, tensor in base.items())
    for lam in LAMBDAS:
        found = reload(merged.folders[lam], ARCHITECTURES[name])
        state = found.state_dict()
        assert state.keys() == adapted.tuned_f32.keys() == base.keys()
        for key, tuned in adapted.tuned_f32.items():
            ours, theirs = base[key].double(), tuned.double()
            exact = ours + lam * (theirs - ours)
            half_a_step = exact.abs() * torch.finfo(base[key].dtype).eps / 2
            # What float32 loses, peft's and ours, where large products cancel.
            allowed = half_a_step + theirs.abs().max() * 2**-21
            assert state[key].dtype == base[key].dtype
            assert bool(((state[key].double() - exact).abs() <= allowed).all()), (key, lam)
        assert len(greedy(found, text_inputs())) == 6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "f32"])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_sweep_leads_from_the_base_to_what_peft_merges(tmp_path, kind, dtype):
    adapted = adapt(tmp_path, make_base("llama", tmp_path, dtype), **ADAPTERS[kind])
    merged = merge(*adapted.folders, tmp_path / "out")
    check(adapted, merged, "llama")
    assert_same_bits(read_state(merged.folders[0.0]), read_state(adapted.folders[0]))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
        ("qwen2", {"target_modules": ["q_proj", "k_proj"]}),
        ("qwen2", {"target_modules": ["q_proj", "k_proj"], "bias": "lora_only"}),
        ("mixtral", {"target_modules": ["q_proj", "o_proj"]}),
        ("gpt_neox", {"target_modules": ["query_key_value", "dense_4h_to_h"]}),
    ],
    ids=["gpt2 stores [in, out]", "qwen2", "qwen2 with biases", "mixtral", "gpt_neox"],
)
def test_adapters_of_other_architectures_are_merged_too(tmp_path, name, options):
    adapted = adapt(tmp_path, make_base(name, tmp_path), **options)
    merged = merge(*adapted.folders, tmp_path / "out")
    check(adapted, merged, name)
    assert_same_bits(read_state(merged.folders[0.0]), read_state(adapted.folders[0]))


def test_full_strength_is_pefts_own_merge_within_one_step_of_bf16(tmp_path):
    adapted = adapt(tmp_path, make_base("llama", tmp_path), target_modules=["q_proj", "down_proj"])
    merged = merge(*adapted.folders, tmp_path / "out", lambdas=[1.0])
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(adapted.base), adapted.folders[1]).merge_and_unload()
    ours = reload(merged.folders[1.0]).state_dict()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=torch.finfo(torch.bfloat16).eps, atol=1e-6)


def test_output_is_a_model_and_no_adapter(tmp_path):
    adapted = adapt(tmp_path, make_base("llama", tmp_path), target_modules=["q_proj"])
    folder = merge(*adapted.folders, tmp_path / "out", lambdas=[0.5]).folders[0.5]
    assert list(folder.glob("adapter*")) == []
    assert (folder / "config.json").read_bytes() == (adapted.folders[0] / "config.json").read_bytes()
    assert read_state(folder).keys() == read_state(adapted.folders[0]).keys()


def test_every_key_of_base_and_adapter_is_accounted_for_once(tmp_path):
    adapted = adapt(tmp_path, make_base("llama", tmp_path), target_modules=["q_proj", "down_proj"], use_dora=True)
    plan = merge(*adapted.folders, tmp_path / "out", lambdas=[0.5]).plan
    base, adapter = map(read_state, adapted.folders)
    assert sorted(row.name for row in plan.rows) == sorted(base)
    assert sorted(row.name for row in plan.absorbed) == sorted(adapter)
    assert [row.name for row in (*plan.rows, *plan.absorbed) if not row.reason] == []


def test_adapter_of_a_quantised_base_is_merged_into_its_numbers(tmp_path):
    base = make_models(ARCHITECTURES["llama"], hidden_size=192, intermediate_size=320).base
    base.save_pretrained(tmp_path / "base")
    base.load_state_dict(quantise(tmp_path / "base", "blocks"))
    adapted = adapt(tmp_path, base, target_modules=["q_proj", "down_proj"])
    merged = merge(*adapted.folders, tmp_path / "out")
    check(adapted, merged, "llama")
    for folder in merged.folders.values():
        assert "quantization_config" not in json.loads((folder / "config.json").read_text())


def test_adapter_that_brings_tokens_of_its_own_gives_a_model_with_them(tmp_path):
    base = make_models(ARCHITECTURES["llama"]).base
    save_base(base, tmp_path)
    base.resize_token_embeddings(VOCABULARY + len(CHAT_TOKENS), mean_resizing=False)
    adapted = adapt(tmp_path, base, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    save_tokenizers(*adapted.folders)
    merged = merge(*adapted.folders, tmp_path / "out", policies={"extra_rows": "copy"})
    rows = ["model.embed_tokens.weight", "lm_head.weight"]
    for lam in LAMBDAS:
        reloaded = reload(merged.folders[lam])
        assert reloaded.config.vocab_size == VOCABULARY + len(CHAT_TOKENS)
        for name in rows:
            own = adapted.tuned_f32[name][VOCABULARY:].bfloat16()
            assert torch.equal(reloaded.state_dict()[name][VOCABULARY:], own)
        kept = (merged.folders[lam] / "tokenizer.json").read_bytes()
        assert kept == (adapted.folders[1] / "tokenizer.json").read_bytes()
        assert len(greedy(reloaded, {"input_ids": torch.tensor([[VOCABULARY, 7, VOCABULARY + 1]])})) == 6


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("mixtral", {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]}, "experts"),
        ("gemma3", {"target_modules": ".*language_model.*q_proj"}, "q_proj"),
        ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True, "use_dora": True}, "c_attn"),
        ("gemma2", {"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        ("gemma2", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, "lm_head"),
        ("gemma2", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, "embed_tokens"),
        ("llama", {"target_modules": ["q_proj"], "trainable_token_indices": [3, 4]}, "token"),
    ],
    ids=[
        "experts that are one tensor in memory",
        "layers of another name in memory",
        "dora of a layer [in, out]",
        "a tied head",
        "a head in place of a tied one",
        "an embedding without the head tied to it",
        "single tokens",
    ],
)
def test_adapter_that_cannot_be_brought_onto_the_files_is_refused_by_name(tmp_path, name, options, named):
    adapter = save_adapter(tmp_path, make_base(name, tmp_path), **options)
    assert any(named in key for key in read_state(adapter))
    with pytest.raises(Reported, match=named) as caught:
        merge(tmp_path / "base", adapter, tmp_path / "out")
    assert caught.value.record["blame"] == "user"
    assert not (tmp_path / "out").exists()
