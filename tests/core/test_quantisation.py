"""Codes become values with their own scales, or the checkpoint is refused by its format's name."""

import contextlib
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.errors import ConfigMalformed, CrossfadeError, QuantisationUnsupported
from crossfade_core.plan import ByteRange, Scales, StoredTensor
from crossfade_core.quantisation import read_values
from tests.fakes.layouts import HEADER_BYTES, make_layout

PROJ = "model.layers.0.mlp.down_proj.weight"
EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"
BLOCKS_128 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}


def values_of(*tensors, config=None):
    return read_values(make_layout({"model.safetensors": tensors}), config)


def scales_of(codes, scales, config=None, name=PROJ, end="_scale_inv", dtype="F32"):
    """Read one tensor of codes with one of scales; return the joined Scales."""
    values = values_of((name, "F8_E4M3", codes), (name + end, dtype, scales), config=config)
    assert list(values.tensors) == [name]
    assert values.tensors[name].shape == codes
    found = values.tensors[name].bytes.scales
    assert math.prod(found.shape) == math.prod(scales)
    return found


def test_plain_tensors_stay_as_they_are():
    values = values_of(("w", "BF16", (2, 3)), ("ids", "I64", (1, 4)))
    assert values.tensors == {
        "w": StoredTensor("w", (2, 3), ByteRange("model.safetensors", "BF16", HEADER_BYTES, HEADER_BYTES + 12)),
        "ids": StoredTensor("ids", (1, 4), ByteRange("model.safetensors", "I64", HEADER_BYTES + 12, HEADER_BYTES + 44)),
    }
    assert (dict(values.absorbed), values.is_dequantised, values.notes) == ({}, False, ())


def test_codes_point_at_their_own_bytes_and_at_those_of_their_scales_in_another_file():
    layout = make_layout(
        {"a.safetensors": [(PROJ, "F8_E4M3", (256, 300))], "b.safetensors": [(PROJ + "_scale_inv", "F32", (2, 3))]}
    )
    values = read_values(layout, BLOCKS_128)
    assert values.tensors == {
        PROJ: StoredTensor(
            PROJ,
            (256, 300),
            ByteRange(
                "a.safetensors",
                "F8_E4M3",
                HEADER_BYTES,
                HEADER_BYTES + 256 * 300,
                Scales("b.safetensors", "F32", HEADER_BYTES, HEADER_BYTES + 24, (2, 3), (128, 128)),
            ),
        )
    }
    assert values.is_dequantised
    assert values.tensors[PROJ].bytes.value_dtype == "BF16"


def test_scales_are_absorbed_with_their_own_bytes_and_the_tensor_they_went_into():
    values = values_of((PROJ, "F8_E4M3", (128, 128)), (PROJ + "_scale_inv", "F32", (1, 1)))
    stored, reason = values.absorbed[PROJ + "_scale_inv"]
    assert stored.bytes == ByteRange("model.safetensors", "F32", HEADER_BYTES + 128 * 128, HEADER_BYTES + 128 * 128 + 4)
    assert reason == f"scale of {PROJ}, multiplied into it"
    assert PROJ + "_scale_inv" not in values.tensors


@pytest.mark.parametrize(
    ("name", "scales"),
    [
        ("lm_head.weight", "lm_head.weight_scale_inv"),  # DeepSeek-V3, Qwen3, MiniMax
        ("lm_head.weight", "lm_head.weight_scale"),  # compressed-tensors, AutoFP8, FBGEMM, ModelOpt, Quark
        ("layers.0.attn.wq_a.weight", "layers.0.attn.wq_a.scale"),  # DeepSeek-V4
        ("mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj_scale_inv"),  # transformers 5
        ("mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj_scale"),  # FBGEMM's Llama 4
        ("mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj_weight_scale"),  # ModelOpt's Llama 4
        ("mlp.experts.w13_weight", "mlp.experts.w13_weight_scale"),
    ],
)
@pytest.mark.parametrize("codes", ["F8_E4M3", "F8_E5M2"])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_every_name_in_use_for_scales_is_found(name, scales, codes, dtype):
    values = values_of((scales, dtype, ()), (name, codes, (4, 4)))
    assert list(values.tensors) == [name]
    assert values.tensors[name].bytes.scales.dtype == dtype
    assert values.absorbed[scales][1].startswith(f"scale of {name},")


