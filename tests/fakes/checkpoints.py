"""Checkpoints written by hand, with the standard library only: an oracle that shares no line with the code under test.

The bytes follow https://github.com/huggingface/safetensors#format : 8 bytes little-endian length, JSON padded with
spaces to a multiple of 8, the tensors back to back in the order given.
"""

import json
import math
import random
import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

Tensor = tuple[str, tuple[int, ...], bytes]
"""dtype as the format spells it, shape, little-endian data."""

LLAMA_SIZES: Final[dict[str, tuple[int, ...]]] = {
    "model.embed_tokens.weight": (64, 16),
    "model.layers.0.input_layernorm.weight": (16,),
    "model.layers.0.mlp.down_proj.weight": (16, 48),
    "model.layers.0.mlp.gate_proj.weight": (48, 16),
    "model.layers.0.mlp.up_proj.weight": (48, 16),
    "model.layers.0.post_attention_layernorm.weight": (16,),
    "model.layers.0.self_attn.k_proj.weight": (8, 16),
    "model.layers.0.self_attn.o_proj.weight": (16, 16),
    "model.layers.0.self_attn.q_proj.weight": (16, 16),
    "model.layers.0.self_attn.v_proj.weight": (8, 16),
    "model.norm.weight": (16,),
    "lm_head.weight": (64, 16),
}
"""A Llama of one layer: 16 wide, 4 heads, 2 of them for keys and values, 64 tokens."""


class Pair(NamedTuple):
    """The folders of a base model and of its sibling."""

    base: Path
    instruct: Path


def encode_file(tensors: Mapping[str, Tensor]) -> bytes:
    """Return one safetensors file holding `tensors` in the order given."""
    document: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, shape, data) in tensors.items():
        document[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, Tensor],
    *,
    shards: Sequence[Sequence[str]] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a checkpoint and return its folder.

    Args:
        folder: Where to; made where it is missing.
        tensors: By name.
        shards: The names of each file's tensors, giving numbered files and an index; None for `model.safetensors`.
        extra_files: Further files by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if shards is None:
        (folder / "model.safetensors").write_bytes(encode_file(tensors))
    else:
        _write_shards(folder, tensors, shards)
    for name, content in (extra_files or {}).items():
        (folder / name).write_bytes(content)
    return folder


def random_pair(
    folder: Path,
    *,
    seed: int = 0,
    base_shards: int | None = None,
    instruct_shards: int | None = 3,
    dtype: str = "BF16",
    sizes: Mapping[str, tuple[int, ...]] = LLAMA_SIZES,
) -> Pair:
    """Write `folder/base` and `folder/instruct`, of finite random weights and with the small files of a real model.

    The base's shards hold runs of tensors, the instruct's are dealt like cards, so that no shard matches another.
    The instruct's config, tokenizer and chat template differ from the base's, so that it shows whose were taken.

    Args:
        folder: Where to.
        seed: Equal seeds, equal bytes.
        base_shards: Number of files of the base; None for a single `model.safetensors`.
        instruct_shards: The same for the instruct.
        dtype: BF16, F16, F32 or F64.
        sizes: Shape of each tensor by name.
    """
    chance = random.Random(seed)
    base: dict[str, Tensor] = {}
    instruct: dict[str, Tensor] = {}
    for name, shape in sizes.items():
        weights = [chance.gauss(0, 0.02) for _ in range(math.prod(shape))]
        base[name] = (dtype, shape, encode_floats(dtype, weights))
        tuned = [weight + chance.gauss(0, 0.005) for weight in weights]
        instruct[name] = (dtype, shape, encode_floats(dtype, tuned))
    names = list(sizes)
    base_runs = None if base_shards is None else _runs(names, base_shards)
    dealt = None if instruct_shards is None else [names[first::instruct_shards] for first in range(instruct_shards)]
    return Pair(
        write_checkpoint(folder / "base", base, shards=base_runs, extra_files=small_files("base")),
        write_checkpoint(folder / "instruct", instruct, shards=dealt, extra_files=small_files("instruct")),
    )


def encode_floats(dtype: str, values: Sequence[float]) -> bytes:
    """Return `values` as little-endian bytes of a float dtype; BF16 by cutting float32 off, finite for finite input."""
    if dtype == "BF16":
        wide = struct.pack(f"<{len(values)}f", *values)
        return b"".join(wide[at + 2 : at + 4] for at in range(0, len(wide), 4))
    letter = {"F16": "e", "F32": "f", "F64": "d"}[dtype]
    return struct.pack(f"<{len(values)}{letter}", *values)


def small_files(parent: str) -> dict[str, bytes]:
    """Return stand-ins for config, tokenizer and chat template that tell which parent they are of."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "vocab_size": 64,
        "tie_word_embeddings": False,
        "_name_or_path": parent,
    }
    tokenizer = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "word": 1}, "unk_token": "<unk>"},
    }
    return {
        "config.json": json.dumps(config, indent=2).encode(),
        "tokenizer.json": json.dumps(tokenizer, indent=len(parent)).encode(),  # the same tokens in other bytes
        "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "name": parent}).encode(),
        "chat_template.jinja": f"{{# {parent} #}}{{{{ messages[0]['content'] }}}}\n".encode(),
    }


def _write_shards(folder: Path, tensors: Mapping[str, Tensor], shards: Sequence[Sequence[str]]) -> None:
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        (folder / file).write_bytes(encode_file({name: tensors[name] for name in names}))
        weight_map |= dict.fromkeys(names, file)
    total = sum(len(tensors[name][2]) for name in weight_map)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _runs(names: Sequence[str], count: int) -> list[Sequence[str]]:
    bounds = [len(names) * number // count for number in range(count + 1)]
    return [names[first:last] for first, last in pairwise(bounds)]
