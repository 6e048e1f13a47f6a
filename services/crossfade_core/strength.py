"""A λ: any finite number that float32 holds, and the float32 that the merge computes with."""

import math
import struct
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.config import JsonDict

LARGEST_F32: Final = 3.4028234663852886e38
_STRENGTH_SCHEMA: Final[JsonDict] = {"minimum": -LARGEST_F32, "maximum": LARGEST_F32}


def _plain_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("λ must be a number")
    return value


def _finite_strength(lam: float) -> float:
    if not math.isfinite(lam):
        raise ValueError("λ must be finite")
    if abs(lam) > LARGEST_F32:
        raise ValueError("λ must be finite in float32, the precision the merge computes in")
    return lam + 0.0  # -0.0 becomes 0.0: one strength, one name


def as_float32(lam: float) -> float:
    """Return the float32 that torch.lerp rounds `lam` to (docs/numerics.md)."""
    rounded: float = struct.unpack("<f", struct.pack("<f", lam))[0]
    return rounded


def lambda_text(lam: float) -> str:
    """Return the shortest text that reads back as `lam` and that an output name may hold: 1e20, not 1e+20."""
    return repr(lam).replace("e+", "e")


Strength = Annotated[
    float,
    BeforeValidator(_plain_number),
    AfterValidator(_finite_strength),
    Field(json_schema_extra=_STRENGTH_SCHEMA),
]
