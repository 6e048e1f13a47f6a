"""Cut one output file into fixed byte ranges, and say for each which pieces of which tensors fill it.

A chunk is a range of the *output* file, so every λ hashes and writes whole aligned blocks, and small tensors share one.
Chunk borders never reach the arithmetic: it is element by element.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from crossfade_core.checkpoint import DTYPE_BITS
from crossfade_core.plan import ROLES, Action, ByteRange, PlanRow, ShardPlan
from crossfade_core.ports import Span
from crossfade_core.spec import Role


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one tensor in one chunk.

    Attributes:
        row: The tensor.
        action: What happens to this piece: the row's action, or for rows that one parent alone has, a copy.
        first: Index of the piece's first element in the tensor.
        elements: How many elements.
        offset: Where the piece begins in the chunk, in bytes.
        size_bytes: Its bytes in the output.
    """

    row: PlanRow
    action: Action
    first: int
    elements: int
    offset: int
    size_bytes: int

    def side(self, role: Role) -> ByteRange | None:
        """Return the parent's tensor if this piece reads it."""
        return self.row.side(role) if reads(self.action, role) else None

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


def reads(action: Action, role: Role) -> bool:
    """Whether an action reads a parent."""
    match action:
        case Action.COPY_BASE:
            return role == "base"
        case Action.COPY_INSTRUCT:
            return role == "instruct"
        case Action.COPY_EQUAL:
            return role in ("base", "instruct")
        case Action.INTERPOLATE:
            return True
        case _:
            return False


def parts(row: PlanRow) -> list[tuple[Action, int, int]]:
    """Return (action, first element, end element) of what happens to a tensor from its first element to its last."""
    if row.shared_elements is None or row.shared_elements == row.elements:
        return [(row.action, 0, row.elements)]
    is_bases = row.base is not None and (row.base.end - row.base.start) * 8 == row.elements * DTYPE_BITS[row.base.dtype]
    rest = Action.COPY_BASE if is_bases else Action.COPY_INSTRUCT
    return [(row.action, 0, row.shared_elements), (rest, row.shared_elements, row.elements)]


def reads_of(shard: ShardPlan) -> Iterator[tuple[Role, Span]]:
    """Yield what a pass over a shard reads of each parent into its slots, tensor by tensor in the pass's order."""
    for row in shard.rows:
        yield from _reads_of_row(row)


def expected_reads(shard: ShardPlan) -> dict[Role, list[Span]]:
    """Return, by role, all that a pass is sure to read, in order: `reads_of`, and what numbers are formed with."""
    found: dict[Role, list[Span]] = {role: [] for role in ROLES}
    for row in shard.rows:
        for role in ROLES:
            side = row.side(role)
            if side is not None and side.scales is not None:
                found[role].append((side.scales.file, side.scales.start, side.scales.end))
        if row.delta is not None:
            factors = (row.delta.magnitude, row.delta.down, row.delta.up)
            found["instruct"] += [(part.file, part.start, part.end) for part in factors if part is not None]
        for role, span in _reads_of_row(row):
            found[role].append(span)
    return found


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
        segments: list[Segment] = []
        while position < len(shard.rows) and shard.rows[position].start < end:
            row = shard.rows[position]
            if row.end > max(start, row.start):
                segments.extend(_cut(row, start, end))
            if row.end > end:
                break
            position += 1
        yield Chunk(index, end - start, header[start:end], tuple(segments))


def _reads_of_row(row: PlanRow) -> Iterator[tuple[Role, Span]]:
    for action, first, end in parts(row):
        segment = Segment(row, action, first, end - first, 0, 0)
        for role in ROLES:
            side = segment.side(role)
            if side is not None and end > first:
                yield role, (side.file, *segment.source_range(side))


def _cut(row: PlanRow, start: int, end: int) -> Iterator[Segment]:
    """Wide dtypes come first and the header's length is a multiple of 8, so a border never splits an element."""
    itemsize = DTYPE_BITS[row.out_dtype] // 8
    begin, stop = (max(row.start, start) - row.start) // itemsize, (min(row.end, end) - row.start) // itemsize
    for action, first, after in parts(row):
        low, high = max(begin, first), min(stop, after)
        if high > low:
            offset = row.start + low * itemsize - start
            yield Segment(row, action, low, high - low, offset, (high - low) * itemsize)
