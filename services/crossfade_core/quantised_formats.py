"""Name the quantised format a tensor belongs to, where it is one that is not read here.

Decided from a tensor's name, its dtype and what stands beside it; never from config.json, which may be left over from
another export. Scaled fp8 is not named: `crossfade_core.quantisation` reads it.

Source: the names under which transformers 5.23 (quantizers/*.py `serialized_names`, integrations/*.py),
compressed-tensors, vLLM (quantization/modelopt.py), exllama and bitsandbytes store their tensors.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Final

from crossfade_core.plan import StoredTensor

FP8: Final = frozenset({"F8_E4M3", "F8_E5M2"})
"""dtypes of codes that scales turn into numbers here."""

_INTEGERS: Final = frozenset({"U8", "I8", "I16", "U16", "I32", "U32"})

_MARKS: Final[tuple[tuple[str, str | None, str], ...]] = (
    (".g_idx", ".qweight", "GPTQ"),
    (".qweight", ".g_idx", "GPTQ"),
    (".qweight", None, "GPTQ or AWQ"),
    (".qzeros", None, "GPTQ or AWQ"),
    (".weight.absmax", None, "bitsandbytes 4-bit"),
    (".weight.quant_map", None, "bitsandbytes 4-bit"),
    ("bitsandbytes__nf4", None, "bitsandbytes 4-bit"),
    ("bitsandbytes__fp4", None, "bitsandbytes 4-bit"),
    (".SCB", None, "bitsandbytes 8-bit"),
    (".weight_format", None, "bitsandbytes 8-bit"),
    (".weight_packed", ".weight_global_scale", "NVFP4 (compressed-tensors nvfp4-pack-quantized)"),
    (".weight_global_scale", None, "NVFP4 (compressed-tensors nvfp4-pack-quantized)"),
    (".weight_packed", None, "compressed-tensors pack-quantized"),
    ("weight_scale_2", None, "NVFP4 (ModelOpt)"),
    ("_blocks", "_scales", "MXFP4"),
    (".W_q", None, "HQQ"),
    (".codes", ".codebooks", "AQLM"),
    (".weight._data", None, "quanto"),
    ("_weight_qdata", None, "torchao"),
    (".weight_scales", ".weight", "EETQ"),
    (".indices", ".centroids.weight", "VPTQ"),
    (".dense_weights", ".row_offsets", "SpQR"),
    (".Qidxs", None, "QuIP#"),
    (".tables2", ".scales", "HIGGS"),
    (".trellis", ".suh", "EXL3"),
    (".q_weight", ".q_groups", "EXL2"),
    (".qbiases", ".scales", "MLX"),
)
"""Names that one format uses: how the name ends, what must stand beside it (that end replaced), the format."""
_MARK_ENDS: Final = tuple(end for end, _, _ in _MARKS)

_INTEGER_COMPANIONS: Final = (
    ("_scale", "compressed-tensors int-quantized or a like one"),
    ("_scale_inv", "packed 4-bit floats"),
)
_INTEGER_SIBLINGS: Final = ((".scale", "packed 4-bit floats, as of DeepSeek's experts"), (".scales", "MLX"))


def find_foreign(stored: Mapping[str, StoredTensor]) -> tuple[StoredTensor, str] | None:
    """Return a tensor that belongs to a quantised format not read here, with the words for it; None if none does.

    Args:
        stored: Every tensor of a checkpoint, by name.
    """
    named = ((tensor, _marked(name, stored)) for name, tensor in stored.items() if name.endswith(_MARK_ENDS))
    typed = ((tensor, _typed(tensor, stored)) for tensor in stored.values())
    return next(((tensor, words) for tensor, words in chain(named, typed) if words is not None), None)


def _marked(name: str, stored: Mapping[str, StoredTensor]) -> str | None:
    for end, beside, words in _MARKS:
        if name.endswith(end) and (beside is None or name[: -len(end)] + beside in stored):
            return words
    return None


def _typed(tensor: StoredTensor, stored: Mapping[str, StoredTensor]) -> str | None:
    name, dtype = tensor.name, tensor.bytes.dtype
    if dtype in _INTEGERS:
        return _integer_format(name, dtype, stored)
    return f"{dtype} codes" if _is_unreadable(name, dtype) else None


def _integer_format(name: str, dtype: str, stored: Mapping[str, StoredTensor]) -> str | None:
    """Return the format of integers that are codes: they have scales, or stand where only a matrix of weights can."""
    for end, words in _INTEGER_COMPANIONS:
        if name + end in stored:
            return f"{words} ({dtype} codes)"
    if not name.endswith(".weight"):
        return None
    for end, words in _INTEGER_SIBLINGS:
        if name.removesuffix(".weight") + end in stored:
            return f"{words} ({dtype} codes)"
    return f"packed integers ({dtype} codes) of no format known here"


def _is_unreadable(name: str, dtype: str) -> bool:
    """Whether a dtype is one of codes only; scales may be of such too, and are spoken of with what they scale."""
    if dtype in FP8 or name.endswith(("scale", "scale_inv")):
        return False
    return dtype.startswith(("F4", "F6_", "F8_"))
