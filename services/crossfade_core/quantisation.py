"""Turn a checkpoint's tensors into values: plain numbers, and fp8 codes joined with the scales that make them numbers.

Decided from names, dtypes and shapes; config.json only tells the size of blocks. Any other quantised format is refused
by its name: interpolating codes, or scales, by themselves is always wrong. Multiplies nothing.

Source: names and layouts as transformers 5.23 (integrations/finegrained_fp8.py, fbgemm_fp8.py), compressed-tensors
(quantization/lifecycle/forward.py), vLLM (quantization/fp8.py, modelopt.py) and DeepSeek's own checkpoints have them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from crossfade_core.checkpoint import CheckpointLayout
from crossfade_core.errors import QuantisationUnsupported
from crossfade_core.plan import ByteRange, Scales, StoredTensor
from crossfade_core.quantisation_claim import CONFIG, QuantisationClaim, read_claim
from crossfade_core.quantised_formats import FP8, find_foreign

_SCALE_DTYPES: Final = frozenset({"F32", "BF16", "F16", "F8_E8M0"})
_DEFAULT_BLOCK: Final = (128, 128)
_WAY_OUT: Final = "use the unquantised checkpoint"
_ACTIVATION_ENDS: Final = tuple(
    f"{before}{whose}_{what}{after}"
    for before in "._"
    for whose in ("input", "output", "act", "activation", "q", "k", "v", "kv", "prob")
    for what in ("scale", "zero_point")
    for after in ("", "_inv", "_ub")
)


@dataclass(frozen=True)
class Values:
    """A parent's tensors as values.

    Attributes:
        tensors: By name: plain tensors, and fp8 codes with their scales.
        absorbed: By name, with the reason: tensors no output holds, as the values need them no more.
        is_dequantised: Whether there are such, so that config.json's quantization_config describes the values no more.
        notes: What a user should know, in words.
    """

    tensors: Mapping[str, StoredTensor]
    absorbed: Mapping[str, tuple[StoredTensor, str]]
    is_dequantised: bool
    notes: tuple[str, ...] = ()


def read_values(layout: CheckpointLayout, config: Mapping[str, Any] | None) -> Values:
    """Turn a checkpoint's tensors into values.

    Args:
        layout: The checkpoint.
        config: Its parsed config.json, unchecked; None where it has none.

    Raises:
        QuantisationUnsupported: A tensor holds codes of another format than scaled fp8, or fp8 codes whose scales are
            missing, doubled, of another dtype, or of a shape that fits no layout known here.
        ConfigMalformed: There are fp8 codes, and config.json states a size of blocks that is none.
    """
    stored = {
        name: StoredTensor(name, entry.shape, ByteRange(file, entry.dtype, entry.start, entry.end))
        for name, (file, entry) in layout.tensors.items()
    }
    coded = [name for name, tensor in stored.items() if tensor.bytes.dtype in FP8]
    claim = read_claim(config, with_blocks=bool(coded))
    _check_formats(stored, claim)
    tensors, absorbed = dict(stored), {}
    for name in coded:
        scales = _find_scales(stored[name], stored)
        tensors[name] = _scaled(stored[name], scales, claim)
        absorbed[scales.name] = (scales, f"scale of {name}, multiplied into it")
    if coded or claim.is_made:
        absorbed = _of_activations(stored) | absorbed
    kept = {name: tensor for name, tensor in tensors.items() if name not in absorbed}
    is_dequantised = bool(absorbed)
    return Values(kept, absorbed, is_dequantised, _notes(claim, is_dequantised=is_dequantised))


def _of_activations(stored: Mapping[str, StoredTensor]) -> dict[str, tuple[StoredTensor, str]]:
    found = [tensor for name, tensor in stored.items() if name.endswith(_ACTIVATION_ENDS)]
    return {tensor.name: (tensor, "scale of activations, which unquantised weights do not use") for tensor in found}


def _notes(claim: QuantisationClaim, *, is_dequantised: bool) -> tuple[str, ...]:
    if is_dequantised or claim.method is None:
        return ()
    return (f"{CONFIG} says quant_method {claim.method}, but no tensor is quantised; all are taken as they are",)


def _check_formats(stored: Mapping[str, StoredTensor], claim: QuantisationClaim) -> None:
    found = find_foreign(stored)
    if found is None:
        return
    tensor, words = found
    said = "" if claim.method is None else f" ({CONFIG} says {claim.method})"
    raise QuantisationUnsupported(
        f"{tensor.bytes.file}: {tensor.name!r} is part of a checkpoint quantised as {words}{said}; of quantised "
        f"formats only scaled fp8 is read: {_WAY_OUT}",
        file=tensor.bytes.file,
        tensor=tensor.name,
    )


def _find_scales(codes: StoredTensor, stored: Mapping[str, StoredTensor]) -> StoredTensor:
    """Return the tensor of scales that stands beside `codes`.

    Raises:
        QuantisationUnsupported: There is none or more than one, it is of a dtype not read, or zero points are there.
    """
    name = codes.name
    names = [name + "_scale_inv", name + "_scale", name + "_weight_scale"]
    if name.endswith(".weight"):
        names.append(name.removesuffix("weight") + "scale")  # DeepSeek-V4
    found = [stored[scales] for scales in names if scales in stored]
    if len(found) != 1:
        what = " and ".join(repr(scales.name) for scales in found) or f"none (such as {names[0]!r})"
        raise _unreadable(codes, f"needs one tensor of scales beside it, found {what}")
    if name + "_zero_point" in stored:
        raise _unreadable(codes, "has zero points, which are not read")
    if found[0].bytes.dtype not in _SCALE_DTYPES:
        raise _unreadable(
            codes,
            f"has scales ({found[0].name!r}) of {found[0].bytes.dtype}, where F32, BF16, F16 and F8_E8M0 are read",
        )
    return found[0]


def _scaled(codes: StoredTensor, scales: StoredTensor, claim: QuantisationClaim) -> StoredTensor:
    """Join codes and scales.

    Raises:
        QuantisationUnsupported: Their shapes fit no layout known here, or two of the sizes of blocks stated.
    """
    shape = _scales_shape(codes.shape, scales.shape)
    blocks = [] if shape is None else _possible_blocks(codes.shape, shape, claim)
    if shape is None or len(blocks) != 1:
        problem = f"blocks of {blocks[0]} and of {blocks[1]} would both fit" if blocks else "which fits none of these"
        raise _unreadable(
            codes,
            f"of shape {list(codes.shape)}, has scales ({scales.name!r}) of shape {list(scales.shape)}, {problem}: one "
            f"for all, one for each row, one for each block ({CONFIG}'s weight_block_size, else 128 × 128)",
        )
    stored = scales.bytes
    joined = Scales(stored.file, stored.dtype, stored.start, stored.end, shape, blocks[0])
    return replace(codes, bytes=replace(codes.bytes, scales=joined))


def _unreadable(codes: StoredTensor, problem: str) -> QuantisationUnsupported:
    file = codes.bytes.file
    return QuantisationUnsupported(
        f"{file}: {codes.name!r}, {codes.bytes.dtype} codes, {problem}: {_WAY_OUT}", file=file, tensor=codes.name
    )


def _matrix(codes: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
    """Split a shape into leading sizes, rows and columns; a vector is one row."""
    rows, columns = (1, 1, *codes)[-2:]
    return codes[:-2], rows, columns


def _scales_shape(codes: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the scales' shape as leading sizes, blocks down and across, their bytes unmoved; None if they are no such.

    One scale for a tensor of any shape is all ones.
    """
    leading, rows, _ = _matrix(codes)
    readings = {leading: (*leading, 1, 1), (*leading, 1): (*leading, 1, 1)}
    if len(codes) == 1 and len(scales) == 1:
        readings[scales] = (1, *scales)
    if len(codes) == 2:
        readings[rows,] = (rows, 1)
        if len(scales) == 4 and scales[1] == scales[3] == 1:  # ModelOpt's FP8_PB_WO
            readings[scales] = (scales[0], scales[2])
    if len(scales) == len(leading) + 2 and scales[:-2] == leading:
        readings[scales] = scales
    if math.prod(scales) == 1:
        readings[scales] = (1,) * (len(leading) + 2)
    return readings.get(scales)


