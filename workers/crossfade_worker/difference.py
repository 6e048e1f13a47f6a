"""Say of the first byte that differs which tensor it is in, which element, and what the two values are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from crossfade_core.checkpoint import DTYPE_BITS, TensorEntry
from crossfade_core.errors import CheckpointError
from crossfade_core.plan import PlanRow, ShardPlan
from crossfade_core.ports import FileInfo, Source
from crossfade_engine.dtypes import TORCH_DTYPE
from crossfade_registries.reading import read_header
from crossfade_worker.comparing import OtherBytes

NOT_PUBLISHED: Final = "it is made by the merge and not among the published files"


@dataclass(frozen=True)
class Difference:
    """The first difference of an output from what was rebuilt.

    Attributes:
        file: Its file.
        reason: What differs, in words.
        tensor: The tensor, where it is one's.
        dtype: The tensor's, as rebuilt.
        shape: The tensor's, as rebuilt.
        element: Index of the first element that differs, counted row by row.
        published: That element as published: its number where it is one, and its bytes in hex.
        rebuilt: The same as rebuilt.
    """

    file: str
    reason: str
    tensor: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    element: int | None = None
    published: str | None = None
    rebuilt: str | None = None

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def locate(found: OtherBytes, shard: ShardPlan, published: Source) -> Difference:
    """Name the tensor and the element of a difference in a shard.

    Args:
        found: The difference.
        shard: The shard as it was planned anew.
        published: The output.

    Raises:
        SourceError: The output cannot be read.
    """
    if found.offset is None or found.offset < len(shard.header):
        return _in_header(shard, published)
    row = next(row for row in shard.rows if row.start <= found.offset < row.end)
    bits = DTYPE_BITS[row.out_dtype]
    element = (found.offset - row.start) * 8 // bits
    start = row.start + element * bits // 8 - found.start
    end = start + max(bits // 8, 1)
    values = [_value(row.out_dtype, held[start:end]) for held in (found.published, found.rebuilt)]
    return _of_tensor(
        row,
        shard.file,
        f"tensor {row.name!r}, {row.out_dtype} {list(row.shape)}, element {element}: "
        f"{values[0]} published, {values[1]} rebuilt",
        element=element,
        published=values[0],
        rebuilt=values[1],
    )


def _in_header(shard: ShardPlan, published: Source) -> Difference:
    files: Mapping[str, FileInfo] = published.files()
    if shard.file not in files:
        return Difference(shard.file, NOT_PUBLISHED)
    try:
        header = read_header(published, files[shard.file])
    except CheckpointError as error:
        return Difference(shard.file, f"its header cannot be read: {error.message}")
    held = {tensor.name: tensor for tensor in header.tensors}
    for row in shard.rows:
        tensor = held.pop(row.name, None)
        if tensor is None:
            return _of_tensor(row, shard.file, f"tensor {row.name!r} is rebuilt and not in the published header")
        if (tensor.dtype, tensor.shape, tensor.start, tensor.end) != (row.out_dtype, row.shape, row.start, row.end):
            return _of_tensor(
                row,
                shard.file,
                f"tensor {row.name!r} is {_place(tensor)} in the published header, {row.out_dtype} {list(row.shape)} "
                f"at bytes {row.start} to {row.end} as rebuilt",
            )
    more = f"holds tensor {next(iter(held))!r}, which is not rebuilt" if held else "is spelt otherwise, or has metadata"
    return Difference(shard.file, f"its published header {more}")


def _place(tensor: TensorEntry) -> str:
    return f"{tensor.dtype} {list(tensor.shape)} at bytes {tensor.start} to {tensor.end}"


def _of_tensor(row: PlanRow, file: str, reason: str, **element: Any) -> Difference:  # noqa: ANN401 (the fields' own)
    return Difference(file, reason, tensor=row.name, dtype=row.out_dtype, shape=row.shape, **element)


def _value(dtype: str, raw: bytes) -> str:
    if dtype not in TORCH_DTYPE:
        return f"0x{raw[::-1].hex()}"
    number = torch.frombuffer(bytearray(raw), dtype=TORCH_DTYPE[dtype]).item()
    return f"{number!r} (0x{raw[::-1].hex()})"
