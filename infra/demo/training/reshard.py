"""Split both sides of a pair into shards, differently, as the published checkpoints of real families often are.

Decides which tensor goes into which file and nothing else: tensors keep their bytes, all other files are copied.
The same pair always gives the same files.

    python -m infra.demo.training.reshard SOURCE TARGET
"""

import argparse
import hashlib
import json
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors.torch import load_file, save

Layout = tuple[tuple[str, ...], ...]
"""For every shard, the patterns of the tensor names it holds; every name matches in one shard only."""

INDEX = "model.safetensors.index.json"
CHECKSUMS = "SHA256SUMS"
LAYOUTS: dict[str, Layout] = {
    # Layer after layer, as most trainers save it.
    "base": (
        ("model.embed_tokens.*", "model.layers.0.*", "model.layers.1.*"),
        ("model.layers.2.*", "model.layers.3.*"),
        ("model.layers.4.*", "model.norm.*", "lm_head.*"),
    ),
    # By kind and through all layers, so that every shard needs every shard of the base.
    "instruct": (
        ("lm_head.*", "model.norm.*", "model.layers.*.mlp.down_proj.*"),
        ("model.layers.*.self_attn.*", "model.layers.*_layernorm.*"),
        ("model.layers.*.mlp.up_proj.*",),
        ("model.layers.*.mlp.gate_proj.*", "model.embed_tokens.*"),
    ),
}


def reshard_pair(source: Path, target: Path) -> None:
    """Write both sides of the pair in `source` into the new folder `target`, with a list of all digests.

    Raises:
        FileExistsError: `target` exists; stale shards would stay among the new ones.
        ValueError: a layout leaves a tensor without a shard, or a shard without a tensor.
    """
    target.mkdir(parents=True)
    for side, layout in LAYOUTS.items():
        reshard(source / side, target / side, layout)
    write_checksums(target)


def reshard(source: Path, target: Path, layout: Layout) -> None:
    """Write the checkpoint in `source` into the new folder `target`, one shard for every entry of `layout`.

    Raises:
        FileExistsError: `target` exists.
        ValueError: `layout` leaves a tensor without a shard, or a shard without a tensor.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(source.glob("*.safetensors")):
        tensors |= load_file(file)
    shards = assign(sorted(tensors), layout)
    target.mkdir(parents=True)
    for file_name, names in shards.items():
        shard = save({name: tensors[name] for name in names}, metadata={"format": "pt"})
        (target / file_name).write_bytes(shard)
    _write_index(target / INDEX, tensors, shards)
    for file in source.iterdir():
        if file.suffix != ".safetensors" and file.name != INDEX:
            shutil.copyfile(file, target / file.name)


def assign(names: list[str], layout: Layout) -> dict[str, list[str]]:
    """Give the tensor names of every shard, by file name.

    Raises:
        ValueError: `layout` leaves a tensor without a shard or in two, or a shard without a tensor.
    """
    files = [f"model-{number:05}-of-{len(layout):05}.safetensors" for number in range(1, len(layout) + 1)]
    shards: dict[str, list[str]] = {file: [] for file in files}
    for name in names:
        matches = [
            file
            for file, patterns in zip(files, layout, strict=True)
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ]
        if len(matches) != 1:
            raise ValueError(f"tensor {name} should match one shard of the layout but matches {matches}")
        shards[matches[0]].append(name)
    if empty := [file for file, held in shards.items() if not held]:
        raise ValueError(f"no tensor matches the layout's patterns for {empty}")
    return shards


def _write_index(file: Path, tensors: dict[str, torch.Tensor], shards: dict[str, list[str]]) -> None:
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": {name: shard for shard, names in shards.items() for name in names},
    }
    file.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_checksums(pair: Path) -> None:
    """List the SHA-256 of every file under `pair`, in the form that `sha256sum --check` reads."""
    files = sorted(file for file in pair.rglob("*") if file.is_file() and file.name != CHECKSUMS)
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(pair).as_posix()}" for file in files]
    (pair / CHECKSUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Reshard the pair named on the command line."""
    parser = argparse.ArgumentParser(description="Split both sides of a pair into shards, differently.")
    parser.add_argument("source", type=Path, help="folder with base/ and instruct/")
    parser.add_argument("target", type=Path, help="new folder to write base/ and instruct/ into")
    arguments = parser.parse_args()
    reshard_pair(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
