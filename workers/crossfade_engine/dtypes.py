"""The torch dtype of each safetensors dtype whose numbers are computed with, and the largest finite number of each."""

from typing import Final

import torch

TORCH_DTYPE: Final[dict[str, torch.dtype]] = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The torch dtype of each safetensors dtype that can be interpolated."""

_CODE_DTYPE: Final = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
CODE_VALUES: Final = {
    name: torch.arange(256, dtype=torch.uint8).view(dtype).float().numpy() for name, dtype in _CODE_DTYPE.items()
}
"""The float32 number of each of the 256 codes of fp8, before it is scaled (OCP 8-bit Floating Point 1.0, section 5)."""

SCALE_DTYPE: Final[dict[str, torch.dtype]] = {**TORCH_DTYPE, "F8_E8M0": torch.float8_e8m0fnu}
"""The torch dtype of scales and factors; F8_E8M0 is a power of two (OCP Microscaling Formats 1.0, section 5.4.1)."""

_COMPUTED_MAX: Final = torch.finfo(torch.float32).max
LARGEST: Final[dict[str, float]] = {
    name: min(torch.finfo(dtype).max, _COMPUTED_MAX) for name, dtype in TORCH_DTYPE.items()
}
"""The largest finite number of each; what is computed is a float32, so F64 holds no larger one."""
