"""The torch dtype of each safetensors dtype that can be interpolated."""

from typing import Final

import torch

TORCH_DTYPE: Final[dict[str, torch.dtype]] = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}
