"""What read_adapter says of an adapter makes, of the base, the very weights that peft's merge_and_unload makes."""

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, LlamaModel

from crossfade_core.adapter import ADAPTER_CONFIG, ADAPTER_FILE, read_adapter
from crossfade_core.checkpoint import SINGLE_FILE, build_layout, header_length, parse_header
from crossfade_core.errors import AdapterUnsupported
from crossfade_core.plan import ByteRange
from crossfade_core.quantisation import read_values

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`:UserWarning"),
    pytest.mark.filterwarnings("ignore:PiSSA changes the base weights:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to:UserWarning"),
]


def llama(kind=LlamaForCausalLM, **fields):
    torch.manual_seed(1)
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    return kind(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, **fields))


def gpt2():
    torch.manual_seed(1)
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=8, n_embd=16, n_layer=2, n_head=2, **tokens))


QV = ["q_proj", "v_proj"]
CASES = {
    "two projections": (llama, {}, {"target_modules": QV}),
    "all linear layers": (llama, {}, {"target_modules": "all-linear", "r": 3, "lora_alpha": 7}),
    "head": (llama, {}, {"target_modules": ["lm_head", "down_proj"]}),
    "rslora": (llama, {}, {"target_modules": QV, "use_rslora": True, "r": 5}),
    "patterns": (
        llama,
        {},
        {
            "target_modules": ["q_proj", "k_proj", "v_proj", "up_proj"],
            # In the order of characters, in which PEFT writes them down and reads them again.
            "rank_pattern": {"^model.layers.0.self_attn.q_proj": 2, "k_proj": 6, r"layers\.1\..*": 3},
            "alpha_pattern": {r".*\.(q|k)_proj": 5, "self_attn.v_proj": 1, "up_proj": 16, "v_proj": 9},
        },
    ),
    "patterns and rslora": (
        llama,
        {},
        {"target_modules": QV, "use_rslora": True, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 3}},
    ),
    "dora": (llama, {}, {"target_modules": ["q_proj", "down_proj", "lm_head"], "use_dora": True}),
    "dora and rslora": (llama, {}, {"target_modules": QV, "use_dora": True, "use_rslora": True}),
    "modules to save": (llama, {}, {"target_modules": QV, "modules_to_save": ["lm_head", "embed_tokens"]}),
    "norms to save": (llama, {}, {"target_modules": QV, "modules_to_save": ["input_layernorm", "model.norm"]}),
    "embedding": (llama, {}, {"target_modules": ["embed_tokens", "q_proj"]}),
    "embedding and head": (llama, {}, {"target_modules": ["embed_tokens", "lm_head"], "use_rslora": True}),
    "embedding that is the head too": (llama, {"tie_word_embeddings": True}, {"target_modules": ["embed_tokens"]}),
    "all biases": (llama, {"attention_bias": True, "mlp_bias": True}, {"target_modules": QV, "bias": "all"}),
    "biases of adapted layers": (llama, {"attention_bias": True}, {"target_modules": QV, "bias": "lora_only"}),
    "biases of modules to save": (
        llama,
        {"attention_bias": True},
        {"target_modules": QV, "bias": "all", "modules_to_save": ["k_proj"]},
    ),
    "layers that store [in, out]": (gpt2, {}, {"target_modules": ["c_attn", "c_proj", "c_fc"], "bias": "all"}),
    "another beginning": (llama, {}, {"target_modules": QV, "init_lora_weights": "orthogonal"}),
}


def layout_of(path: Path):
    raw = path.read_bytes()
    length = header_length(raw[:8], path.name, len(raw))
    return build_layout([parse_header(raw[8 : 8 + length], path.name, len(raw))], None)


def stored_base(folder: Path):
    return read_values(layout_of(folder / SINGLE_FILE), None).tensors


def train(model):
    """Move every weight that training would move."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                noise = torch.randn_like(weight)
                weight.copy_(weight * (1 + 0.1 * noise) if "magnitude" in name else weight + 0.3 * noise)


def read_f64(folder: Path, part: ByteRange, shape):
    raw = bytearray((folder / part.file).read_bytes()[part.start : part.end])
    return torch.frombuffer(raw, dtype={"F32": torch.float32, "BF16": torch.bfloat16}[part.dtype]).double().view(shape)


def apply_delta(folder, delta, base):
    """Base and delta in float64, from nothing but what a LowRankDelta says."""
    rows, columns = reversed(base.shape) if delta.is_transposed else base.shape
    up, down = read_f64(folder, delta.up, (rows, delta.rank)), read_f64(folder, delta.down, (delta.rank, columns))
    step = delta.scaling * (up @ down)
    whole = base + (step.T if delta.is_transposed else step)
    if delta.magnitude is None:
        return whole
    return whole * (read_f64(folder, delta.magnitude, (rows,)) / whole.norm(dim=1)).unsqueeze(1)


def apply_adapter(folder, adapter, base):
    made = {name: values.double() for name, values in base.items()}
    for name, delta in adapter.deltas.items():
        made[name] = apply_delta(folder, delta, made[name])
    for name, stored in adapter.replaced.items():
        made[name] = read_f64(folder, stored.bytes, stored.shape)
    return made


def merge_by_peft(base, adapter_folder: Path, folder: Path):
    merged = PeftModel.from_pretrained(copy.deepcopy(base), str(adapter_folder)).merge_and_unload()
    merged.save_pretrained(folder)
    return load_file(folder / SINGLE_FILE)


def assert_same(ours, theirs, base):
    assert set(ours) == set(theirs) == set(base)
    for name, values in theirs.items():
        torch.testing.assert_close(
            ours[name].float(), values, rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}"
        )
    assert any(not torch.equal(theirs[name], base[name]) for name in base)


@pytest.mark.parametrize("case", CASES)
def test_base_and_delta_are_what_peft_merges(case, tmp_path):
    make, fields, config = CASES[case]
    model = make(**fields)
    model.save_pretrained(tmp_path / "base")
    tuned = get_peft_model(copy.deepcopy(model), LoraConfig(**{"r": 4, "lora_alpha": 8, **config}))
    train(tuned)
    tuned.save_pretrained(tmp_path / "adapter")
    layout = layout_of(tmp_path / "adapter" / ADAPTER_FILE)
    raw = (tmp_path / "adapter" / ADAPTER_CONFIG).read_bytes()
    adapter = read_adapter(raw, layout, stored_base(tmp_path / "base"))
    assert len(adapter.absorbed) + len(adapter.replaced) == len(layout.tensors)
    base = load_file(tmp_path / "base" / SINGLE_FILE)
    ours = apply_adapter(tmp_path / "adapter", adapter, base)
    assert_same(ours, merge_by_peft(model, tmp_path / "adapter", tmp_path / "merged"), base)


def test_adapter_of_the_model_without_its_head_fits_the_base_with_one(tmp_path):
    whole = llama()
    whole.save_pretrained(tmp_path / "base")
    body = llama(LlamaModel)
    body.load_state_dict(whole.model.state_dict())
    tuned = get_peft_model(copy.deepcopy(body), LoraConfig(r=4, target_modules=QV))
    train(tuned)
    tuned.save_pretrained(tmp_path / "adapter")
    layout = layout_of(tmp_path / "adapter" / ADAPTER_FILE)
    raw = (tmp_path / "adapter" / ADAPTER_CONFIG).read_bytes()
    adapter = read_adapter(raw, layout, stored_base(tmp_path / "base"))
    base = load_file(tmp_path / "base" / SINGLE_FILE)
    ours = apply_adapter(tmp_path / "adapter", adapter, base)
    merged = merge_by_peft(body, tmp_path / "adapter", tmp_path / "merged")
    theirs = {f"model.{name}": values for name, values in merged.items()} | {"lm_head.weight": base["lm_head.weight"]}
    assert_same(ours, theirs, base)


def test_pissa_is_refused_as_it_is_and_read_once_peft_has_converted_it(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path / "base")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=QV, init_lora_weights="pissa")
    tuned = get_peft_model(copy.deepcopy(model), config)
    tuned.peft_config["default"].init_lora_weights = True
    tuned.save_pretrained(tmp_path / "begun")
    tuned.peft_config["default"].init_lora_weights = "pissa"
    train(tuned)
    tuned.save_pretrained(tmp_path / "plain")
    tuned.save_pretrained(tmp_path / "adapter", path_initial_model_for_weight_conversion=str(tmp_path / "begun"))
    base = stored_base(tmp_path / "base")
    plain, raw = layout_of(tmp_path / "plain" / ADAPTER_FILE), (tmp_path / "plain" / ADAPTER_CONFIG).read_bytes()
    with pytest.raises(AdapterUnsupported, match="path_initial_model_for_weight_conversion"):
        read_adapter(raw, plain, base)
    raw = (tmp_path / "adapter" / ADAPTER_CONFIG).read_bytes()
    adapter = read_adapter(raw, layout_of(tmp_path / "adapter" / ADAPTER_FILE), base)
    values = load_file(tmp_path / "base" / SINGLE_FILE)
    ours = apply_adapter(tmp_path / "adapter", adapter, values)
    tuned.merge_and_unload().save_pretrained(tmp_path / "merged")
    assert_same(ours, load_file(tmp_path / "merged" / SINGLE_FILE), values)