def _possible_blocks(
    codes: tuple[int, ...], scales: tuple[int, ...], claim: QuantisationClaim
) -> list[tuple[int, int]]:
    """Return the sizes of blocks that explain the scales: what the config states, or else what the shapes say."""
    leading, rows, columns = _matrix(codes)
    down, across = scales[-2:]
    stated = {_clipped(block, rows, columns) for block in claim.blocks if _fits(block, codes, scales)}
    if stated:
        return sorted(stated)
    if (down in (1, rows) and across == 1) or (down == 1 and across == columns):
        return [_clipped((rows if down == 1 else 1, columns if across == 1 else 1), rows, columns)]
    if not claim.blocks and not claim.is_unblocked and _fits(_DEFAULT_BLOCK, codes, scales):
        return [_clipped(_DEFAULT_BLOCK, rows, columns)]
    if leading and (down, across) == (2, 1) and rows % 2 == 0:  # experts' gate and up, fused, with one scale each
        return [(rows // 2, columns)]
    return []


def _fits(block: tuple[int, int], codes: tuple[int, ...], scales: tuple[int, ...]) -> bool:
    _, rows, columns = _matrix(codes)
    return (-(-rows // block[0]), -(-columns // block[1])) == scales[-2:]


def _clipped(block: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
    """Return a block no larger than the matrix, at least 1 × 1, so that blocks of equal effect are equal."""
    return max(1, min(block[0], rows)), max(1, min(block[1], columns))
