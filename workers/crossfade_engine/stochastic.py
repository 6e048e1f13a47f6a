"""Stochastic rounding: up or down by chance, in proportion to the distance, so that small steps survive on average.

The bits depend on seed, tensor name and element index alone: not on chunks, threads, devices, nor on λ. One element has
the same bits at every λ of a sweep, so it never falls while λ moves it up.
"""

import hashlib
from typing import Final

import numpy as np
import torch

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT: Final = np.uint64(31)
_BITS_PER_WORD: Final = 4
"""Sixteen random bits an element: four elements to a 64-bit word."""
_TILE_ELEMENTS: Final = 1 << 16
_F16_TINY: Final = 2.0**-14
_F16_QUANTUM: Final = 2.0**-24


def key_of(seed: int, name: str) -> int:
    """Return the 64-bit key of a tensor's random bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "little")


def noise(key: int, first: int, out: torch.Tensor) -> torch.Tensor:
    """Fill `out` with the random bits of the elements from index `first` on.

    Args:
        key: What `key_of` returned.
        first: Index of the first element in its tensor.
        out: uint16, 1-d.

    Source: SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014; word w is its
    output number w + 1 from the state `key`.
    """
    for start in range(0, len(out), _TILE_ELEMENTS):
        part = out.numpy()[start : start + _TILE_ELEMENTS]
        low = (first + start) // _BITS_PER_WORD
        words = _words(key, low, -(-(first + start + len(part)) // _BITS_PER_WORD))
        part[:] = words.view("<u2")[first + start - low * _BITS_PER_WORD :][: len(part)]
    return out


def _words(key: int, low: int, high: int) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    words = np.arange(low + 1, high + 1, dtype=np.uint64)
    words *= _GOLDEN
    words += np.uint64(key)
    for shift, factor in _MIX:
        words ^= words >> shift
        words *= factor
    words ^= words >> _LAST_SHIFT
    return words


def round_by_chance(values_f32: torch.Tensor, random: torch.Tensor, out: torch.Tensor) -> None:
    """Round float32 to `out`'s dtype, bfloat16 or float16. Overwrites `values_f32`.

    A number is rounded away from zero where its cut-off bits plus the random ones carry; one that `out` can hold stays.
    NaN and infinity stay what they are.

    Args:
        values_f32: 1-d, contiguous.
        random: What `noise` returned, same length.
        out: Same length.
    """
    is_plain = bool(torch.isfinite(torch.stack(torch.aminmax(values_f32))).all()) if len(out) else True
    is_special = None if is_plain else ~torch.isfinite(values_f32)
    special = None if is_special is None else values_f32[is_special]
    if out.dtype is torch.bfloat16:
        bits = values_f32.numpy().view(np.uint32)
        bits += random.numpy()
        out.view(torch.int16).numpy()[:] = bits.view("<i2")[1::2]
    else:
        _round_f16(values_f32, random, out)
    if is_special is not None and special is not None:
        out[is_special] = special.to(out.dtype)


def _round_f16(values_f32: torch.Tensor, random: torch.Tensor, out: torch.Tensor) -> None:
    values, chance = values_f32.numpy(), random.numpy()
    is_tiny = np.abs(values) < _F16_TINY
    steps = np.floor(np.abs(values[is_tiny]).astype(np.float64) / _F16_QUANTUM + chance[is_tiny] / 65536.0)
    tiny = np.copysign(steps * _F16_QUANTUM, values[is_tiny])
    bits = values.view(np.uint32)
    bits += chance & np.uint16(0x1FFF)
    bits &= np.uint32(0xFFFFE000)
    values[is_tiny] = tiny
    out.copy_(values_f32)
