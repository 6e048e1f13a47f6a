"""What people write in a notebook: for every λ load both shards, torch.lerp, save_file, hash. The bench's yardstick."""

import hashlib
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def main() -> None:
    """Usage: plain_loop.py BASE INSTRUCT OUT LAMBDA…; prints the seconds it took, imports not counted."""
    started = time.monotonic()
    base, instruct, out = map(Path, sys.argv[1:4])
    for lam in map(float, sys.argv[4:]):
        folder = out / str(lam)
        folder.mkdir(parents=True)
        for shard in sorted(base.glob("*.safetensors")):
            ours, theirs = load_file(shard), load_file(instruct / shard.name)
            merged = {name: torch.lerp(ours[name], theirs[name], lam) for name in ours}
            save_file(merged, folder / shard.name, metadata={"format": "pt"})
            with open(folder / shard.name, "rb") as file:
                hashlib.file_digest(file, "sha256")
    print(time.monotonic() - started)


if __name__ == "__main__":
    main()
