"""Memory does not grow with tensor, shard or model: a pass stays within its budget, whatever the dtypes."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
slow = partial(pytest.param, marks=pytest.mark.slow)


def growth_of(*arguments: object) -> list[int]:
    """Return the rise in bytes for each size, measured in a fresh process."""
    command = [sys.executable, "-m", "tests.engine.peak_memory", *map(str, arguments)]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    ("kind", "dtype", "out_dtype", "rounding", "sizes_mib"),
    [
        ("pair", "BF16", "auto", "nearest", (64, 192)),
        slow("pair", "F64", "bfloat16", "nearest", (64, 192)),
        slow("pair", "BF16", "float32", "nearest", (24, 64)),
        slow("pair", "BF16", "auto", "stochastic", (24, 64)),
        slow("chain", "BF16", "auto", "nearest", (24, 64)),
        slow("fp8", "F8_E4M3", "auto", "nearest", (12, 32)),
        slow("lora", "BF16", "auto", "nearest", (24, 64)),
        slow("dora", "F32", "bfloat16", "stochastic", (32, 96)),
    ],
)
def test_eleven_lambdas_take_less_than_64_mib_whatever_the_size(kind, dtype, out_dtype, rounding, sizes_mib):
    """The first pass, not looked at, brings in what torch loads late; the allocator's own play is a few MiB."""
    _, small, large = growth_of(kind, dtype, out_dtype, rounding, 2, 16, *sizes_mib)
    assert large < 64 * MIB
    assert large < small + 12 * MIB
