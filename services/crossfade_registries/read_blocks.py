"""The blocks that expected bytes are cut into: which bytes each holds, and which of them are still to be read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from crossfade_core.ports import Span

_NOWHERE = memoryview(b"")


@dataclass(eq=False)
class Block:
    """Bytes `start` to `end` (not included) of a file.

    Attributes:
        unread: Of them, in order, those that nobody has read yet.
        memory: Where they are or are coming; empty unless the block holds some.
        is_fetched: Whether fetching ended, be it with an error.
        error: What it ended with.
        readers: How many threads copy from it.
    """

    file: str
    start: int
    end: int
    unread: list[tuple[int, int]] = field(default_factory=list)
    memory: memoryview = _NOWHERE
    is_fetched: bool = False
    error: BaseException | None = None
    readers: int = 0

    @property
    def target(self) -> memoryview:
        """The part of its memory that the block fills."""
        return self.memory[: self.end - self.start]

    def mark_read(self, start: int, end: int) -> None:
        """Take these bytes off what is unread."""
        sides = [side for left, right in self.unread for side in ((left, min(right, start)), (max(left, end), right))]
        self.unread = [(left, right) for left, right in sides if left < right]

    def release(self) -> memoryview:
        """Return the memory, which the block has no more."""
        memory, self.memory = self.memory, _NOWHERE
        return memory


def new_block(file: str, start: int, end: int) -> Block:
    """Return a block that is all unread."""
    return Block(file, start, end, [(start, end)])


def cut(spans: Sequence[Span], block_bytes: int) -> Iterator[Block]:
    """Yield what `spans` cover in blocks of at most `block_bytes`, joined where one goes on where the last ended."""
    for file, start, end in _joined(spans):
        for at in range(start, end, block_bytes):
            yield new_block(file, at, min(at + block_bytes, end))


def without(block: Block, start: int, end: int) -> list[Block]:
    """Return what is left of a block that is not begun when these bytes are taken out."""
    sides = (block.start, start), (end, block.end)
    return [new_block(block.file, left, right) for left, right in sides if left < right]


def find(blocks: Iterable[Block], file: str, position: int) -> Block | None:
    """Return the first block that holds the byte at `position`."""
    return next((block for block in blocks if block.file == file and block.start <= position < block.end), None)


def next_start(blocks: Iterable[Block], file: str, position: int) -> int | None:
    """Return where the first block after `position` begins."""
    return min((block.start for block in blocks if block.file == file and block.start > position), default=None)


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for file, start, end in spans:
        if joined and joined[-1][0] == file and joined[-1][2] == start:
            joined[-1] = (file, joined[-1][1], end)
        elif start < end:
            joined.append((file, start, end))
    return joined
