"""What each step of the pass costs one core for a chunk of outputs, alone and warm: where the time goes.

`python -m tests.bench.step_costs` prints the table, in milliseconds for 1 MiB of bf16, CPU time of this thread. The
steps are the calls the engine makes, on buffers of its chunk size that are used again and again. Writes are measured to
a file of 1 GiB; their wall clock is shown as well, as that is what a thread waits.
"""

import argparse
import hashlib
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch

from tests.bench import machine

CHUNK_BYTES: Final = 1 << 20
ELEMENTS: Final = CHUNK_BYTES // 2
SUM_ELEMENTS: Final = 1 << 16
"""Statistics are summed in blocks of this size (`crossfade_engine.tally`)."""
FILE_CHUNKS: Final = 1024


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to put scratch")
    parser.add_argument("--repeats", type=int, default=FILE_CHUNKS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine.describe(), end="\n\n")
    print("| step | paid | CPU, ms | wall, ms |\n|---|---|---|---|")
    for name, paid, step in [*_arithmetic(), *_sums()]:
        _print(name, paid, step, options.repeats)
    with tempfile.TemporaryDirectory(prefix="crossfade-steps-", dir=options.folder) as scratch:
        for name, paid, step in _files(Path(scratch, "file"), options.repeats):
            _print(name, paid, step, options.repeats)


Steps = list[tuple[str, str, Callable[[int], object]]]


def _room(elements: int = ELEMENTS) -> torch.Tensor:
    room = torch.frombuffer(mmap.mmap(-1, 2 * elements), dtype=torch.bfloat16)
    return room.copy_(torch.randn(elements) * 0.02)


def _arithmetic() -> Steps:
    base, instruct, out, digest = _room(), _room(), _room(), hashlib.sha256()
    made = out.view(torch.uint8).numpy().data
    return [
        ("SHA-256", "each output, each input", lambda _: digest.update(made)),
        ("`torch.lerp`", "each output", lambda _: torch.lerp(base, instruct, 0.3, out=out)),
        ("is everything finite (`aminmax`)", "each input", lambda _: torch.aminmax(base)),
    ]


def _sums() -> Steps:
    base, out = _room(), _room()
    base_f32, delta_f32, step_f32 = base.float(), base.float() * 0.05, torch.empty(SUM_ELEMENTS)

    def of_output(_: int) -> None:
        for low in range(0, ELEMENTS, SUM_ELEMENTS):
            high = low + SUM_ELEMENTS
            np.count_nonzero(out[low:high].view(torch.int16).numpy() != base[low:high].view(torch.int16).numpy())
            step = step_f32.copy_(out[low:high]).sub_(base_f32[low:high])
            float(torch.dot(step, delta_f32[low:high]))
            float(torch.dot(step, step))

    def of_parents(_: int) -> None:
        for low in range(0, ELEMENTS, SUM_ELEMENTS):
            high = low + SUM_ELEMENTS
            widened = base_f32[low:high].copy_(base[low:high])
            float(torch.dot(widened, widened))
            delta = delta_f32[low:high].copy_(out[low:high]).sub_(widened)
            float(torch.dot(delta, delta))

    return [
        ("statistics of an output, exact", "each output", of_output),
        ("statistics of the parents, exact", "once", of_parents),
    ]


def _files(file: Path, chunks: int) -> Steps:
    buffer = memoryview(mmap.mmap(-1, CHUNK_BYTES))
    direct = os.open(file.with_suffix(".direct"), os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    buffered = os.open(file, os.O_RDWR | os.O_CREAT)

    def write_synced(number: int) -> None:
        os.pwrite(buffered, buffer, number * CHUNK_BYTES)
        if number == chunks - 1:
            os.fsync(buffered)

    return [
        ("write, O_DIRECT", "each output", lambda number: os.pwrite(direct, buffer, number * CHUNK_BYTES)),
        ("write, page cache + fsync", "instead", write_synced),
        ("read from the page cache", "each input", lambda number: os.preadv(buffered, [buffer], number * CHUNK_BYTES)),
    ]


def _print(name: str, paid: str, step: Callable[[int], object], repeats: int) -> None:
    """Take the median of five goes; in the CPU figure are this thread's user and system time."""
    walls, cpus = [], []
    for _ in range(5):
        started, before = time.perf_counter(), time.thread_time()
        for number in range(repeats):
            step(number)
        walls.append((time.perf_counter() - started) / repeats * 1000)
        cpus.append((time.thread_time() - before) / repeats * 1000)
    print(f"| {name} | {paid} | {statistics.median(cpus):.3f} | {statistics.median(walls):.3f} |", flush=True)


if __name__ == "__main__":
    main()
