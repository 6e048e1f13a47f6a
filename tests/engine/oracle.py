"""The contract of docs/numerics.md in numpy, sharing no line and no library call with the engine.

torch.lerp is defined by two formulas, each with one fused multiply-add: with d = fl(i − b),
fma(λ, d, b) where |λ| < 1/2, else fma(λ − 1, d, i) (ATen/native/Lerp.h). numpy has no fma, so it is made from float64:
the product of two float32 is exact there, and rounding the sum to odd first makes the second rounding, to float32, the
only one that counts (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from tests.fakes.checkpoints import Tensor

NUMPY_DTYPE = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
WORD = {"BF16": np.uint16, "F16": np.uint16, "F32": np.uint32, "F64": np.uint64}


def merged(base: Tensor, instruct: Tensor, lam: float, out_dtype: str) -> bytes:
    """Return the bytes of one tensor of M(λ)."""
    lam_f32 = np.float32(lam)
    for parent, strength in ((base, 0.0), (instruct, 1.0)):
        if lam_f32 == strength or base == instruct:
            return parent[2] if parent[0] == out_dtype else encode(as_f32(parent), out_dtype)
    return encode(lerp_f32(as_f32(base), as_f32(instruct), lam_f32), out_dtype)


def as_f32(tensor: Tensor) -> np.ndarray:
    """Return a tensor's elements as float32, rounded to nearest even where they are wider."""
    dtype, _, data = tensor
    if dtype == "BF16":
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # signalling NaN
        return np.frombuffer(data, NUMPY_DTYPE[dtype]).astype(np.float32)


def as_f64(tensor: Tensor) -> np.ndarray:
    """Return a tensor's elements as float64, exactly."""
    dtype, _, data = tensor
    return np.frombuffer(data, np.float64) if dtype == "F64" else as_f32(tensor).astype(np.float64)


def encode(values_f32: np.ndarray, dtype: str) -> bytes:
    """Round float32 to a dtype, to nearest even."""
    if dtype == "BF16":
        bits = values_f32.view(np.uint32).astype(np.uint64)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        return np.where(np.isnan(values_f32), np.uint16(0x7FC0), rounded).tobytes()
    with np.errstate(over="ignore", invalid="ignore"):
        return values_f32.astype(NUMPY_DTYPE[dtype]).tobytes()


def differing(found: bytes, wanted: bytes, dtype: str) -> int:
    """Count the elements that differ, taking any NaN for any other; every one where even the sizes differ."""
    width = WORD[dtype]
    if len(found) != len(wanted):
        return len(wanted) // width().itemsize
    unequal = np.frombuffer(found, width) != np.frombuffer(wanted, width)
    numbers = as_f32((dtype, (), found)), as_f32((dtype, (), wanted))
    return int(np.count_nonzero(unequal & ~(np.isnan(numbers[0]) & np.isnan(numbers[1]))))


def lerp_f32(base_f32: np.ndarray, instruct_f32: np.ndarray, lam: np.float32) -> np.ndarray:
    """Interpolate as torch.lerp defines it for a scalar λ."""
    with np.errstate(all="ignore"):
        delta = instruct_f32 - base_f32
        return fma_f32(lam, delta, base_f32) if abs(lam) < 0.5 else fma_f32(lam - np.float32(1), delta, instruct_f32)


def fma_f32(factor: np.float32, values_f32: np.ndarray, addend_f32: np.ndarray) -> np.ndarray:
    """Return factor · values + addend, rounded once."""
    product = np.float64(factor) * values_f32.astype(np.float64)
    addend = addend_f32.astype(np.float64)
    total = product + addend
    back = total - product
    rest = (product - (total - back)) + (addend - back)  # what rounding the sum lost, exactly (Knuth's TwoSum)
    is_even = (total.view(np.int64) & 1) == 0
    to_odd = np.isfinite(total) & (rest != 0) & is_even
    towards_rest = np.nextafter(total, np.where(rest > 0, np.inf, -np.inf))
    return np.where(to_odd, towards_rest, total).astype(np.float32)