@pytest.mark.parametrize(
    ("codes", "scales", "shape", "block"),
    [
        ((64, 96), (), (1, 1), (64, 96)),
        ((64, 96), (1,), (1, 1), (64, 96)),
        ((64, 96), (1, 1), (1, 1), (64, 96)),
        ((64, 96), (64,), (64, 1), (1, 96)),
        ((64, 96), (64, 1), (64, 1), (1, 96)),
        ((64, 96), (1, 96), (1, 96), (64, 1)),
        ((300, 200), (3, 2), (3, 2), (128, 128)),
        ((100, 200), (1, 2), (1, 2), (100, 128)),
        ((256, 256), (2, 1, 2, 1), (2, 2), (128, 128)),  # ModelOpt FP8_PB_WO
        ((96,), (), (1, 1), (1, 96)),
        ((96,), (1,), (1, 1), (1, 96)),
        ((300,), (3,), (1, 3), (1, 128)),
        ((), (), (1, 1), (1, 1)),
        ((8, 256, 300), (8, 2, 3), (8, 2, 3), (128, 128)),
        ((8, 64, 96), (8, 1, 1), (8, 1, 1), (64, 96)),
        ((8, 64, 96), (8,), (8, 1, 1), (64, 96)),
        ((8, 64, 96), (8, 1), (8, 1, 1), (64, 96)),
        ((8, 64, 96), (8, 64, 1), (8, 64, 1), (1, 96)),
        ((8, 64, 96), (8, 1, 96), (8, 1, 96), (64, 1)),  # FBGEMM's gate_up_proj of Llama 4
        ((8, 64, 96), (8, 2, 1), (8, 2, 1), (32, 96)),  # transformers' fused gate and up, a scale each
        ((8, 64, 96), (), (1, 1, 1), (64, 96)),  # ModelOpt's Llama 4
        ((2, 3, 256, 128), (2, 3, 2, 1), (2, 3, 2, 1), (128, 128)),
        ((0, 64), (0, 1), (0, 1), (1, 64)),
        ((0, 64), (), (1, 1), (1, 64)),
    ],
)
def test_layouts_of_scales_are_told_from_the_shapes(codes, scales, shape, block):
    found = scales_of(codes, scales)
    assert (found.shape, found.block) == (shape, block)


