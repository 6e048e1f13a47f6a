"""An adapter is read as PEFT reads it, or refused by name with the way out; no tensor of it goes unaccounted."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.adapter import ADAPTER_CONFIG, ADAPTER_FILE, read_adapter
from crossfade_core.errors import AdapterMalformed, AdapterUnsupported, CrossfadeError, DuplicateKey
from crossfade_core.plan import ByteRange, LowRankDelta, StoredTensor
from crossfade_core.quantisation import read_values
from tests.fakes.layouts import HEADER_BYTES, make_layout

OUTER = "base_model.model."
Q, K, UP, EMBED, HEAD = (
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.k_proj",
    "model.layers.0.mlp.up_proj",
    "model.embed_tokens",
    "lm_head",
)
BASE = (
    (Q + ".weight", "BF16", (16, 16)),
    (Q + ".bias", "BF16", (16,)),
    (K + ".weight", "BF16", (8, 16)),
    (UP + ".weight", "BF16", (32, 16)),
    (EMBED + ".weight", "BF16", (64, 16)),
    (HEAD + ".weight", "BF16", (64, 16)),
    ("model.norm.weight", "BF16", (16,)),
)


def values_of(*tensors):
    return read_values(make_layout({"model.safetensors": tensors}), None).tensors


def linear(module, rows, columns, rank=4, dtype="F32", outer=OUTER):
    return (
        (f"{outer}{module}.lora_A.weight", dtype, (rank, columns)),
        (f"{outer}{module}.lora_B.weight", dtype, (rows, rank)),
    )


def read(*tensors, base=BASE, raw=None, **config):
    content = json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}).encode() if raw is None else raw
    return read_adapter(content, make_layout({ADAPTER_FILE: tensors}), values_of(*base))


def test_factors_become_a_delta_of_the_base_tensor_and_are_absorbed():
    adapter = read(*linear(K, 8, 16, dtype="BF16"))
    middle, end = HEADER_BYTES + 4 * 16 * 2, HEADER_BYTES + (4 * 16 + 8 * 4) * 2
    assert adapter.deltas == {
        K + ".weight": LowRankDelta(
            down=ByteRange(ADAPTER_FILE, "BF16", HEADER_BYTES, middle),
            up=ByteRange(ADAPTER_FILE, "BF16", middle, end),
            rank=4,
            scaling=2.0,
        )
    }
    assert {name: reason for name, (_, reason) in adapter.absorbed.items()} == {
        f"{OUTER}{K}.lora_A.weight": f"factor of the delta of {K}.weight",
        f"{OUTER}{K}.lora_B.weight": f"factor of the delta of {K}.weight",
    }
    assert adapter.absorbed[f"{OUTER}{K}.lora_A.weight"][0] == StoredTensor(
        f"{OUTER}{K}.lora_A.weight", (4, 16), ByteRange(ADAPTER_FILE, "BF16", HEADER_BYTES, middle)
    )
    assert adapter.replaced == {}


@pytest.mark.parametrize(
    ("config", "rank", "scaling"),
    [
        ({}, 4, 2.0),
        ({"lora_alpha": 5}, 4, 1.25),
        ({"lora_alpha": 0.5}, 4, 0.125),
        ({"lora_alpha": -4}, 4, -1.0),
        ({"use_rslora": True}, 4, 8 / math.sqrt(4)),
        ({"use_rslora": True, "r": 3}, 3, 8 / math.sqrt(3)),
        ({"use_rslora": None, "rank_pattern": None, "alpha_pattern": None}, 4, 2.0),
        ({"rank_pattern": {"k_proj": 2}}, 2, 4.0),
        ({"alpha_pattern": {"k_proj": 2}}, 4, 0.5),
        ({"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"^lm_head": 1}}, 4, 2.0),
        ({"rank_pattern": {r"layers\.1\..*": 2, "k_proj": 3}, "alpha_pattern": {r".*attn\.(q|k)_proj": 6}}, 2, 3.0),
        ({"rank_pattern": {K: 2}, "use_rslora": True}, 2, 8 / math.sqrt(2)),
    ],
)
def test_rank_and_scaling_are_those_of_the_module(config, rank, scaling):
    delta = read(*linear(K, 8, 16, rank), **config).deltas[K + ".weight"]
    assert (delta.rank, delta.scaling) == (rank, scaling)


def test_left_out_rank_and_alpha_are_pefts_own_defaults():
    delta = read(*linear(K, 8, 16, 8), raw=b'{"peft_type": "LORA"}').deltas[K + ".weight"]
    assert (delta.rank, delta.scaling) == (8, 1.0)


@pytest.mark.parametrize("outer", [OUTER, ""])
@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("lora_A.weight", "lora_B.weight"),
        ("lora_A.default.weight", "lora_B.default.weight"),
    ],
)
def test_every_way_to_name_linear_factors_is_read(outer, down, up):
    adapter = read((f"{outer}{K}.{down}", "F32", (4, 16)), (f"{outer}{K}.{up}", "F32", (8, 4)))
    assert list(adapter.deltas) == [K + ".weight"]


@pytest.mark.parametrize("infix", ["", ".default"])
def test_factors_of_an_embedding_make_a_transposed_delta(infix):
    adapter = read(
        (f"{OUTER}{EMBED}.lora_embedding_A{infix}", "F32", (4, 64)),
        (f"{OUTER}{EMBED}.lora_embedding_B{infix}", "F32", (16, 4)),
    )
    delta = adapter.deltas[EMBED + ".weight"]
    assert delta.is_transposed
    assert (delta.down.start, delta.up.start) == (HEADER_BYTES, HEADER_BYTES + 4 * 64 * 4)


@pytest.mark.parametrize(
    ("said", "shape", "is_transposed"),
    [
        (False, (8, 16), False),
        (True, (16, 8), True),
        (True, (8, 16), False),  # PEFT goes by the layer, not by the config: here the shape tells it
        (False, (16, 8), True),
    ],
)
def test_shapes_tell_how_a_layer_is_stored(said, shape, is_transposed):
    adapter = read(*linear("h.0.c_attn", 8, 16), base=[("h.0.c_attn.weight", "F32", shape)], fan_in_fan_out=said)
    assert adapter.deltas["h.0.c_attn.weight"].is_transposed is is_transposed


@pytest.mark.parametrize("said", [False, True])
def test_square_layers_are_stored_as_the_config_says(said):
    shape = (16, 8) if said else (8, 16)
    base = [("h.c_proj.weight", "F32", (16, 16)), ("h.c_attn.weight", "F32", shape)]
    tensors = (*linear("h.c_proj", 16, 16), *linear("h.c_attn", 8, 16))
    assert read(*tensors, base=base, fan_in_fan_out=said).deltas["h.c_proj.weight"].is_transposed is said


@pytest.mark.parametrize("is_reversed", [False, True])
def test_square_layers_are_refused_where_other_shapes_belie_the_config(is_reversed):
    base = [("h.c_proj.weight", "F32", (16, 16)), ("h.c_attn.weight", "F32", (16, 8))]
    tensors = [*linear("h.c_proj", 16, 16), *linear("h.c_attn", 8, 16)]
    with pytest.raises(AdapterUnsupported, match=r"fan_in_fan_out is false.*'h\.c_attn\.weight'.*'h\.c_proj\.weight'"):
        read(*(reversed(tensors) if is_reversed else tensors), base=base)


@pytest.mark.parametrize("name", ["", ".weight", ".default", ".default.weight"])
def test_dora_adds_the_length_of_every_row(name):
    tensors = (*linear(K, 8, 16), (f"{OUTER}{K}.lora_magnitude_vector{name}", "F32", (8,)))
    adapter = read(*tensors, use_dora=True)
    start = HEADER_BYTES + (4 * 16 + 8 * 4) * 4
    assert adapter.deltas[K + ".weight"].magnitude == ByteRange(ADAPTER_FILE, "F32", start, start + 32)
    assert len(adapter.absorbed) == 3


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("lm_head.weight", "lm_head.weight"),
        ("lm_head.modules_to_save.weight", "lm_head.weight"),
        ("lm_head.modules_to_save.default.weight", "lm_head.weight"),
        ("model.norm.weight", "model.norm.weight"),
        (Q + ".bias", Q + ".bias"),
        (Q + ".base_layer.bias", Q + ".bias"),
    ],
)
def test_whole_tensors_replace_the_bases(name, target):
    shape = next(shape for found, _, shape in BASE if found == target)
    adapter = read((OUTER + name, "F32", shape), modules_to_save=["lm_head"], bias="all")
    size = math.prod(shape) * 4
    stored = StoredTensor(target, shape, ByteRange(ADAPTER_FILE, "F32", HEADER_BYTES, HEADER_BYTES + size))
    assert (adapter.deltas, adapter.replaced, adapter.absorbed) == ({}, {target: stored}, {})


def test_a_vocabulary_that_grew_replaces_embedding_and_head():
    adapter = read((f"{OUTER}{EMBED}.weight", "F32", (66, 16)), (f"{OUTER}{HEAD}.weight", "F32", (66, 16)))
    assert {name: stored.shape for name, stored in adapter.replaced.items()} == {
        EMBED + ".weight": (66, 16),
        HEAD + ".weight": (66, 16),
    }


def test_copies_that_peft_saves_along_are_absorbed():
    """As peft 0.21 saves bias="all" with modules_to_save, and an adapted embedding."""
    embedding = (
        (f"{OUTER}{EMBED}.lora_embedding_A", "F32", (4, 64)),
        (f"{OUTER}{EMBED}.lora_embedding_B", "F32", (16, 4)),
        (f"{OUTER}{EMBED}.base_layer.weight", "F32", (64, 16)),
    )
    saved = (
        (f"{OUTER}{Q}.modules_to_save.bias", "F32", (16,)),
        (f"{OUTER}{Q}.original_module.bias", "F32", (16,)),
        (f"{OUTER}{Q}.bias", "F32", (16,)),
    )
    adapter = read(*embedding, *saved, bias="all", modules_to_save=["q_proj"])
    assert list(adapter.deltas) == [EMBED + ".weight"]
    assert list(adapter.replaced) == [Q + ".bias"]
    assert adapter.replaced[Q + ".bias"].bytes.end == HEADER_BYTES + (4 * 64 + 16 * 4 + 64 * 16 + 48) * 4
    reasons = {name: reason for name, (_, reason) in adapter.absorbed.items() if "lora_" not in name}
    assert reasons == {
        f"{OUTER}{EMBED}.base_layer.weight": f"copy of the base's own {EMBED}.weight",
        f"{OUTER}{Q}.original_module.bias": f"copy of the base's own {Q}.bias",
        f"{OUTER}{Q}.modules_to_save.bias": f"second copy of {OUTER}{Q}.bias",
    }


def test_adapters_of_peft_before_0_6_hold_an_adapted_embedding_under_its_plain_name():
    adapter = read(
        (f"{OUTER}{EMBED}.lora_embedding_A", "F32", (4, 64)),
        (f"{OUTER}{EMBED}.lora_embedding_B", "F32", (16, 4)),
        (f"{OUTER}{EMBED}.weight", "F32", (64, 16)),
    )
    assert (list(adapter.deltas), list(adapter.replaced)) == ([EMBED + ".weight"], [])


@pytest.mark.parametrize(
    ("module", "stored"),
    [
        ("layers.0.mlp", "model.layers.0.mlp.weight"),
        ("model.layers.0.mlp", "layers.0.mlp.weight"),
        ("transformer.h.0.mlp", "h.0.mlp.weight"),
        ("h.0.mlp", "transformer.h.0.mlp.weight"),
    ],
)
def test_prefixes_that_one_class_has_and_another_has_not_are_found(module, stored):
    adapter = read(*linear(module, 8, 16), (OUTER + module + ".bias", "F32", (8,)), base=[
        (stored, "F32", (8, 16)), (stored.replace("weight", "bias"), "F32", (8,))
    ])  # fmt: skip
    assert list(adapter.deltas) == [stored]
    assert list(adapter.replaced) == [stored.replace("weight", "bias")]


def test_deltas_are_added_to_codes_with_scales_too():
    base = [(K + ".weight", "F8_E4M3", (8, 16)), (K + ".weight_scale", "F32", ())]
    assert list(read(*linear(K, 8, 16), base=base).deltas) == [K + ".weight"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "LOHA"}, "'LOHA'"),
        ({"peft_type": "PREFIX_TUNING"}, "'PREFIX_TUNING'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, "target_parameters"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"trainable_token_indices": {"embed_tokens": [1]}}, "trainable_token_indices"),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA"),
        ({"megatron_config": {"tensor_parallel": 2}}, "megatron_config"),
        ({"arrow_config": {"top_k": 3}}, "Arrow"),
        ({"kasa_config": {"beta": 1e-4}}, "KaSA"),
        ({"velora_config": {"num_groups": 2}}, "VeLoRA"),
        ({"monteclora_config": {"num_samples": 2}}, "MonteCLoRA"),
        ({"use_qalora": True}, "'use_qalora'"),
        ({"use_bdlora": {"nblocks": 2}}, "'use_bdlora'"),
        ({"use_a_variant_to_come": True}, "'use_a_variant_to_come'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights 'pissa_niter_16'"),
        ({"init_lora_weights": "OLoRA"}, "init_lora_weights 'OLoRA'"),
        ({"init_lora_weights": "corda"}, "init_lora_weights 'corda'"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights 'lora_ga'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights 'loftq'"),
        ({"init_lora_weights": ["pissa"]}, "init_lora_weights"),
        ({"alpha_pattern": {"(?=q)": 1}}, r"alpha_pattern that cannot be matched here: pattern '\(\?=q\)'"),
        ({"rank_pattern": {"(": 1}}, "rank_pattern that cannot be matched"),
    ],
)
def test_adapters_of_another_kind_are_refused_by_name_with_the_way_out(config, words):
    with pytest.raises(AdapterUnsupported, match=words) as caught:
        read(*linear(K, 8, 16), **config)
    assert "merge it with peft first" in caught.value.message
    assert caught.value.details["file"] == ADAPTER_CONFIG


@pytest.mark.parametrize(
    "config",
    [
        *(
            {"init_lora_weights": begun}
            for begun in (True, False, None, "gaussian", "eva", "orthogonal", "mica", "EVA")
        ),
        {"loftq_config": {}, "target_parameters": None, "layer_replication": None, "lora_bias": False},
        {"use_qalora": False, "use_bdlora": None, "target_parameters": [], "qalora_group_size": 16},
        {"target_modules": "all-linear", "bias": "none", "task_type": "CAUSAL_LM", "a_key_to_come": {"x": 1}},
    ],
)
def test_what_leaves_the_factors_a_difference_to_the_base_is_read(config):
    assert list(read(*linear(K, 8, 16), **config).deltas) == [K + ".weight"]


A, B = linear(K, 8, 16)
UNSUPPORTED = {
    "conv": ([(A[0], "F32", (4, 16, 3, 3)), (B[0], "F32", (8, 4, 1, 1))], {}, "no matrix"),
    "dtype": ([(A[0], "F64", (4, 16)), B], {}, "of F64"),
    "fp8": ([A, (B[0], "F8_E4M3", (8, 4))], {}, "of F8_E4M3"),
    "dora of an embedding": (
        [
            (f"{OUTER}{EMBED}.lora_embedding_A", "F32", (4, 64)),
            (f"{OUTER}{EMBED}.lora_embedding_B", "F32", (16, 4)),
            (f"{OUTER}{EMBED}.lora_magnitude_vector", "F32", (16,)),
        ],
        {"use_dora": True},
        "DoRA of an embedding",
    ),
    "embedding that grew under its delta": (
        [
            (f"{OUTER}{EMBED}.lora_embedding_A", "F32", (4, 64)),
            (f"{OUTER}{EMBED}.lora_embedding_B", "F32", (16, 4)),
            (f"{OUTER}{EMBED}.base_layer.weight", "F32", (66, 16)),
        ],
        {},
        r"has shape \[66, 16\], beside a delta of the base's",
    ),
    "trained beside its own delta": (
        [A, B, (f"{OUTER}{K}.base_layer.weight", "F32", (8, 16))],
        {"modules_to_save": ["k_proj"]},
        "was trained as a whole too",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_tensors_of_another_kind_are_refused_by_name_with_the_way_out(case):
    tensors, config, words = UNSUPPORTED[case]
    with pytest.raises(AdapterUnsupported, match=words) as caught:
        read(*tensors, **config)
    assert "merge it with peft first" in caught.value.message
    assert caught.value.details["tensor"] in {name for name, _, _ in tensors}


MALFORMED = {
    "nothing": ([], {}, "holds no tensor"),
    "no up": ([A], {}, r"one of \['lora_A'\] of .*k_proj.* where \['lora_A', 'lora_B'\] are expected"),
    "no down": ([B], {}, r"one of \['lora_B'\]"),
    "of both sorts": ([A, B, (f"{OUTER}{K}.lora_embedding_A", "F32", (4, 16))], {}, "lora_embedding_A"),
    "magnitude unasked for": ([A, B, (f"{OUTER}{K}.lora_magnitude_vector", "F32", (8,))], {}, "lora_magnitude_vector"),
    "magnitude missing": ([A, B], {"use_dora": True}, "'lora_magnitude_vector'.* are expected"),
    "magnitude of another length": (
        [A, B, (f"{OUTER}{K}.lora_magnitude_vector", "F32", (16,))],
        {"use_dora": True},
        r"of shape \[16\], where the base tensor has 8 rows",
    ),
    "another rank": ([A, B], {"r": 8}, r"of shape \[4, 16\] .* \[8, 4\], where adapter_config.json gives .* rank 8"),
    "two ranks": ([A, (B[0], "F32", (8, 5))], {}, "the rank 4"),
    "another shape": (linear(K, 8, 32), {}, r"delta of shape \[8, 32\], where the base's .* of shape \[8, 16\]"),
    "a vector": (linear("model.norm", 16, 16), {}, r"BF16 of shape \[16\]"),
    "another model": (linear("model.layers.7.self_attn.k_proj", 8, 16), {}, f"no tensor .*{K}.*made for"),
    "no such layer": (linear("model.vision.patch", 8, 16), {}, "'model.vision.patch', but the base has no tensor"),
    "whole of no base tensor": ([(OUTER + "score.weight", "F32", (2, 16))], {}, "'score', but the base has no"),
    "unknown part": ([A, B, (f"{OUTER}{K}.lora_C.weight", "F32", (4, 4))], {}, "no part of a LoRA adapter"),
    "bias of a factor": ([A, B, (f"{OUTER}{K}.lora_B.bias", "F32", (8,))], {}, "no part of a LoRA adapter"),
    "other adapter": ([A, B, (f"{OUTER}{K}.lora_A.second.weight", "F32", (4, 16))], {}, "no part of a LoRA"),
    "tokens": ([(f"{OUTER}{EMBED}.token_adapter.trainable_tokens_delta", "F32", (1, 16))], {}, "no part of a LoRA"),
    "twice": ([A, B, (f"{OUTER}{K}.lora_A.default.weight", "F32", (4, 16))], {}, "the same part as"),
    "twice, once without the prefix": ([A, B, *linear(K, 8, 16, outer="")], {}, "the same part as"),
    "one base tensor by two names": ([A, B, *linear(K.removeprefix("model."), 8, 16)], {}, "a second delta of"),
    "whole twice": (
        [(f"{OUTER}{Q}.bias", "F32", (16,)), (f"{OUTER}{Q}.base_layer.bias", "F32", (16,))],
        {},
        "a second tensor that replaces",
    ),
    "integers": (linear("mask", 8, 16), {"base": [("mask.weight", "I64", (8, 16))]}, "I64 of shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_tensors_that_do_not_make_deltas_are_refused_by_name(case):
    tensors, config, words = MALFORMED[case]
    with pytest.raises(AdapterMalformed, match=words) as caught:
        read(*tensors, **config)
    assert caught.value.details["file"] == ADAPTER_FILE


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "JSON"),
        (b"[]", "no object"),
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        (b'{"peft_type": NaN}', "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"{}", "kind"),
        (b'{"peft_type": 1}', "kind"),
    ],
)
def test_configs_that_are_none_are_refused(raw, words):
    with pytest.raises(AdapterMalformed, match=words):
        read(*linear(K, 8, 16), raw=raw)


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(DuplicateKey):
        read(*linear(K, 8, 16), raw=b'{"peft_type": "LORA", "r": 4, "r": 8}')


WRONG = [None, True, "4", [], {}, 0, -1, 2**40, 1.5, 10**400]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("key", ["r", "pattern"])
def test_ranks_that_are_none_are_refused(wrong, key):
    config = {"r": wrong} if key == "r" else {"rank_pattern": {"other": wrong}}
    with pytest.raises(AdapterMalformed, match="a rank, a whole number"):
        read(*linear(K, 8, 16), **config)


@pytest.mark.parametrize("wrong", [None, True, "4", [], {}, 1e40, 10**400])
@pytest.mark.parametrize("key", ["lora_alpha", "pattern"])
def test_alphas_that_are_none_are_refused(wrong, key):
    config = {"lora_alpha": wrong} if key == "lora_alpha" else {"alpha_pattern": {"other": wrong}}
    with pytest.raises(AdapterMalformed, match="an alpha, a number"):
        read(*linear(K, 8, 16), **config)


def test_an_infinite_alpha_is_refused():
    with pytest.raises(AdapterMalformed, match="an alpha, a number"):
        read(*linear(K, 8, 16), raw=b'{"peft_type": "LORA", "r": 4, "lora_alpha": 1e999}')


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": 1}, "'use_dora'"),
        ({"use_rslora": "true"}, "'use_rslora'"),
        ({"fan_in_fan_out": []}, "'fan_in_fan_out'"),
        ({"rank_pattern": [1]}, "'rank_pattern'"),
        ({"alpha_pattern": "x"}, "'alpha_pattern'"),
        ({"modules_to_save": "lm_head"}, "'modules_to_save'"),
        ({"modules_to_save": [1]}, "'modules_to_save'"),
        ({"modules_to_save": ["x"] * 2000}, "at most 1024 names"),
    ],
)
def test_values_of_another_type_are_refused_by_their_key(config, words):
    with pytest.raises(AdapterMalformed, match=words):
        read(*linear(K, 8, 16), **config)


def test_a_pattern_that_stops_a_backtracking_matcher_does_not_stop_this_one():
    patterns = {"(.*a){25}": 1, "(x+x+)+y": 2}
    module = "model." + "ax" * 200
    with contextlib.suppress(AdapterUnsupported):
        read(*linear(module, 8, 16), base=[(module + ".weight", "F32", (8, 16))], alpha_pattern=patterns)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_dora", "use_rslora", "fan_in_fan_out", "bias"]
KEYS += ["init_lora_weights", "modules_to_save", "lora_bias", "target_parameters", "use_x", "megatron_config"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_config_raises_anything_but_our_own_errors(config):
    with contextlib.suppress(CrossfadeError):
        read(*linear(K, 8, 16), **config)


UNITS = [
    linear(Q, 16, 16),
    linear(K, 8, 16, dtype="BF16"),
    linear(UP, 32, 16, outer=""),
    linear(HEAD, 64, 16),
    (
        (f"{OUTER}{EMBED}.lora_embedding_A", "F32", (4, 64)),
        (f"{OUTER}{EMBED}.lora_embedding_B", "F16", (16, 4)),
        (f"{OUTER}{EMBED}.base_layer.weight", "F32", (64, 16)),
    ),
    ((f"{OUTER}{Q}.base_layer.bias", "BF16", (16,)),),
    ((f"{OUTER}model.norm.weight", "F32", (16,)), (f"{OUTER}model.norm.original_module.weight", "F32", (16,))),
]


@given(st.lists(st.sampled_from(UNITS), min_size=1, unique=True), st.integers(0, 20), st.randoms())
def test_every_tensor_of_an_adapter_is_accounted_for_once(units, dropped, random):
    tensors = [tensor for unit in units for tensor in unit]
    random.shuffle(tensors)
    adapter = read(*tensors)
    assert len(adapter.replaced) + len(adapter.absorbed) == len(tensors)
    assert not set(adapter.replaced) & set(adapter.deltas)
    absorbed = [stored.bytes for stored, _ in adapter.absorbed.values()]
    assert all(delta.down in absorbed and delta.up in absorbed for delta in adapter.deltas.values())
    fewer = [tensor for place, tensor in enumerate(tensors) if place != dropped % len(tensors)]
    with contextlib.suppress(AdapterMalformed):
        adapter = read(*fewer)
        assert len(adapter.replaced) + len(adapter.absorbed) == len(fewer)
