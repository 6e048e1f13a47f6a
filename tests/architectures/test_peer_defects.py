"""What another tool was seen to do wrong (mergekit 0.1.5, each reproduced): a case each, that it does not happen here.

Its other defects have files of their own: fp8 scales dropped in test_fp8, heads tied by config alone in test_heads, the
dtype mislabelled in test_dtypes.
"""

import json
from pathlib import Path

import pytest
import torch
import transformers

from crossfade_core.plan import Action
from tests.architectures.accounting import assert_every_key_has_one_row
from tests.architectures.merging import LAMBDAS, merge
from tests.architectures.pairs import (
    State,
    assert_same_bits,
    assert_same_model,
    in_memory,
    lerp,
    llama_pair,
    make_models,
    read_state,
    reload,
    rewrite,
    save,
)
from tests.architectures.tokens import CHAT_TEMPLATE, CHAT_TOKENS, make_tokenizer
from tests.architectures.zoo import ARCHITECTURES, VOCABULARY, text_inputs


def pythia_buffers() -> State:
    """What Pythia's files hold beside its weights: the causal mask, its constant, and the rotary frequencies."""
    mask = torch.ones(64, 64, dtype=torch.bool).tril().view(1, 1, 64, 64)
    buffers = {"bias": mask, "masked_bias": torch.tensor(-1e9), "rotary_emb.inv_freq": torch.arange(4.0)}
    return {
        f"gpt_neox.layers.{n}.attention.{name}": tensor.clone() for n in range(2) for name, tensor in buffers.items()
    }


def test_biases_and_buffers_that_no_table_lists_are_kept(tmp_path):
    models = make_models(ARCHITECTURES["gpt_neox"])
    folders = save(models, tmp_path)
    buffers = pythia_buffers()
    for folder in folders:
        rewrite(folder, {**read_state(folder), **buffers})
    merged = merge(*folders, tmp_path / "out")
    assert_every_key_has_one_row(merged.plan, *folders)
    for lam in LAMBDAS:
        found = read_state(merged.folders[lam])
        assert_same_bits({name: found[name] for name in buffers}, buffers)
        assert sum(name.endswith(".bias") for name in found) == 15
        assert_same_model(reload(merged.folders[lam], ARCHITECTURES["gpt_neox"]), in_memory(models, lam), text_inputs())


def test_tensors_that_no_architecture_has_are_merged_like_any_other(tmp_path):
    _, folders = llama_pair(tmp_path)
    chance = torch.Generator().manual_seed(7)
    extra = [{"value_head.weight": torch.randn(3, 32, generator=chance).bfloat16()} for _ in folders]
    for folder, more in zip(folders, extra, strict=True):
        rewrite(folder, {**read_state(folder), **more})
    merged = merge(*folders, tmp_path / "out", lambdas=[0.5])
    found = read_state(merged.folders[0.5])["value_head.weight"]
    expected = lerp(*(more["value_head.weight"] for more in extra), 0.5)
    assert_same_bits({"value_head.weight": found}, {"value_head.weight": expected})
    (row,) = [row for row in merged.plan.rows if row.name == "value_head.weight"]
    assert row.action is Action.INTERPOLATE


ODD_CONFIG = """{"architectures":["LlamaForCausalLM"],"model_type":"llama", "rope_theta": 1e6,
\t"rope_scaling": null, "rms_norm_eps": 1e-6, "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.31.0", "pretraining_tp": 1,
  "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "our_own_key": {"größe": [1.50, 2]}}"""


def test_config_stays_byte_for_byte_where_it_is_right(tmp_path):
    models, folders = llama_pair(tmp_path)
    (folders.instruct / "config.json").write_bytes(ODD_CONFIG.encode())
    merged = merge(*folders, tmp_path / "out")
    for lam in LAMBDAS:
        assert (merged.folders[lam] / "config.json").read_bytes() == ODD_CONFIG.encode()
    config = transformers.AutoConfig.from_pretrained(merged.folders[0.5])
    assert config.rope_parameters["rope_theta"] == 1e6
    models.base.model.rotary_emb = models.instruct.model.rotary_emb = type(models.base.model.rotary_emb)(config)
    assert_same_model(reload(merged.folders[0.5]), in_memory(models, 0.5), text_inputs())


def test_config_keeps_every_other_key_where_one_must_change(tmp_path):
    _, folders = llama_pair(tmp_path)
    (folders.instruct / "config.json").write_bytes(ODD_CONFIG.encode())
    merged = merge(*folders, tmp_path / "out", out_dtype="float32", lambdas=[0.5])
    found = json.loads((merged.folders[0.5] / "config.json").read_bytes())
    assert found == {**json.loads(ODD_CONFIG), "torch_dtype": "float32"}
    assert list(found) == list(json.loads(ODD_CONFIG))


def make_chatty(folder: Path) -> None:
    """Give a model the tokenizer and chat template that a tuned model comes with."""
    tokenizer = make_tokenizer(CHAT_TOKENS)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)


def test_chat_template_and_tokenizer_are_kept(tmp_path):
    models = make_models(ARCHITECTURES["llama"])
    for model in models:
        model.resize_token_embeddings(VOCABULARY + len(CHAT_TOKENS), mean_resizing=False)
    folders = save(models, tmp_path)
    make_tokenizer().save_pretrained(folders.base)
    make_chatty(folders.instruct)
    merged = merge(*folders, tmp_path / "out")
    kept = ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
    for folder in merged.folders.values():
        for file in kept:
            assert (folder / file).read_bytes() == (folders.instruct / file).read_bytes()
        said = [{"role": "user", "content": "word7"}]
        text = transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(said, tokenize=False)
        assert text == "<|start|> word7 <|stop|>"


@pytest.mark.parametrize(("first", "second"), [("10KB", "60KB"), ("60KB", "10KB"), ("10KB", "1GB"), ("1GB", "10KB")])
def test_second_run_into_the_same_folder_leaves_no_stale_shard(tmp_path, first, second):
    models = make_models(ARCHITECTURES["llama"])
    folders = {size: save(models, tmp_path / size, size, size) for size in (first, second)}
    merge(*folders[first], tmp_path / "out", lambdas=[0.25], output_name="model")
    before = {path.name for path in (tmp_path / "out/model").glob("*.safetensors*")}
    merged = merge(*folders[second], tmp_path / "out", lambdas=[0.5], output_name="model", overwrite=True)
    after = {path.name for path in merged.folders[0.5].glob("*.safetensors*")}
    assert merged.folders[0.5] == tmp_path / "out/model"
    assert before & after == set()
    assert {name for name in after if name.endswith(".safetensors")} == {shard.file for shard in merged.plan.shards}
    assert_same_model(reload(merged.folders[0.5]), in_memory(models, 0.5), text_inputs())
