"""Hold `mergekit_config.yml` against mergekit itself: merge with us, merge again from the file we wrote, compare.

`python -m tests.bench.same_merge` prints a row for every kind of merge the file can express, and fails where a tensor
is missing, of another dtype or shape, or an element lies further off than rounding explains. Two minutes, 100 MB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import torch
from safetensors import safe_open

from tests.bench import machine
from tests.bench.contestants import CLI
from tests.bench.peer import PROGRAM

PAIR: Final = Path(__file__).parents[2] / "infra" / "demo" / "pair"
MERGEKIT: Final = PROGRAM.with_name("mergekit-yaml")
Tensors: TypeAlias = dict[str, torch.Tensor]

_MOST_ULPS: Final = 1.0
"""Of the base's value or the result's, whichever is larger: both ways round once, one of them at one place more."""


@dataclass(frozen=True)
class Kind:
    """A kind of merge: its name in the table, and the options of `crossfade merge` that ask for it."""

    name: str
    options: tuple[str, ...]


def kinds(reference: Path) -> list[Kind]:
    """Return what the file can express; `reference` is a third checkpoint."""
    minus = ("--minus", str(reference))
    mlp = ("--rule", "*mlp*=0.5", "--rule", "*self_attn*=1", "--rule", "*=0.25")
    gradient = ("--rule", "model.layers.*=0,1,0.5", "--rule", "*=0.5")
    return [
        Kind("λ = 0.3", ("--lambda", "0.3")),
        Kind("λ = 0.7", ("--lambda", "0.7")),
        Kind("λ = 1.5", ("--lambda", "1.5", "--allow-extrapolation")),
        Kind("λ = 0.3, float32", ("--lambda", "0.3", "--out-dtype", "float32")),
        Kind("λ = 0.3, the base's tokenizer", ("--lambda", "0.3", "--tokenizer-from", "base")),
        Kind("a factor for some", ("--lambda", "0.8", *mlp)),
        Kind("a gradient over layers", ("--lambda", "0.8", *gradient)),
        Kind("chain", ("--lambda", "0.6", *minus)),
        Kind("chain, embeddings skipped", ("--lambda", "0.6", *minus, "--skip", "*embed_tokens*")),
        Kind("chain, skipped by another pattern", ("--lambda", "0.6", *minus, "--skip", "model.embed_token?.*")),
    ]


def main() -> None:
    """Compare, print the table; exit with 1 where something differs by more than rounding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", type=Path, default=PAIR, help="a folder that holds `base` and `instruct`")
    pair = parser.parse_args().pair.resolve()
    print(machine.describe(), end="\n\n")
    print("| merge | tensors | elements | that differ | farthest, ulps |\n|---|---|---|---|---|")
    is_same = True
    with tempfile.TemporaryDirectory(prefix="crossfade-same-") as scratch:
        reference = ours(pair, Path(scratch, "reference"), ("--lambda", "0.4"))
        for number, kind in enumerate(kinds(reference)):
            mine = ours(pair, Path(scratch, f"ours-{number}"), kind.options)
            theirs = peers(mine, Path(scratch, f"theirs-{number}"))
            is_same &= print_row(kind.name, load(pair / "base"), load(mine), load(theirs))
    sys.exit(not is_same)


def ours(pair: Path, out: Path, options: Sequence[str]) -> Path:
    """Merge with `crossfade merge`; return the output's folder."""
    sides = (str(pair / "base"), str(pair / "instruct"))
    run([CLI, "merge", *sides, "--out", str(out), "--output-name", "x", "--json", *options])
    return out / "x"


def peers(mine: Path, out: Path) -> Path:
    """Merge from the file that ours holds, in the folder that its paths begin in."""
    run([str(MERGEKIT), str(mine / "mergekit_config.yml"), str(out)])
    return out


def run(command: Sequence[str]) -> None:
    """Run a command at the root of the file system, the local root of `crossfade merge`."""
    done = subprocess.run(
        command, cwd="/", env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-2000:]}")


def load(folder: Path) -> Tensors:
    """Return every tensor of a checkpoint."""
    tensors: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    return tensors


def print_row(name: str, base: Tensors, mine: Tensors, theirs: Tensors) -> bool:
    """Print one row; return whether the two are the same merge."""
    shapes = [{key: (each.dtype, each.shape) for key, each in side.items()} for side in (mine, theirs)]
    if shapes[0] != shapes[1]:
        strange = [key for key in {*mine, *theirs} if shapes[0].get(key) != shapes[1].get(key)]
        print(f"| {name} | other names, dtypes or shapes: {json.dumps(sorted(strange))} | | | |")
        return False
    differing = sum(int((mine[key] != theirs[key]).sum()) for key in mine)
    farthest = max(_ulps(base[key], mine[key], theirs[key]) for key in mine)
    elements = sum(each.numel() for each in mine.values())
    print(f"| {name} | {len(mine)} | {elements} | {differing} | {farthest:.2g} |", flush=True)
    return farthest <= _MOST_ULPS


def _ulps(base: torch.Tensor, mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference in units of the last place at the larger of the base's value and ours."""
    exact, size = mine.double(), torch.maximum(base.double().abs(), mine.double().abs())
    unit = (
        torch.exp2(torch.floor(torch.log2(size.clamp_min(torch.finfo(mine.dtype).tiny)))) * torch.finfo(mine.dtype).eps
    )
    return float(((exact - theirs.double()).abs() / unit).max())


if __name__ == "__main__":
    main()
