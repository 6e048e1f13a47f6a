"""The bench's tables, in Markdown: what was measured, against which goal, met or missed. Measures nothing itself.

Ratios are of medians; the best is shown beside because page-cache writers have two humps here: memory that a virtual
machine has given back to its host is slow to touch again.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench import contestants as who
from tests.bench import peer
from tests.bench.measured import Run

Runs = Mapping[str, Sequence[Run]]

WALL_GOALS: Final = {
    who.COPY: 0.6,
    who.LOOP: 0.3,
    peer.DEFAULTS.name: 1 / 8,
    peer.best().name: 1 / 4,
}
CPU_GOAL: Final = 1 / 4
MEMORY_GOAL_BYTES: Final = 64_000_000
ONE_MORE_GOAL: Final = 1.1


@dataclass(frozen=True)
class Counted:
    """What `counted_merge` found on one pair.

    Attributes:
        pair: Which pair, in words.
        file_bytes: Of all files of both parents.
        tensor_bytes: Of all their tensors.
        tensor_bytes_read: Bytes of tensors asked of the sources.
        tensor_bytes_covered: Different bytes among those.
        kernel_bytes: All that the process read after its imports, whatever from.
    """

    pair: str
    file_bytes: int
    tensor_bytes: int
    tensor_bytes_read: int
    tensor_bytes_covered: int
    kernel_bytes: int

    @property
    def is_exact(self) -> bool:
        """Whether every byte of every tensor was read once and none twice."""
        return self.tensor_bytes == self.tensor_bytes_read == self.tensor_bytes_covered


@dataclass(frozen=True)
class Memory:
    """Bytes above the process's own baseline at the end of one of our sweeps."""

    model_bytes: int
    lambdas: int
    above_baseline_bytes: int


@dataclass(frozen=True)
class Found:
    """All that the report is made of.

    Attributes:
        runs: Every run of every contestant.
        memory: Ours, of every size and number of λ.
        counted: Bytes read, for each pair looked at.
        sha256_rates: Bytes a second of this machine's cores together, measured once a round.
        write_rates: Bytes a second with O_DIRECT, measured once a round; empty where there is no such thing.
        model_bytes: Weights of one parent, and of one output.
    """

    runs: Runs
    memory: Sequence[Memory]
    counted: Sequence[Counted]
    sha256_rates: Sequence[float]
    write_rates: Sequence[float]
    model_bytes: int


def report(found: Found) -> str:
    """Return both tables and the verdict."""
    verdicts: list[bool] = []
    lines = [*_sweeps(found.runs, verdicts), "", "| | found | goal | |", "|---|---|---|---|"]
    lines += _cpu(found.runs, verdicts)
    lines += _memory(found.memory, verdicts)
    lines += _bytes_read(found.counted, verdicts)
    lines += _one_more(found.runs, verdicts)
    lines += _exact(found.runs)
    lines += _limits(found)
    missed = verdicts.count(False)
    return "\n".join([*lines, "", f"{missed} of {len(verdicts)} goals missed" if missed else "every goal was met"])


