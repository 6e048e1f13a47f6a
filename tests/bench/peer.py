"""mergekit, the peer: where the bench target installs it, the recipe that equals ours, its flags.

The recipe computes in bfloat16, which is faster than the float32 that our arithmetic corresponds to, and less exact.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.measured import Run, measure

PROGRAM: Final = Path(__file__).parents[2] / ".bench" / "venv" / "bin" / "mergekit-multi"
"""Put there by install_peer.sh."""

_JEMALLOC: Final = ("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2")


@dataclass(frozen=True)
class Variant:
    """A way to run the peer.

    Attributes:
        name: Its row's name.
        flags: Command line options.
        env: Environment variables.
    """

    name: str
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


DEFAULTS: Final = Variant("mergekit-multi, defaults")


def jemalloc() -> str | None:
    """Return the library's path, where it is installed."""
    return next((path for path in _JEMALLOC if os.path.exists(path)), None)


def best() -> Variant:
    """Return the best flags known; found by `python -m tests.bench.peer_flags`."""
    flags = ("--out-shard-size", "500M", "--async-write", "--lazy-unpickle")
    library = jemalloc()
    return Variant("mergekit-multi, best", flags, {"LD_PRELOAD": library} if library else {})


def write_recipe(file: Path, base: Path, instruct: Path, lambdas: Sequence[float], *, dtype: str = "bfloat16") -> None:
    """Write the merges of every λ as one file of several documents."""
    documents = (
        f"name: lam-{lam}\n"
        "merge_method: task_arithmetic\n"
        f"base_model: {base}\n"
        f"models:\n  - model: {instruct}\n    parameters:\n      weight: {lam}\n"
        "parameters:\n  normalize: false\n"
        f"dtype: {dtype}\nout_dtype: bfloat16\n"
        for lam in lambdas
    )
    file.write_text("---\n".join(documents))


def sweep(variant: Variant, recipe: Path, out: Path, start_seconds: float) -> Run:
    """Run every merge of the recipe into `out`.

    Args:
        variant: How.
        recipe: What `write_recipe` wrote.
        out: A folder that does not exist yet.
        start_seconds: What `start` took: the share of the run that is not work.
    """
    run = measure(PROGRAM, recipe, "--intermediate-dir", out, *variant.flags, env=variant.env)
    return run.with_work(run.whole_seconds - start_seconds)


def start() -> float:
    """Return the seconds that the program needs to load what it imports; the second of two runs."""
    return [measure(PROGRAM, "--help").whole_seconds for _ in range(2)][-1]
