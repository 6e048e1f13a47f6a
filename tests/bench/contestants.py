"""Who is measured: our command in its modes, and what the same outputs cost by other means.

`cp` is given the easiest case there is: it copies one parent, warm, once for each λ, so that its 11 GB come from 2.2 GB
of cache. All but ours leave their bytes in the page cache, not on the disk; "the same + sync" puts them there as well.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench import peer
from tests.bench.measured import Run, measure, one_after_the_other

CLI: Final = str(Path(sys.executable).with_name("crossfade"))
LAMBDAS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
FEWER, MORE = 3, 8
"""λ of the two sweeps whose difference is the price of one more."""

OURS: Final = "crossfade merge"
SAMPLED: Final = "crossfade merge --statistics sampled"
_CHEAP: Final = ("--statistics", "sampled")
COPY: Final = "cp + openssl dgst"
SYNCED: Final = "the same + sync"
LOOP: Final = "plain safetensors loop + hash"
OURS_FEWER, OURS_MORE = f"the same, {FEWER} λ", f"the same, {MORE} λ"
DIGEST: Final = "openssl dgst of one output"


@dataclass
class Bench:
    """One pair, a place for outputs, and every figure our command gave of itself.

    Attributes:
        base, instruct: The parents.
        out: Where every contestant puts its outputs; removed after each.
        figures: What `--json` said of each of our runs, in order, with the number of λ.
    """

    base: Path
    instruct: Path
    out: Path
    figures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def parents(self) -> list[Path]:
        """Every file of weights, in order, the base's first."""
        return [file for side in (self.base, self.instruct) for file in sorted(side.glob("*.safetensors"))]

    @property
    def model_bytes(self) -> int:
        """Bytes of weights of one parent, and of one output."""
        return sum(file.stat().st_size for file in self.base.glob("*.safetensors"))

    def ours(self, lambdas: Sequence[float] = LAMBDAS, *options: str) -> Run:
        """Sweep with `crossfade merge`."""
        listed = ",".join(map(str, lambdas))
        run = measure(CLI, "merge", self.base, self.instruct, "--lambda", listed, "--out", self.out, "--json", *options)
        self.figures.append({**json.loads(run.printed), "lambdas": len(lambdas)})
        return run.with_work(self.figures[-1]["seconds"])

    def copy(self) -> Run:
        """Copy one parent for every λ, then hash the copies."""
        self.out.mkdir()
        copies = [measure("cp", "-r", self.base, self.out / str(lam)) for lam in LAMBDAS]
        return one_after_the_other(*copies, measure("openssl", "dgst", "-sha256", *self._shards()))

    def copy_synced(self) -> Run:
        """The same, then see that it is on the disk, as ours is when it is done."""
        return one_after_the_other(self.copy(), measure("sync", *self._shards()))

    def loop(self) -> Run:
        """Merge as people do in a notebook."""
        run = measure(
            sys.executable, "-m", "tests.bench.plain_loop", self.base, self.instruct, self.out, *map(str, LAMBDAS)
        )
        return run.with_work(float(run.printed))

    def digest(self) -> Run:
        """Hash as many bytes as one output has, warm."""
        return measure("openssl", "dgst", "-sha256", *self.base.glob("*.safetensors"))

    def _shards(self) -> list[Path]:
        return sorted(self.out.glob("*/*.safetensors"))


@dataclass(frozen=True)
class Contestant:
    """One row of the table: its name, how to run it, and in how many rounds at most."""

    name: str
    run: Callable[[], Run]
    rounds: int | None = None


def contestants(bench: Bench, recipe: Path, peer_rounds: int) -> list[Contestant]:
    """Return everyone that can run here, in the order of the first round.

    Args:
        bench: The pair.
        recipe: Where to write the peer's recipe.
        peer_rounds: In how many rounds the peer takes part; 0 leaves it out, as does a missing installation.
    """
    found = [
        Contestant(OURS, bench.ours),
        Contestant(SAMPLED, lambda: bench.ours(LAMBDAS, *_CHEAP)),
        Contestant(OURS_FEWER, lambda: bench.ours(inner_lambdas(FEWER), *_CHEAP)),
        Contestant(OURS_MORE, lambda: bench.ours(inner_lambdas(MORE), *_CHEAP)),
        Contestant(COPY, bench.copy),
        Contestant(SYNCED, bench.copy_synced),
        Contestant(LOOP, bench.loop),
        Contestant(DIGEST, bench.digest),
    ]
    if peer_rounds and peer.PROGRAM.exists():
        found += _peers(bench, recipe, peer_rounds)
    return found


def inner_lambdas(count: int) -> list[float]:
    """Return `count` strengths between 0 and 1, both left out: those would be copied."""
    return [round((number + 1) / (count + 1), 4) for number in range(count)]


def _peers(bench: Bench, recipe: Path, rounds: int) -> list[Contestant]:
    peer.write_recipe(recipe, bench.base, bench.instruct, LAMBDAS)
    start_seconds = peer.start()

    def sweep(variant: peer.Variant) -> Callable[[], Run]:
        return lambda: peer.sweep(variant, recipe, bench.out, start_seconds)

    return [Contestant(variant.name, sweep(variant), rounds) for variant in (peer.DEFAULTS, peer.best())]
