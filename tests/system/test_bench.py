"""The bench runs at a tiny size, and the goals that are no times hold at any."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.contestants import COPY, DIGEST, LOOP, OURS, OURS_FEWER, OURS_MORE, SAMPLED, SYNCED
from tests.bench.report import MEMORY_GOAL_BYTES, WALL_GOALS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def printed(scratch: Path) -> str:
    """What the bench prints on two cores at most: with them grow the threads, and so the memory, and the limit."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    command = ["taskset", "--cpu-list", cores]
    command += [sys.executable, "-m", "tests.bench.sweep_bench", "--size", "40", "--rounds", "1", "--peer-rounds", "0"]
    return subprocess.run(
        [*command, "--folder", scratch], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def cells(printed: str, first: str) -> list[str]:
    """The cells of the row that begins with `first`."""
    row = next(line for line in printed.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("name", [OURS, SAMPLED, COPY, SYNCED, LOOP, OURS_FEWER, OURS_MORE, DIGEST])
def test_every_contestant_has_a_row_with_its_wall_clocks(printed: str, name: str) -> None:
    row = cells(printed, f"{name} |")
    whole, work = (float(re.fullmatch(r"([0-9.]+) s \([0-9.]+\)", cell)[1]) for cell in row[2:4])
    assert 0 < work <= whole


@pytest.mark.parametrize("name", [COPY, LOOP])
def test_a_ratio_stands_beside_its_goal_and_the_verdict(printed: str, name: str) -> None:
    ratio, goal, verdict = (cells(printed, f"{name} |")[number] for number in (6, 8, 9))
    assert goal == f"≤ {WALL_GOALS[name]:g}"
    assert verdict == ("met" if float(ratio) <= WALL_GOALS[name] else "MISSED")


def test_the_memory_above_the_baseline_stays_within_the_goal_for_every_number_of_lambdas(printed: str) -> None:
    found = cells(printed, "memory above")[1]
    above = {int(lambdas): float(mb) for mb, lambdas in re.findall(r"([0-9.]+) \(\d+ MB, (\d+) λ\)", found)}
    assert set(above) == {1, 5, 11}
    assert max(above.values()) <= MEMORY_GOAL_BYTES / 1e6


def test_every_byte_of_every_tensor_is_read_exactly_once(printed: str) -> None:
    row = cells(printed, "bytes of tensors read, sharded alike")
    read, there = row[1].split(" of ")
    assert read == there
    assert row[3] == "met"


def test_the_distance_to_the_limit_is_a_share_of_our_wall(printed: str) -> None:
    row = cells(printed, "limit: SHA-256 on all cores")
    whole, work = (int(share) for share in re.findall(r"([0-9]+)%", row[1]))
    assert 0 < whole <= work < 100


def test_the_scratch_is_removed(printed: str, scratch: Path) -> None:
    assert list(scratch.iterdir()) == []