@pytest.mark.parametrize(
    ("stated", "codes", "scales", "block"),
    [
        ([64, 32], (130, 70), (3, 3), (64, 32)),
        ([128, 128], (7168, 2048), (56, 16), (128, 128)),
        ([128, 128], (576, 7168), (5, 56), (128, 128)),  # DeepSeek-V3's kv_a_proj_with_mqa: rows not a multiple
        ([1, 32], (4, 64), (4, 2), (1, 32)),
        ([128, 128], (64, 96), (64, 1), (1, 96)),
        ([128, 128], (64, 96), (), (64, 96)),
    ],
)
@pytest.mark.parametrize("place", ["fp8", "compressed-tensors", "text", "compression_config", "nested text"])
def test_stated_blocks_count_where_they_fit(stated, codes, scales, block, place):
    group = {"config_groups": {"group_0": {"weights": {"block_structure": stated}, "targets": ["Linear"]}}}
    config = {
        "fp8": {"quantization_config": {"weight_block_size": stated}},
        "compressed-tensors": {"quantization_config": group},
        "text": {
            "quantization_config": {
                "config_groups": {"group_0": {"weights": {"block_structure": f"{stated[0]}x{stated[1]}"}}}
            }
        },
        "compression_config": {"compression_config": group},
        "nested text": {"text_config": {"quantization_config": {"weight_block_size": stated}}},
    }[place]
    assert scales_of(codes, scales, config).block == block


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.lists(st.integers(1, 3), max_size=2),
)
def test_stated_blocks_cover_every_element_with_the_scale_of_its_block(matrix, block, leading):
    counts = tuple(-(-size // step) for size, step in zip(matrix, block, strict=True))
    config = {"quantization_config": {"weight_block_size": list(block)}}
    found = scales_of((*leading, *matrix), (*leading, *counts), config)
    if found.shape == (1,) * (len(leading) + 2):
        assert math.prod(leading) * math.prod(counts) == 1
        return
    assert found.shape[:-2] == tuple(leading)
    for size, step, own in zip(matrix, block, found.block, strict=True):
        assert [place // own for place in range(size)] == [place // step for place in range(size)]


@pytest.mark.parametrize(
    ("codes", "scales", "config"),
    [
        ((256, 256), (3, 2), None),
        ((256, 256), (2,), None),
        ((256, 256), (2, 2, 1), None),
        ((256, 256), (2, 2), {"quantization_config": {"weight_block_size": [64, 64]}}),
        ((256, 256), (2, 2), {"quantization_config": {"weight_block_size": None}}),
        ((256, 256), (2, 1), {"quantization_config": {"weight_block_size": None}}),
        ((4, 64), (4, 2), None),
        ((8, 256, 256), (2, 2), None),
        ((8, 256, 256), (4, 2, 2), None),
        ((8, 65, 256), (8, 2, 1), {"quantization_config": {"weight_block_size": None}}),
        ((8, 16, 3, 3), (8, 1, 1, 1), None),
        ((64, 96), (0,), None),
    ],
)
def test_scales_of_a_shape_that_fits_nothing_are_refused_with_both_shapes(codes, scales, config):
    with pytest.raises(QuantisationUnsupported) as caught:
        scales_of(codes, scales, config)
    message = caught.value.message
    assert all(part in message for part in (PROJ, str(list(codes)), PROJ + "_scale_inv", str(list(scales))))
    assert "unquantised checkpoint" in message
    assert caught.value.details == {"file": "model.safetensors", "tensor": PROJ}


def test_two_stated_sizes_of_blocks_that_both_fit_but_differ_are_refused():
    groups = {str(size): {"weights": {"block_structure": [size, size]}} for size in (128, 100)}
    config = {"quantization_config": {"config_groups": groups}}
    with pytest.raises(QuantisationUnsupported, match=r"blocks of \(100, 100\) and of \(128, 128\) would both fit"):
        scales_of((200, 200), (2, 2), config)
    assert scales_of((90, 90), (1, 1), config).block == (90, 90)
    assert scales_of((300, 300), (3, 3), {"quantization_config": {"config_groups": {"a": groups["128"]}}}).block == (
        128,
        128,
    )


@pytest.mark.parametrize("dtype", ["F64", "U8", "I32", "F8_E4M3"])
def test_scales_of_another_dtype_are_refused_by_it(dtype):
    with pytest.raises(QuantisationUnsupported) as caught:
        scales_of((128, 128), (1, 1), dtype=dtype)
    assert f"of {dtype}" in caught.value.message
    assert PROJ in caught.value.message


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ([], r"found none \(such as '.*weight_scale_inv'\)"),
        ([("model.layers.0.mlp.up_proj.weight_scale", "F32", ())], "found none"),
        ([(PROJ + "_scale", "F32", ()), (PROJ + "_scale_inv", "F32", ())], "_scale_inv' and .*_scale'"),
        ([(PROJ + "_scale", "F32", ()), (PROJ + "_zero_point", "F8_E4M3", ())], "zero point"),
    ],
)
def test_codes_without_one_plain_set_of_scales_are_refused_by_the_tensor(others, found):
    others = [*others, (PROJ + "_zero_point_scale", "F32", ())]  # so that the zero point is not itself what is refused
    with pytest.raises(QuantisationUnsupported, match=found) as caught:
        values_of((PROJ, "F8_E4M3", (4, 4)), *others)
    assert caught.value.details["tensor"] == PROJ


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.mlp.down_proj.input_scale",
        "model.layers.0.mlp.down_proj.activation_scale",
        "model.layers.0.mlp.down_proj.act_scale",
        "model.layers.0.mlp.down_proj.input_scale_ub",
        "model.layers.0.mlp.experts.gate_up_proj_input_scale",
        "model.layers.0.mlp.experts.down_proj_activation_scale",
        "model.layers.0.self_attn.k_scale",
        "model.layers.0.self_attn.v_scale",
        "model.layers.0.self_attn.k_proj.k_scale",
        "model.layers.0.self_attn.kv_scale",
        "model.layers.0.self_attn.q_scale",
        "model.layers.0.self_attn.prob_output_scale",
        "model.layers.0.self_attn.k_proj.output_scale",
        "model.layers.0.mlp.down_proj.input_zero_point",
    ],
)
def test_scales_of_activations_are_absorbed_where_there_is_quantisation(name):
    tensors = ((PROJ, "F8_E4M3", (4, 4)), (PROJ + "_scale", "F32", ()), (name, "F32", (1,)))
    stored, reason = values_of(*tensors).absorbed[name]
    assert (stored.name, reason) == (name, "scale of activations, which unquantised weights do not use")
    kept = values_of(("w", "BF16", (2,)), (name, "F32", (1,)))
    assert name in kept.tensors
    assert not kept.is_dequantised


