"""The process behind `crossfade merge`, with every byte it reads of a parent counted.

Twice over: at the seam, where each read names its file and range, so that "once" can be told from "as many bytes"; and
by the kernel (rchar of proc(5)), which no code can walk around but with mmap. Usage: counted_merge.py COUNTS, with the
job on standard input; COUNTS is the JSON file to write.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

from crossfade_core.checkpoint import LENGTH_BYTES
from crossfade_registries.local.source import LocalSource
from crossfade_worker import local_merge

Reads = dict[tuple[str, str], list[tuple[int, int]]]


def main() -> int:
    """Run the merge, write the counts; return the merge's exit status."""
    reads: Reads = defaultdict(list)
    headers: dict[tuple[str, str], int] = {}
    read_into = LocalSource.read_into

    def counting(source: LocalSource, file: str, offset: int, buffer: memoryview) -> None:
        read_into(source, file, offset, buffer)
        reads[source.uri, file].append((offset, offset + len(buffer)))
        if offset == 0 and file.endswith(".safetensors"):
            headers[source.uri, file] = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "little")

    before = _kernel_bytes()
    with mock.patch.object(LocalSource, "read_into", counting):
        status = local_merge.main()
    kernel_bytes = _kernel_bytes() - before
    weights = [[(max(start, headers[key]), end) for start, end in reads[key] if end > headers[key]] for key in headers]
    counts = {
        "kernel_bytes": kernel_bytes,
        "tensor_bytes_read": sum(end - start for ranges in weights for start, end in ranges),
        "tensor_bytes_covered": sum(_covered(ranges) for ranges in weights),
    }
    Path(sys.argv[1]).write_text(json.dumps(counts))
    return status


def _kernel_bytes() -> int:
    """Bytes this process has got from read calls of any kind, cached or not."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


def _covered(ranges: Iterable[tuple[int, int]]) -> int:
    covered = reached = 0
    for start, end in sorted(ranges):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered


if __name__ == "__main__":
    sys.exit(main())
