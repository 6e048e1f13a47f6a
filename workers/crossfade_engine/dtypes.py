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

CODE_DTYPE: Final[dict[str, torch.dtype]] = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
"""The torch dtype of codes that become numbers once scaled."""

_COMPUTED_MAX: Final = torch.finfo(torch.float32).max

SCALE_DTYPE: Final[dict[str, torch.dtype]] = {**TORCH_DTYPE, "F8_E8M0": torch.float8_e8m0fnu}
"""The torch dtype of scales and factors; F8_E8M0 is a power of two (OCP Microscaling Formats 1.0, section 5.4.1)."""

LARGEST: Final[dict[str, float]] = {
    name: min(torch.finfo(dtype).max, _COMPUTED_MAX) for name, dtype in TORCH_DTYPE.items()
}
"""The largest finite number of each; what is computed is a float32, so F64 holds no larger one."""