def test_scales_of_a_quantised_cache_are_absorbed_though_no_weight_is_quantised():
    config = {"quantization_config": {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}}
    values = values_of(("w", "BF16", (2,)), ("self_attn.k_scale", "F32", (1,)), config=config)
    assert list(values.tensors) == ["w"]
    assert values.is_dequantised


def test_a_scale_named_like_one_of_activations_is_that_of_its_codes_where_there_are_such():
    values = values_of(("self_attn.k", "F8_E4M3", (4, 4)), ("self_attn.k_scale", "F32", ()))
    assert values.absorbed["self_attn.k_scale"][1] == "scale of self_attn.k, multiplied into it"


def test_scales_that_the_model_itself_learned_stay():
    names = ("logit_scale", "layer_scale", "attn_hc.scale", "norm.scale", "hc_head_scale")
    values = values_of(
        (PROJ, "F8_E4M3", (4, 4)), (PROJ + "_scale", "F32", ()), *((name, "F32", (1,)) for name in names)
    )
    assert set(values.tensors) == {PROJ, *names}


FORMATS = {
    "GPTQ": [("q_proj.qweight", "I32", (8, 64)), ("q_proj.qzeros", "I32", (1, 8)), ("q_proj.g_idx", "I32", (64,))],
    "GPTQ or AWQ": [("q_proj.qweight", "I32", (64, 8)), ("q_proj.qzeros", "I32", (1, 8))],
    "bitsandbytes 4-bit": [
        ("q_proj.weight", "U8", (2048, 1)),
        ("q_proj.weight.absmax", "U8", (64,)),
        ("q_proj.weight.quant_map", "F32", (16,)),
        ("q_proj.weight.quant_state.bitsandbytes__nf4", "U8", (80,)),
    ],
    "bitsandbytes 8-bit": [("q_proj.SCB", "F32", (64,)), ("q_proj.weight", "I8", (64, 64))],
    "compressed-tensors pack-quantized": [
        ("q_proj.weight_packed", "I32", (64, 8)),
        ("q_proj.weight_shape", "I64", (2,)),
    ],
    "compressed-tensors int-quantized": [("q_proj.weight", "I8", (64, 64)), ("q_proj.weight_scale", "BF16", (64, 1))],
    "NVFP4 (compressed-tensors": [
        ("q_proj.weight_packed", "U8", (64, 32)),
        ("q_proj.weight_scale", "F8_E4M3", (64, 4)),
        ("q_proj.weight_global_scale", "F32", (1,)),
    ],
    "NVFP4 (ModelOpt)": [
        ("q_proj.weight_scale", "F8_E4M3", (64, 4)),
        ("q_proj.weight_scale_2", "F32", ()),
        ("q_proj.weight", "U8", (64, 32)),
    ],
    "MXFP4": [
        ("experts.gate_up_proj_blocks", "U8", (2, 64, 2, 16)),
        ("experts.gate_up_proj_scales", "U8", (2, 64, 2)),
    ],
    "HQQ": [("q_proj.W_q", "U8", (32, 64)), ("q_proj.scale", "F16", (64, 1))],
    "AQLM": [("q_proj.codes", "I16", (64, 8, 1)), ("q_proj.codebooks", "F16", (1, 65536, 1, 8))],
    "quanto": [("q_proj.weight._data", "I8", (64, 64)), ("q_proj.weight._scale", "BF16", (64, 1))],
    "torchao": [("q_proj._weight_qdata", "I8", (64, 64)), ("q_proj._weight_scale", "F32", (64, 1))],
    "EETQ": [("q_proj.weight_scales", "F16", (64,)), ("q_proj.weight", "I8", (64, 64))],
    "VPTQ": [("q_proj.indices", "I16", (64,)), ("q_proj.centroids.weight", "F16", (1, 256))],
    "SpQR": [("q_proj.dense_weights", "I64", (64,)), ("q_proj.row_offsets", "I32", (65,))],
    "QuIP#": [("q_proj.Qidxs", "I64", (64, 8))],
    "HIGGS": [("q_proj.tables2", "F16", (256, 1, 2)), ("q_proj.scales", "F16", (64,))],
    "EXL3": [("q_proj.trellis", "I16", (4, 4, 64)), ("q_proj.suh", "F16", (64,))],
    "EXL2": [("q_proj.q_weight", "I32", (8, 64)), ("q_proj.q_groups", "I16", (16,))],
    "MLX": [("q_proj.weight", "U32", (64, 8)), ("q_proj.scales", "BF16", (64, 1)), ("q_proj.biases", "BF16", (64, 1))],
    "packed 4-bit floats, as of DeepSeek's experts": [
        ("w1.weight", "I8", (64, 32)),
        ("w1.scale", "F8_E8M0", (64, 2)),
    ],
    "packed 4-bit floats (I8": [
        ("experts.down_proj", "I8", (2, 64, 32)),
        ("experts.down_proj_scale_inv", "F32", (2, 64, 2)),
    ],
    "packed integers (U8 codes) of no format known here": [("q_proj.weight", "U8", (64, 64))],
    "F4 codes": [("q_proj.weight", "F4", (64, 64))],
    "F6_E2M3 codes": [("q_proj.weight", "F6_E2M3", (64, 64))],
    "F8_E8M0 codes": [("q_proj.exponents", "F8_E8M0", (64,))],
    "F8_E4M3FNUZ codes": [("q_proj.weight", "F8_E4M3FNUZ", (64, 64)), ("q_proj.weight_scale", "F32", ())],
    "F8_E5M2FNUZ codes": [("q_proj.weight", "F8_E5M2FNUZ", (64, 64)), ("q_proj.weight_scale", "F32", ())],
}


