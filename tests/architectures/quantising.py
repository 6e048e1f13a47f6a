"""fp8 checkpoints made by hand, as DeepSeek (blocks) and compressed-tensors (one scale a tensor) write them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from tests.architectures.pairs import State, read_state, rewrite

BLOCK: Final = 128
LARGEST_CODE: Final = 448.0
"""The largest finite number of float8_e4m3fn."""

Quantised = tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]
"""Codes, scales by suffix, and the numbers that both stand for, in bf16."""


def by_blocks(weight: torch.Tensor) -> Quantised:
    """Quantise as DeepSeek and Qwen do: a float32 `weight_scale_inv` for each block of 128 × 128, cut at the edges."""
    rows, columns = weight.shape
    down, across = -(-rows // BLOCK), -(-columns // BLOCK)
    padded = torch.zeros(down * BLOCK, across * BLOCK)
    padded[:rows, :columns] = weight.float()
    scales = padded.view(down, BLOCK, across, BLOCK).abs().amax(dim=(1, 3)) / LARGEST_CODE
    spread = scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:rows, :columns]
    codes = (weight.float() / spread).to(torch.float8_e4m3fn)
    return codes, {"_scale_inv": scales}, (codes.float() * spread).bfloat16()


def by_tensor(weight: torch.Tensor) -> Quantised:
    """Quantise as compressed-tensors does with the strategy `tensor`: one bf16 `weight_scale` of shape [1]."""
    scale = (weight.float().abs().max() / LARGEST_CODE).bfloat16().view(1)
    codes = (weight.float() / scale.float()).clamp(-LARGEST_CODE, LARGEST_CODE).to(torch.float8_e4m3fn)
    return codes, {"_scale": scale}, (codes.float() * scale.float()).bfloat16()


BLOCKS_CONFIG: Final[dict[str, Any]] = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [BLOCK, BLOCK],
}
TENSOR_CONFIG: Final[dict[str, Any]] = {
    "config_groups": {
        "group_0": {
            "input_activations": {
                "dynamic": True,
                "num_bits": 8,
                "strategy": "token",
                "symmetric": True,
                "type": "float",
            },
            "weights": {"dynamic": False, "num_bits": 8, "strategy": "tensor", "symmetric": True, "type": "float"},
            "targets": ["Linear"],
        }
    },
    "format": "float-quantized",
    "ignore": ["lm_head"],
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}
FORMATS: Final[dict[str, tuple[Callable[[torch.Tensor], Quantised], dict[str, Any]]]] = {
    "blocks": (by_blocks, BLOCKS_CONFIG),
    "tensor": (by_tensor, TENSOR_CONFIG),
}


def quantise(folder: Path, kind: str) -> State:
    """Turn the linears of a saved model, all but the head, into codes and scales; return the numbers they stand for."""
    quantise_one, config = FORMATS[kind]
    stored, numbers = {}, {}
    for name, tensor in read_state(folder).items():
        if name.endswith("_proj.weight"):
            stored[name], scales, numbers[name] = quantise_one(tensor)
            stored |= {name + suffix: scale for suffix, scale in scales.items()}
        else:
            stored[name] = numbers[name] = tensor
    rewrite(folder, stored)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "quantization_config": config}, indent=2) + "\n")
    return numbers
