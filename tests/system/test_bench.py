"""The bench runs, and the one of its goals that is no time holds at any size."""

import re
import subprocess
import sys
from pathlib import Path

from tests.bench.sweep_bench import GOALS, MAX_MEMORY_MB, OURS

ROOT = Path(__file__).parents[2]


def test_the_bench_prints_a_ratio_for_each_goal_and_memory_stays_bounded(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.bench.sweep_bench",
        "--size-mb",
        "60",
        "--rounds",
        "1",
        "--folder",
        tmp_path,
    ]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for name in (OURS, *GOALS):
        assert re.search(rf"^{re.escape(name)} +[0-9.]+ s +[0-9.]+ s", printed, re.MULTILINE), printed
    memory = re.search(r"Memory above baseline: ([0-9.]+) MB", printed)
    assert memory is not None
    assert float(memory[1]) <= MAX_MEMORY_MB
    assert list(tmp_path.iterdir()) == [], "the bench removes its scratch"
