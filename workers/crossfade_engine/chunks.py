"""Cut one output file into fixed byte ranges, and say for each which pieces of which tensors fill it.

A chunk is a range of the *output* file, so every λ hashes and writes whole aligned blocks, and small tensors share one.
Chunk borders never reach the arithmetic: it is element by element.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.plan import ByteRange, PlanRow, ShardPlan


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one tensor in one chunk.

    Attributes:
        row: The tensor.
        first: Index of the piece's first element in the tensor.
        elements: How many elements.
        offset: Where the piece begins in the chunk, in bytes.
        size_bytes: Its bytes in the output.
    """

    row: PlanRow
    first: int
    elements: int
    offset: int
    size_bytes: int

    def source_range(self, side: ByteRange) -> tuple[int, int]:
        """Return the piece's absolute (start, end) bytes in a parent's file."""
        itemsize = DTYPE_BITS[side.dtype] // 8
        start = side.start + self.first * itemsize
        return start, start + self.elements * itemsize


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes `start` to `start + size_bytes` of the output file; `header` are those that belong to the file's header."""

    index: int
    size_bytes: int
    header: bytes
    segments: tuple[Segment, ...]


def count_chunks(shard: ShardPlan, chunk_bytes: int) -> int:
    """Return how many chunks `iter_chunks` gives; at least one, for the header."""
    return -(-shard.size_bytes // chunk_bytes)


def iter_chunks(shard: ShardPlan, chunk_bytes: int) -> Iterator[Chunk]:
    """Cut a shard's file into chunks of `chunk_bytes` (a multiple of 8), the last one shorter.

    Holds one chunk at a time; the rows must lie back to back, as the plan places them.
    """
    header, size_bytes, position = shard.header, shard.size_bytes, 0
    for index, start in enumerate(range(0, size_bytes, chunk_bytes)):
        end = min(start + chunk_bytes, size_bytes)
        segments = []
        while position < len(shard.rows) and shard.rows[position].start < end:
            row = shard.rows[position]
            if row.end > max(start, row.start):
                segments.append(_cut(row, start, end))
            if row.end > end:
                break
            position += 1
        yield Chunk(index, end - start, header[start:end], tuple(segments))


def _cut(row: PlanRow, start: int, end: int) -> Segment:
    """Wide dtypes come first and the header's length is a multiple of 8, so a border never splits an element."""
    itemsize = DTYPE_BITS[row.out_dtype] // 8
    begin, stop = max(row.start, start), min(row.end, end)
    return Segment(row, (begin - row.start) // itemsize, (stop - begin) // itemsize, begin - start, stop - begin)