@pytest.mark.parametrize("words", FORMATS)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_other_formats_are_refused_by_name_in_any_order_of_tensors(words, is_reversed):
    tensors = [("embed_tokens.weight", "BF16", (8, 4)), *FORMATS[words]]
    with pytest.raises(QuantisationUnsupported) as caught:
        values_of(*(reversed(tensors) if is_reversed else tensors))
    assert words in caught.value.message
    assert "unquantised checkpoint" in caught.value.message
    assert caught.value.details["tensor"] in {name for name, _, _ in FORMATS[words]}


def test_refusal_says_what_the_config_calls_the_format():
    config = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    with pytest.raises(QuantisationUnsupported, match=r"GPTQ or AWQ \(config.json says 'awq'\)"):
        values_of(*FORMATS["GPTQ or AWQ"], config=config)


@pytest.mark.parametrize(
    "plain",
    [
        [("quantizer.codebooks", "F32", (8, 16))],
        [("tokenizer.codes", "I64", (8,))],
        [("attn.bias", "U8", (1, 1, 8, 8)), ("attn.masked_bias", "F32", ())],
        [("embeddings.position_ids", "I64", (1, 8))],
        [("vision.transformer_blocks", "F32", (2,))],
        [("bank.indices", "I32", (8,))],
        [("relative.num_batches_tracked", "I64", ())],
    ],
)
def test_names_that_only_resemble_a_format_are_plain_tensors(plain):
    assert list(values_of(*plain).tensors) == [name for name, _, _ in plain]


@pytest.mark.parametrize("method", ["gptq", "bitsandbytes", "fp8", "x" * 10_000])
def test_quantisation_that_only_the_config_knows_of_is_noted_not_refused(method):
    values = values_of(("w", "BF16", (2, 2)), config={"quantization_config": {"quant_method": method}})
    assert list(values.tensors) == ["w"]
    assert not values.is_dequantised
    (note,) = values.notes
    assert method[:50] in note
    assert len(note) < 400