def merged_elementwise(base: Tensor, instruct_f32: np.ndarray, lam: float, out_dtype: str) -> bytes:
    """Return the bytes of one tensor of M(λ) whose instruct side, or base, was made of more than its own bytes.

    What is equal in both parents is so element by element, and keeps the base's bits; λ = 1 is the instruct side.
    """
    lam_f32, base_f32 = np.float32(lam), as_f32(base)
    kept = base[2] if base[0] == out_dtype else encode(base_f32, out_dtype)
    if lam_f32 == 0:
        return kept
    result = encode(instruct_f32 if lam_f32 == 1 else lerp_f32(base_f32, instruct_f32, lam_f32), out_dtype)
    is_equal = (base_f32.view(np.uint32) == instruct_f32.view(np.uint32)) | (
        np.isnan(base_f32) & np.isnan(instruct_f32)
    )
    width = WORD[out_dtype]
    return np.where(is_equal, np.frombuffer(kept, width), np.frombuffer(result, width)).tobytes()


def fp8_values(dtype: str) -> np.ndarray:
    """Return the number of each of the 256 codes. Source: OCP 8-bit Floating Point Specification 1.0, table 1."""
    exponent_bits, bias, has_infinity = {"F8_E4M3": (4, 7, False), "F8_E5M2": (5, 15, True)}[dtype]
    mantissa_bits = 7 - exponent_bits
    values = np.empty(256, np.float32)
    for code in range(256):
        exponent, mantissa = (code & 0x7F) >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
        is_top = exponent == (1 << exponent_bits) - 1
        if has_infinity and is_top:
            magnitude = np.nan if mantissa else np.inf
        elif is_top and mantissa == (1 << mantissa_bits) - 1:
            magnitude = np.nan
        else:
            hidden = 1 if exponent else 0
            magnitude = (hidden + mantissa / (1 << mantissa_bits)) * 2.0 ** (max(exponent, 1) - bias)
        values[code] = -magnitude if code & 0x80 else magnitude
    return values


def dequantised(codes: Tensor, scales_f32: np.ndarray, block: tuple[int, int]) -> Tensor:
    """Return bfloat16(code · scale).

    Args:
        codes: fp8.
        scales_f32: For each leading index, blocks down and blocks across; broadcast over what it has not.
        block: Rows and columns of one block.
    """
    dtype, shape, data = codes
    values = fp8_values(dtype)[np.frombuffer(data, np.uint8)].reshape((1, 1, *shape)[-max(2, len(shape)) :])
    rows, columns = np.arange(values.shape[-2]) // block[0], np.arange(values.shape[-1]) // block[1]
    with np.errstate(all="ignore"):
        products = values * scales_f32[..., rows[:, None], columns[None, :]]
    return "BF16", shape, encode(products.astype(np.float32).reshape(-1), "BF16")


def delta_f32(down: Tensor, up: Tensor, scaling: float) -> np.ndarray:
    """Return scaling · up @ down, summed in float64 rank by rank and rounded once: [rows, columns]."""
    down_f64, up_f64 = (as_f64(factor).reshape(factor[1]) for factor in (down, up))
    total = np.zeros((up_f64.shape[0], down_f64.shape[1]))
    for rank in range(down_f64.shape[0]):
        total = total + np.outer(up_f64[:, rank], down_f64[rank])
    return (total * scaling).astype(np.float32)


def stepped_f32(base_f32: np.ndarray, step_f32: np.ndarray) -> np.ndarray:
    """Return float32(base + step), where there is a step."""
    with np.errstate(all="ignore"):
        return np.where(step_f32 == 0, base_f32, base_f32 + step_f32)


