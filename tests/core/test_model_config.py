"""A config is copied byte for byte where it is true of the output, and changed only where it would not be."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    SiglipVisionConfig,
)

from crossfade_core.errors import ConfigMalformed, DuplicateKey
from crossfade_core.model_config import apply_changes, config_changes, is_tied, read_config

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def saved(config, folder):
    config.save_pretrained(folder)
    return (folder / "config.json").read_bytes()


def reloaded(raw, folder):
    (folder / "config.json").write_bytes(raw)
    return AutoConfig.from_pretrained(folder)


def changes(config, *, dtype=None, is_tied=None, vocabulary_rows=None, is_dequantised=False):
    return config_changes(
        config, dtype=dtype, is_tied=is_tied, vocabulary_rows=vocabulary_rows, is_dequantised=is_dequantised
    )


def changed(raw, **facts):
    return apply_changes(raw, changes(read_config(raw), **facts))


def llama():
    return LlamaConfig(**SMALL, vocab_size=100, dtype="bfloat16", tie_word_embeddings=False)


def gemma2():
    return Gemma2Config(**SMALL, vocab_size=100, dtype="float32")


def gemma3():
    text = Gemma3TextConfig(**SMALL, vocab_size=100, dtype="bfloat16")
    vision = SiglipVisionConfig(**SMALL, image_size=28, patch_size=14, dtype="float32")
    return Gemma3Config(text_config=text, vision_config=vision, dtype="bfloat16")


@pytest.mark.parametrize("make", [llama, gemma2, gemma3])
def test_config_that_states_the_facts_is_copied_byte_for_byte(make, tmp_path):
    config = make()
    raw = saved(config, tmp_path)
    dtype = str(config.dtype).removeprefix("torch.")
    facts = {"dtype": dtype, "is_tied": is_tied(read_config(raw)), "vocabulary_rows": 100, "is_dequantised": True}
    assert changes(read_config(raw), **facts) == {}
    assert changed(raw, **facts) is raw


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("make", [llama, gemma2])
def test_changed_config_is_loaded_with_the_outputs_facts(make, tied, dtype, tmp_path):
    config = make()
    raw = changed(saved(config, tmp_path), dtype=dtype, is_tied=tied, vocabulary_rows=104)
    found = reloaded(raw, tmp_path)
    assert (found.dtype, found.tie_word_embeddings, found.vocab_size) == (getattr(torch, dtype), tied, 104)
    found.dtype, found.tie_word_embeddings, found.vocab_size = config.dtype, config.tie_word_embeddings, 100
    ours, theirs = (loaded.to_dict() for loaded in (found, config))
    assert ours | {"architectures": None, "_name_or_path": ""} == theirs | {"architectures": None, "_name_or_path": ""}


@pytest.mark.parametrize("tied", [True, False])
def test_changed_multimodal_config_is_loaded_with_the_outputs_facts(tied, tmp_path):
    raw = changed(saved(gemma3(), tmp_path), dtype="float16", is_tied=tied, vocabulary_rows=104)
    found = reloaded(raw, tmp_path)
    assert (found.dtype, found.text_config.dtype, found.vision_config.dtype) == (torch.float16,) * 3
    assert found.tie_word_embeddings is tied
    assert found.get_text_config().tie_word_embeddings is tied
    assert found.text_config.vocab_size == 104


@pytest.mark.parametrize("tied", [True, False])
def test_head_of_a_config_that_ties_it_in_its_text_section_only_is_restated(tied, tmp_path):
    text = LlamaConfig(**SMALL, vocab_size=100, tie_word_embeddings=True)
    config = json.loads(saved(LlavaConfig(text_config=text), tmp_path))
    del config["tie_word_embeddings"]
    config["text_config"]["tie_word_embeddings"] = True
    raw = json.dumps(config).encode()
    assert is_tied(config) is True
    found = reloaded(changed(raw, is_tied=tied), tmp_path)
    assert (found.tie_word_embeddings, found.text_config.tie_word_embeddings) == (tied, tied)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"tie_word_embeddings": None}, None),
        ({"vision_config": {"tie_word_embeddings": True}}, None),
        ({"tie_word_embeddings": True}, True),
        ({"tie_word_embeddings": False}, False),
        ({"text_config": {"tie_word_embeddings": False}}, False),
        ({"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": True}}, True),
        ({"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": False}}, True),
        ({"thinker_config": {"text_config": {"tie_word_embeddings": True}}}, True),
        ({"text_config": None}, None),
        ({"text_config": [True]}, None),
    ],
)
def test_head_is_tied_where_any_place_says_so(config, expected):
    assert is_tied(config) is expected


@pytest.mark.parametrize("value", ["true", 1, 0, [], {}, 1.0])
def test_tie_that_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(ConfigMalformed, match="tie_word_embeddings"):
        is_tied({"text_config": {"tie_word_embeddings": value}})


@pytest.mark.parametrize(
    ("config", "dtype", "expected"),
    [
        ({}, "float32", {}),
        ({}, "bfloat16", {"/torch_dtype": "bfloat16"}),
        ({"torch_dtype": None, "dtype": None}, "float32", {}),
        ({"torch_dtype": None}, "float16", {"/torch_dtype": "float16"}),
        ({"torch_dtype": "bfloat16"}, "bfloat16", {}),
        ({"torch_dtype": "bfloat16"}, "float32", {"/torch_dtype": "float32"}),
        ({"dtype": "bfloat16"}, "float16", {"/dtype": "float16"}),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "float16", {"/dtype": "float16"}),
        ({"torch_dtype": "torch.bfloat16"}, "bfloat16", {"/torch_dtype": "bfloat16"}),
        ({"torch_dtype": ["float32"]}, "bfloat16", {"/torch_dtype": "bfloat16"}),
        ({"dtype": "float32", "vision_config": {"dtype": "bfloat16"}}, "float32", {}),
        (
            {"dtype": "float32", "vision_config": {"dtype": "float32"}, "encoder": {"torch_dtype": "float32"}},
            "float16",
            {"/dtype": "float16", "/vision_config/dtype": "float16", "/encoder/torch_dtype": "float16"},
        ),
        ({"text_config": {"torch_dtype": "float16"}}, "float16", {}),
        (
            {"text_config": {"torch_dtype": "float16"}},
            "bfloat16",
            {"/text_config/torch_dtype": "bfloat16", "/torch_dtype": "bfloat16"},
        ),
        ({"text_config": {"torch_dtype": "float16"}}, "float32", {"/text_config/torch_dtype": "float32"}),
        ({"vision_config": {"dtype": None}, "dtype": "float32"}, "float16", {"/dtype": "float16"}),
        (
            {"dtype": "float32", "vocabulary_map": {"dtype": 17}, "rope": {"dtype": "x"}},
            "float16",
            {"/dtype": "float16"},
        ),
        ({"dtype": "float32", "quantization_config": {"dtype": "int8"}}, "float16", {"/dtype": "float16"}),
    ],
)
def test_dtype_is_restated_where_it_is_stated_wrongly(config, dtype, expected):
    assert changes(config, dtype=dtype) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"tie_word_embeddings": False}, {}),
        ({"text_config": {"tie_word_embeddings": False}}, {}),
        ({"tie_word_embeddings": True}, {"/tie_word_embeddings": False}),
        ({}, {"/tie_word_embeddings": False}),
        ({"tie_word_embeddings": None}, {"/tie_word_embeddings": False}),
        ({"text_config": {}}, {"/tie_word_embeddings": False, "/text_config/tie_word_embeddings": False}),
        (
            {"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": True}},
            {"/text_config/tie_word_embeddings": False},
        ),
        (
            {"tie_word_embeddings": True, "text_config": {}, "vision_config": {"tie_word_embeddings": True}},
            {"/tie_word_embeddings": False, "/text_config/tie_word_embeddings": False},
        ),
    ],
)
def test_head_of_its_own_is_stated_wherever_a_reader_may_look(config, expected):
    assert changes(config, is_tied=False) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"vocab_size": 104}, {}),
        ({"vocab_size": 100}, {"/vocab_size": 104}),
        ({"text_config": {"vocab_size": 100}}, {"/text_config/vocab_size": 104}),
        ({"vocab_size": 104, "text_config": {"vocab_size": 100}}, {"/text_config/vocab_size": 104}),
        ({"vocab_size": 104, "vision_config": {"vocab_size": 8192}, "talker_config": {"vocab_size": 10}}, {}),
    ],
)
def test_vocabulary_size_is_restated_where_it_is_stated_wrongly(config, expected):
    assert changes(config, vocabulary_rows=104) == expected


def test_quantisation_is_removed_everywhere_once_the_tensors_are_plain():
    config = {"quantization_config": FP8, "compression_config": {}, "vision_config": {"quantization_config": FP8}}
    expected = dict.fromkeys(("/quantization_config", "/compression_config", "/vision_config/quantization_config"))
    assert changes(config, is_dequantised=True) == expected
    assert changes(config) == {}
    assert read_config(changed(json.dumps(config).encode(), is_dequantised=True)) == {"vision_config": {}}


def test_changed_config_keeps_its_order_and_its_letters():
    raw = '{"b": 1, "dtype": "float32", "name": "模型 é", "a": [1, {"z": 1e-05}], "vocab_size": 3}'.encode()
    expected = """{
  "b": 1,
  "dtype": "bfloat16",
  "name": "模型 é",
  "a": [
    1,
    {
      "z": 1e-05
    }
  ],
  "vocab_size": 3,
  "tie_word_embeddings": false
}
"""
    assert changed(raw, dtype="bfloat16", is_tied=False).decode() == expected


def test_constants_that_python_writes_are_read_and_written_again():
    raw = b'{"time_step_limit": [0.0, Infinity, -Infinity, NaN], "vocab_size": 3}'
    *limits, nan = read_config(changed(raw, vocabulary_rows=4))["time_step_limit"]
    assert limits == [0.0, math.inf, -math.inf]
    assert math.isnan(nan)


def test_lone_surrogates_are_written_as_they_were_read():
    raw = rb'{"a\ud800": "\udfff\\ud800 \ud83d\ude42", "vocab_size": 3}'
    assert read_config(changed(raw, vocabulary_rows=3, is_tied=False)) == {
        **read_config(raw),
        "tie_word_embeddings": False,
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"NaN",
        b'"config"',
        b"\xff",
        b"{",
        b'{"a": 1} x',
        b"\xef\xbb\xbf{}",
        b'{"a": %b}' % (b"9" * 10_000),
        b'{"a":' * 100_000,
        b'{"a": ' * 100 + b"1" + b"}" * 100,
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_malformed_config_is_refused(raw):
    with pytest.raises(ConfigMalformed, match=r"config\.json") as caught:
        read_config(raw)
    with pytest.raises(ConfigMalformed):
        apply_changes(raw, {"/vocab_size": 1})
    assert caught.value.details == {"file": "config.json"}


@pytest.mark.parametrize(
    "raw", [b'{"a": 1, "a": 1}', b'{"text_config": {"b": 0, "a": 1, "a": 2}}', b'{"a": 1, "\\u0061": 2}']
)
def test_key_that_stands_twice_is_refused(raw):
    with pytest.raises(DuplicateKey, match="'a' stands twice"):
        read_config(raw)


@pytest.mark.parametrize("pointer", ["/text_config/vocab_size", "/text_config/a/b", "/vocab_size/a", "/list/0"])
def test_change_to_an_object_that_is_not_there_is_refused(pointer):
    with pytest.raises(ConfigMalformed, match="planned with"):
        apply_changes(b'{"vocab_size": 3, "list": [0]}', {pointer: 1})


def test_removing_what_is_not_there_removes_nothing():
    assert read_config(apply_changes(b'{"a": 1}', {"/quantization_config": None})) == {"a": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=5,
)
STATED = {
    "dtype": st.sampled_from([None, "float32", "bfloat16", 7]),
    "torch_dtype": st.sampled_from([None, "float32", "bfloat16"]),
    "tie_word_embeddings": st.none() | st.booleans(),
    "vocab_size": st.sampled_from([None, 100, 104, "104"]),
    "quantization_config": st.none() | st.just(FP8),
    "compression_config": st.none() | st.just({}),
}
ODD = st.text("/~01a", max_size=4)
PART = st.fixed_dictionaries({}, optional=STATED)
CONFIGS = st.builds(
    lambda whole, inner, odd, others: {
        **others,
        **whole,
        **inner,
        **{key + "_config": part for key, part in odd.items()},
    },
    PART,
    st.fixed_dictionaries({}, optional=dict.fromkeys(("text_config", "vision_config", "encoder"), PART)),
    st.dictionaries(ODD, PART, max_size=2),
    st.dictionaries(ODD, JSON, max_size=2),
)
FACTS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([None, "float32", "float16", "bfloat16"]),
        "is_tied": st.none() | st.booleans(),
        "vocabulary_rows": st.none() | st.just(104),
        "is_dequantised": st.booleans(),
    }
)


def leaves(value, path=()):
    if isinstance(value, dict):
        return {leaf: found for key, inner in value.items() for leaf, found in leaves(inner, (*path, key)).items()}
    return {path: repr(value)}


@given(CONFIGS, FACTS)
def test_changed_config_needs_no_change_and_nothing_else_moved(config, facts):
    raw = json.dumps(config).encode()
    wanted = config_changes(read_config(raw), **facts)
    made = read_config(apply_changes(raw, wanted))
    assert config_changes(made, **facts) == {}
    if facts["is_tied"] is not None:
        assert is_tied(made) is facts["is_tied"]
    assert not (facts["is_dequantised"] and made.get("quantization_config"))
    told = {"dtype", "torch_dtype", "tie_word_embeddings", "vocab_size"}
    moved = {path for path, _ in leaves(config).items() ^ leaves(made).items()}
    assert all(path[-1] in told or "quantization_config" in path or "compression_config" in path for path in moved)


@given(st.dictionaries(ODD, st.dictionaries(ODD, JSON, max_size=3), max_size=3), st.data())
def test_pointers_lead_to_keys_of_any_letters(config, data):
    path = data.draw(st.tuples(st.sampled_from(sorted(config)), ODD)) if config else data.draw(st.tuples(ODD))
    pointer = "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)
    value = data.draw(JSON)
    made = read_config(apply_changes(json.dumps(config).encode(), {pointer: value}))
    expected = json.loads(json.dumps(config))
    inner = expected[path[0]] if len(path) == 2 else expected
    if value is None:
        inner.pop(path[-1], None)
    else:
        inner[path[-1]] = value
    assert made == expected
    assert list(made) == list(expected)


@given(st.binary() | JSON.map(json.dumps).map(str.encode) | CONFIGS.map(json.dumps).map(str.encode), FACTS)
def test_any_bytes_are_a_config_or_refused(raw, facts):
    try:
        config = read_config(raw)
        apply_changes(raw, config_changes(config, **facts))
        is_tied(config)
    except (ConfigMalformed, DuplicateKey) as error:
        json.dumps(error.as_record(), ensure_ascii=False).encode()
