"""Make a synthetic base/instruct pair of a given size: bf16, Llama-like tensor shapes, sharded, deterministic."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from crossfade_core.checkpoint import INDEX_FILE

_HIDDEN, _INTER = 2048, 5632
_LAYER = {
    "input_layernorm": (_HIDDEN,),
    "mlp.down_proj": (_HIDDEN, _INTER),
    "mlp.gate_proj": (_INTER, _HIDDEN),
    "mlp.up_proj": (_INTER, _HIDDEN),
    "post_attention_layernorm": (_HIDDEN,),
    "self_attn.o_proj": (_HIDDEN, _HIDDEN),
    "self_attn.q_proj": (_HIDDEN, _HIDDEN),
}
_LAYER_BYTES = 2 * sum(torch.Size(shape).numel() for shape in _LAYER.values())
_LAYERS_PER_SHARD = 2


def make_pair(folder: Path, size_bytes: int) -> tuple[Path, Path]:
    """Write `folder/base` and `folder/instruct`, about `size_bytes` each, and return their paths.

    Weights are N(0, 0.02), deltas N(0, 0.001): the scale of a tuned model of this width.
    """
    layers = max(1, round(size_bytes / _LAYER_BYTES))
    sides = folder / "base", folder / "instruct"
    for side in sides:
        side.mkdir(parents=True)
    groups = [range(start, min(start + _LAYERS_PER_SHARD, layers)) for start in range(0, layers, _LAYERS_PER_SHARD)]
    weight_map = {}
    for number, group in enumerate(groups, 1):
        file = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        base, instruct = _shard(group)
        weight_map.update(dict.fromkeys(base, file))
        for side, tensors in zip(sides, (base, instruct), strict=True):
            save_file(tensors, side / file, metadata={"format": "pt"})
    for side in sides:
        (side / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        (side / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": layers}))
    return sides


def _shard(layers: range) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    base, instruct = {}, {}
    for layer in layers:
        for number, (part, shape) in enumerate(_LAYER.items()):
            random = torch.Generator().manual_seed(1000 * layer + number)
            weights = torch.empty(shape).normal_(0, 0.02, generator=random)
            delta = torch.empty(shape).normal_(0, 0.001, generator=random)
            name = f"model.layers.{layer}.{part}.weight"
            base[name] = weights.bfloat16()
            instruct[name] = (base[name].float() + delta).bfloat16()
    return base, instruct