@pytest.mark.parametrize(
    "size",
    ["128", [], [128], [128, 128, 128], [0, 128], [-1, 128], [True, 128], [1.0, 128], {}, 128, [2**40, 1], "ax1"],
)
@pytest.mark.parametrize("place", ["fp8", "groups"])
def test_block_sizes_that_are_none_are_refused_where_codes_need_them(size, place):
    section = {"weight_block_size": size}
    if place == "groups":
        section = {"config_groups": {"g": {"weights": {"block_structure": size}}}}
    with pytest.raises(ConfigMalformed, match=r"config\.json: states blocks of"):
        scales_of((128, 128), (1, 1), {"quantization_config": section})
    assert list(values_of(("w", "BF16", (2,)), config={"quantization_config": section}).tensors) == ["w"]


def test_too_many_sizes_of_blocks_are_refused():
    groups = {str(size): {"weights": {"block_structure": [size, 1]}} for size in range(1, 1000)}
    with pytest.raises(ConfigMalformed, match="at most 16"):
        scales_of((128, 128), (1, 1), {"quantization_config": {"config_groups": groups}})


@pytest.mark.parametrize("wrong", [None, 1, "fp8", [], [1], True, 1.5, {}])
@pytest.mark.parametrize("place", range(6))
def test_what_is_of_a_wrong_type_in_the_config_counts_as_not_said(wrong, place):
    config = [
        {"quantization_config": wrong},
        {"text_config": wrong},
        {"quantization_config": {"quant_method": wrong}} if wrong != "fp8" else {},
        {"quantization_config": {"config_groups": wrong}},
        {"quantization_config": {"config_groups": {"g": wrong}}},
        {"quantization_config": {"config_groups": {"g": {"weights": wrong}}}},
    ][place]
    assert scales_of((200, 200), (2, 2), config).block == (128, 128)


KEYS = [
    "quantization_config",
    "compression_config",
    "text_config",
    "quant_method",
    "weight_block_size",
    "config_groups",
    "group_0",
    "weights",
    "block_structure",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.none() | st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_config_raises_anything_but_our_own_errors(config):
    with contextlib.suppress(CrossfadeError):
        values_of((PROJ, "F8_E4M3", (200, 200)), (PROJ + "_scale_inv", "F32", (2, 2)), config=config)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.weight", "a.weight_scale", "a.weight_scale_inv", "a.scale", "a.input_scale"])
            | st.sampled_from(["e", "e_scale", "e_scale_inv", "e_weight_scale", "a.qweight", "a.k_scale"]),
            st.sampled_from(sorted(DTYPE_BITS)),
            st.lists(st.sampled_from([0, 1, 2, 3, 128, 200]), max_size=4).map(tuple),
        ),
        unique_by=lambda tensor: tensor[0],
    )
)
def test_every_tensor_is_a_value_or_absorbed_with_a_reason(tensors):
    tensors = [(name, "F32" if DTYPE_BITS[dtype] < 8 else dtype, shape) for name, dtype, shape in tensors]
    try:
        values = values_of(*tensors, config=BLOCKS_128)
    except CrossfadeError:
        return
    assert {*values.tensors, *values.absorbed} == {name for name, _, _ in tensors}
    assert not {*values.tensors} & {*values.absorbed}
    for name, (stored, reason) in values.absorbed.items():
        assert stored.name == name
        assert "scale of" in reason
    for tensor in values.tensors.values():
        assert (tensor.bytes.scales is not None) == (tensor.bytes.dtype in ("F8_E4M3", "F8_E5M2"))


def test_a_checkpoint_of_many_tensors_is_read_in_time_linear_in_them():
    names = [f"model.layers.{layer}.mlp.experts.{expert}.w1.weight" for layer in range(40) for expert in range(250)]
    layout = make_layout(
        {
            "m.safetensors": [
                (name + end, *kind)
                for name in names
                for end, kind in (("", ("F8_E4M3", (2, 2))), ("_scale", ("F32", ())))
            ]
        }
    )
    start = time.thread_time()
    assert len(read_values(layout, None).tensors) == len(names)
    assert time.thread_time() - start < 5
