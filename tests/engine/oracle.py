"""The contract of docs/numerics.md in numpy, sharing no line and no library call with the engine.

torch.lerp is defined by two formulas, each with one fused multiply-add: with d = fl(i − b),
fma(λ, d, b) where |λ| < 1/2, else fma(λ − 1, d, i) (ATen/native/Lerp.h). numpy has no fma, so it is made from float64:
the product of two float32 is exact there, and rounding the sum to odd first makes the second rounding, to float32, the
only one that counts (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
"""

import numpy as np

from tests.fakes.checkpoints import Tensor

NUMPY_DTYPE = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


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
    with np.errstate(over="ignore"):
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
    width = {"BF16": np.uint16, "F16": np.uint16, "F32": np.uint32, "F64": np.uint64}[dtype]
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