def chained_f32(base_f32: np.ndarray, tuned_f32: np.ndarray, origin_f32: np.ndarray) -> np.ndarray:
    """Return float32(base + float32(A − B)), the base itself where A is B."""
    with np.errstate(all="ignore"):
        is_one = (tuned_f32 == origin_f32) | (np.isnan(tuned_f32) & np.isnan(origin_f32))
        return np.where(is_one, base_f32, base_f32 + (tuned_f32 - origin_f32))


def rescaled_f32(whole_f32: np.ndarray, magnitude: Tensor) -> np.ndarray:
    """Return DoRA's magnitude · V / ‖V‖ of every row of V, squares summed in float64 half onto half.

    Source: arXiv 2402.09353, equation 5.
    """
    whole = whole_f32.astype(np.float64)
    columns = whole.shape[1]
    squares = np.zeros((len(whole), 1 << max(columns - 1, 0).bit_length()))
    squares[:, :columns] = whole * whole
    while squares.shape[1] > 1:
        left, right = np.split(squares, 2, axis=1)
        squares = left + right
    return (whole * (as_f64(magnitude)[:, None] / np.sqrt(squares))).astype(np.float32)


def random_bits(seed: int, name: str, elements: int) -> np.ndarray:
    """Return 16 random bits an element: the outputs of SplitMix64, each cut into four, the lowest first.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014, figure 16.
    """
    mask = (1 << 64) - 1
    state = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "little")
    found = []
    while len(found) < elements:
        state = (state + 0x9E3779B97F4A7C15) & mask
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        word ^= word >> 31
        found += [(word >> shift) & 0xFFFF for shift in (0, 16, 32, 48)]
    return np.array(found[:elements], np.uint16)


def neighbours(values_f32: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the next numbers of BF16 or F16 towards zero and away from it, in float64; one where exact."""
    magnitude = np.abs(values_f32.astype(np.float64))
    least, digits = {"BF16": (-126, 7), "F16": (-14, 10)}[dtype]
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, least)
    quantum = np.ldexp(1.0, exponent - digits)
    below = np.floor(magnitude / quantum) * quantum
    above = np.where(below == magnitude, below, below + quantum)
    return np.copysign(below, values_f32), np.copysign(above, values_f32)


def rounded_by_chance(values_f32: np.ndarray, chance: np.ndarray, dtype: str) -> bytes:
    """Round away from zero where the share of the way to the next number, and the random bits, make a whole."""
    below, above = neighbours(values_f32, dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(above == below, 0.0, (values_f32 - below) / (above - below))
    is_normal_half = (dtype == "F16") & (np.abs(values_f32) >= 2.0**-14)
    random = np.where(is_normal_half, (chance & 0x1FFF) / 8192, chance / 65536)
    chosen = np.where(np.isfinite(values_f32), np.where(share >= 1 - random, above, below), values_f32)
    with np.errstate(over="ignore"):
        return encode(chosen.astype(np.float32), dtype)


@dataclass(frozen=True)
class Sums:
    """What `crossfade_engine.tally` sums, of one tensor at one λ, in float64."""

    delta_squares: float
    base_squares: float
    step_products: float
    step_squares: float
    unchanged: int

    @classmethod
    def of(cls, base: Tensor, instruct_f32: np.ndarray, out: Tensor, counted: np.ndarray | None = None) -> Self:
        """Sum over the elements `counted`, all by default; those that are not finite add nothing."""
        chosen = slice(None) if counted is None else counted
        base_f32, out_f32 = as_f32(base)[chosen], as_f32(out)[chosen]
        with np.errstate(all="ignore"):
            b, delta, step = base_f32, instruct_f32[chosen] - base_f32, out_f32 - base_f32
        b, delta, step = (np.where(np.isfinite(each), each, 0).astype(np.float64) for each in (b, delta, step))
        if base[0] == out[0]:
            held = (np.frombuffer(tensor[2], WORD[out[0]])[chosen] for tensor in (base, out))
            unchanged = np.count_nonzero(np.equal(*held))
        else:
            unchanged = np.count_nonzero(base_f32 == out_f32)
        return cls(delta @ delta, b @ b, step @ delta, step @ step, unchanged)
