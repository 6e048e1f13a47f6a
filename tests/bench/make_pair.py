"""Make a synthetic base/instruct pair: a Llama with TinyLlama-1.1B's shapes, sharded, deterministic, streamed to disk.

Weights are N(0, 0.02), deltas N(0, 0.001), the scale of a tuned model of this width; both come from tables of 65,536
quantiles, which is five times as fast as a normal generator and the same to anything measured here. Never holds more
than one block, whatever the size, and needs no torch. `python -m tests.bench.make_pair FOLDER` makes one by hand.
"""

import argparse
import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from crossfade_core.checkpoint import INDEX_FILE

SHARD_BYTES: Final = 500_000_000
_BLOCK: Final = 1 << 18
_STEPS: Final = 1 << 16

Tensors: TypeAlias = list[tuple[str, tuple[int, ...]]]
Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shapes:
    """A Llama's sizes, but for its depth."""

    hidden: int
    inter: int
    heads: int
    kv_heads: int
    vocab: int

    @property
    def outer(self) -> Tensors:
        """What does not repeat: embeddings, last norm, head."""
        rows = (self.vocab, self.hidden)
        return [
            ("model.embed_tokens.weight", rows),
            ("model.norm.weight", (self.hidden,)),
            ("lm_head.weight", rows),
        ]

    def layer(self, number: int) -> Tensors:
        """One layer's tensors."""
        hidden, inter, kv = self.hidden, self.inter, self.hidden // self.heads * self.kv_heads
        parts = {
            "input_layernorm": (hidden,),
            "mlp.down_proj": (hidden, inter),
            "mlp.gate_proj": (inter, hidden),
            "mlp.up_proj": (inter, hidden),
            "post_attention_layernorm": (hidden,),
            "self_attn.k_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.v_proj": (kv, hidden),
        }
        return [(f"model.layers.{number}.{part}.weight", shape) for part, shape in parts.items()]

    def layers_in(self, size_bytes: int) -> int:
        """How many layers make a model of about `size_bytes`; at least one."""
        return max(1, round((size_bytes - _bytes_of(self.outer)) / _bytes_of(self.layer(0))))


TINYLLAMA: Final = Shapes(hidden=2048, inter=5632, heads=32, kv_heads=4, vocab=32_000)
SMALL: Final = Shapes(hidden=1024, inter=2816, heads=16, kv_heads=2, vocab=4_000)
"""For pairs that TinyLlama's embeddings alone would fill."""


def make_pair(folder: Path, size_bytes: int, shard_bytes: int = SHARD_BYTES) -> tuple[Path, Path]:
    """Write `folder/base` and `folder/instruct`, about `size_bytes` each, and return their paths.

    Args:
        folder: Where; must not hold a pair yet.
        size_bytes: Bytes of each side; from 350 MB on the shapes are TinyLlama's.
        shard_bytes: Most bytes of a shard, but for a single tensor that is larger.
    """
    shapes = TINYLLAMA if size_bytes >= 350_000_000 else SMALL
    layers = shapes.layers_in(size_bytes)
    first, *rest = shapes.outer
    tensors = [first, *(tensor for number in range(layers) for tensor in shapes.layer(number)), *rest]
    shards = _cut(tensors, min(shard_bytes, _bytes_of(tensors) // 3))
    files = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    sides = folder / "base", folder / "instruct"
    for side in sides:
        side.mkdir(parents=True)
        _write_small_files(side, shapes, layers)
        weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name, _ in shard}
        index = {"metadata": {"total_size": _bytes_of(tensors)}, "weight_map": weight_map}
        (side / INDEX_FILE).write_text(json.dumps(index))
    for number, (file, shard) in enumerate(zip(files, shards, strict=True)):
        _write_shard([side / file for side in sides], shard, seed=number)
    return sides


def _bytes_of(tensors: Tensors) -> int:
    return sum(2 * math.prod(shape) for _, shape in tensors)


def _cut(tensors: Tensors, shard_bytes: int) -> list[Tensors]:
    """Fill shards in order, as `save_pretrained` does."""
    shards: list[Tensors] = [[]]
    for tensor in tensors:
        if shards[-1] and _bytes_of([*shards[-1], tensor]) > shard_bytes:
            shards.append([])
        shards[-1].append(tensor)
    return shards


def _write_shard(paths: list[Path], tensors: Tensors, *, seed: int) -> None:
    """Write one shard of both sides, block by block."""
    header, end = {}, 0
    for name, shape in tensors:
        start, end = end, end + _bytes_of([(name, shape)])
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with open(paths[0], "wb") as base, open(paths[1], "wb") as instruct:
        for file in (base, instruct):
            file.write(len(text).to_bytes(8, "little") + text)
        for ours, theirs in _blocks(end // 2, seed):
            base.write(ours)
            instruct.write(theirs)


def _blocks(elements: int, seed: int) -> Iterator[tuple[memoryview, memoryview]]:
    """Yield bf16 bytes of base and instruct, at most `_BLOCK` elements at a time."""
    random = np.random.Generator(np.random.SFC64(seed))
    weights, deltas = _quantiles(0.02), _quantiles(0.001)
    for start in range(0, elements, _BLOCK):
        size = min(_BLOCK, elements - start)
        base_f32, delta_f32 = (table[random.integers(0, _STEPS, size, dtype=np.uint16)] for table in (weights, deltas))
        yield _bfloat16(base_f32).data.cast("B"), _bfloat16(base_f32 + delta_f32).data.cast("B")


@functools.cache
def _quantiles(deviation: float) -> Floats:
    """Return a normal distribution in `_STEPS` equally likely values, each a bf16 number."""
    normal = NormalDist(0, deviation)
    values_f32 = np.array([normal.inv_cdf((step + 0.5) / _STEPS) for step in range(_STEPS)], np.float32)
    return (_bfloat16(values_f32).astype(np.uint32) << 16).view(np.float32)


def _bfloat16(values_f32: Floats) -> npt.NDArray[np.uint16]:
    """Round finite float32 to the nearest bf16, ties to even; numpy has no such type, hence the bits."""
    bits = values_f32.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _write_small_files(side: Path, shapes: Shapes, layers: int) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": shapes.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shapes.inter,
        "max_position_embeddings": 2048,
        "model_type": "llama",
        "num_attention_heads": shapes.heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": shapes.kv_heads,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": shapes.vocab,
    }
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048, **special}
    for file, document in (
        ("config.json", config),
        ("generation_config.json", {"bos_token_id": 1, "eos_token_id": 2}),
        ("tokenizer.json", _tokenizer(shapes.vocab, list(special.values()))),
        ("tokenizer_config.json", settings),
    ):
        (side / file).write_text(json.dumps(document, indent=1))


def _tokenizer(vocab: int, special: list[str]) -> dict[str, object]:
    """One word a token: no text is read here, but every tool wants a tokenizer that loads."""
    words = [*special, *(f"word{number}" for number in range(len(special), vocab))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": word, **flags} for number, word in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(words)},
            "unk_token": special[0],
        },
    }


def main() -> None:
    """Make a pair by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size-mb", type=int, default=2200, help="bytes of each parent, in MB (default 2200)")
    parser.add_argument("--shard-mb", type=int, default=SHARD_BYTES // 1_000_000, help="most MB of a shard")
    options = parser.parse_args()
    for side in make_pair(options.folder, options.size_mb * 1_000_000, options.shard_mb * 1_000_000):
        print(side)


if __name__ == "__main__":
    main()