def _sweeps(runs: Runs, verdicts: list[bool]) -> list[str]:
    lines = [
        "| five λ | rounds | whole: median (best) | work: median (best) | CPU | peak RSS | ours / it: whole | work "
        "| goal | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, taken in runs.items():
        row = [name, str(len(taken)), _seconds(taken, "whole_seconds"), _seconds(taken, "work_seconds")]
        row += [f"{_median(taken, 'cpu_seconds'):.1f} s", f"{max(run.peak_bytes for run in taken) / 1e6:.0f} MB"]
        if name in (who.COPY, who.SYNCED, who.LOOP, peer.DEFAULTS.name, peer.best().name):
            whole, work = (_ratio(runs, name, field) for field in ("whole_seconds", "work_seconds"))
            goal = WALL_GOALS.get(name)
            row += [f"{whole:.3f}", f"{work:.3f}", *_verdict(whole, goal, verdicts)]
        else:
            row += [""] * 4
        lines.append(_row(row))
    return lines


def _cpu(runs: Runs, verdicts: list[bool]) -> list[str]:
    name = peer.best().name
    if name not in runs:
        return []
    ratio = _ratio(runs, name, "cpu_seconds")
    return [_row([f"CPU seconds / those of {name}", f"{ratio:.3f}", *_verdict(ratio, CPU_GOAL, verdicts)])]


def _memory(memory: Sequence[Memory], verdicts: list[bool]) -> list[str]:
    is_met = all(seen.above_baseline_bytes <= MEMORY_GOAL_BYTES for seen in memory)
    verdicts.append(is_met)
    largest: dict[tuple[int, int], int] = {}
    for seen in memory:
        key = seen.model_bytes, seen.lambdas
        largest[key] = max(largest.get(key, 0), seen.above_baseline_bytes)
    listed = ", ".join(
        f"{above / 1e6:.1f} ({size / 1e6:.0f} MB, {lambdas} λ)" for (size, lambdas), above in sorted(largest.items())
    )
    goal = f"≤ {MEMORY_GOAL_BYTES / 1e6:.0f}"
    return [_row(["memory above the process's baseline, MB", listed, goal, _word(is_met=is_met)])]


def _bytes_read(counted: Sequence[Counted], verdicts: list[bool]) -> list[str]:
    lines = []
    for seen in counted:
        verdicts.append(seen.is_exact)
        found = f"{seen.tensor_bytes_read:,} of {seen.tensor_bytes:,}"
        if seen.tensor_bytes_covered != seen.tensor_bytes_read:
            found += f" ({seen.tensor_bytes_covered:,} different ones)"
        lines.append(
            _row([f"bytes of tensors read, {seen.pair}", found, "each once", _word(is_met=seen.is_exact)]),
        )
        more = f"{seen.kernel_bytes - seen.file_bytes:+,}"
        lines.append(_row(["all reads of the process beyond both folders' files", more, "", ""]))
    return lines


def _one_more(runs: Runs, verdicts: list[bool]) -> list[str]:
    steps = who.MORE - who.FEWER
    slopes = [
        (more.whole_seconds - fewer.whole_seconds) / steps
        for fewer, more in zip(runs[who.OURS_FEWER], runs[who.OURS_MORE], strict=True)
    ]
    slope, digest = statistics.median(slopes), _median(runs[who.DIGEST], "whole_seconds")
    found = f"{slope / digest:.2f} ({slope:.2f} s / {digest:.2f} s)"
    return [_row(["one λ more / `openssl dgst` of it", found, *_verdict(slope / digest, ONE_MORE_GOAL, verdicts)])]


def _exact(runs: Runs) -> list[str]:
    """What the default, statistics over every element, costs against one block in sixteen."""
    wall, cpu = (1 / _ratio(runs, who.OURS, field) for field in ("whole_seconds", "cpu_seconds"))
    return [_row(["exact statistics against sampled ones", f"{wall:.2f} in wall, {cpu:.2f} in CPU", "", ""])]


def _limits(found: Found) -> list[str]:
    ours, written_bytes = found.runs[who.SAMPLED], found.model_bytes * len(who.LAMBDAS)
    lines = _limit("SHA-256 on all cores", written_bytes + 2 * found.model_bytes, found.sha256_rates, ours)
    if found.write_rates:
        lines += _limit("writing alone, O_DIRECT", written_bytes, found.write_rates, ours)
    return lines


def _limit(name: str, size_bytes: int, rates: Sequence[float], ours: Sequence[Run]) -> list[str]:
    rate = statistics.median(rates)
    whole, work = (size_bytes / rate / _median(ours, field) for field in ("whole_seconds", "work_seconds"))
    found = f"{size_bytes / rate:.2f} s: {whole:.0%} of our wall, {work:.0%} of the work"
    return [_row([f"limit: {name}, {size_bytes / 1e9:.1f} GB at {rate / 1e9:.2f} GB/s", found, "", ""])]


def _verdict(ratio: float, goal: float | None, verdicts: list[bool]) -> list[str]:
    if goal is None:
        return ["", ""]
    verdicts.append(ratio <= goal)
    return [f"≤ {goal:g}", _word(is_met=ratio <= goal)]


def _word(*, is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def _ratio(runs: Runs, name: str, field: str) -> float:
    """Ours, asked to be cheap, over another: what the goals of time are for."""
    return _median(runs[who.SAMPLED], field) / _median(runs[name], field)


def _median(taken: Sequence[Run], field: str) -> float:
    return float(statistics.median(getattr(run, field) for run in taken))


def _seconds(taken: Sequence[Run], field: str) -> str:
    return f"{_median(taken, field):.2f} s ({min(getattr(run, field) for run in taken):.2f})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
