"""Read safetensors headers and indexes, torch-free, and refuse every malformation by its own error.

Format: https://github.com/huggingface/safetensors#format : 8 bytes little-endian header length N, N bytes of JSON
(may be padded with spaces), then the tensors back to back. The reference parser accepts duplicate keys and never looks
at an index; loaders follow file names such as `../../x`. This one refuses both. Never opens a file: bytes come in,
records go out. Time, memory and messages stay in proportion to the bytes given, whatever they hold.
"""

import math
import posixpath
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from crossfade_core.errors import (
    BadOffset,
    DataTruncated,
    HeaderMalformed,
    HeaderTooLarge,
    HeaderTruncated,
    IndexMalformed,
    IndexMissingFile,
    IndexMissingTensor,
    IndexUnsafePath,
    NoCheckpoint,
    ShapeMismatch,
    TensorHole,
    TensorNotIndexed,
    TensorOverlap,
    TrailingData,
    UnknownDtype,
)
from crossfade_core.untrusted_json import are_whole, check_names, load_object, shown

INDEX_FILE: Final = "model.safetensors.index.json"
SINGLE_FILE: Final = "model.safetensors"
LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 100_000_000
"""The format's own limit (safetensors/src/tensor.rs, MAX_HEADER_SIZE)."""

DTYPE_BITS: Final[dict[str, int]] = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits per element of every dtype the format knows (safetensors 0.8, `enum Dtype`)."""

_MAX_DIMENSIONS: Final = 64
"""What numpy and torch can hold; also keeps the product of a shape's sizes small."""
_SAFE_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file: `start` and `end` are absolute byte offsets in that file, end exclusive."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class ShardHeader:
    """One safetensors file: tensors in file order; `data_start` is the file offset of the first tensor's byte."""

    file: str
    size_bytes: int
    data_start: int
    tensors: tuple[TensorEntry, ...]


@dataclass(frozen=True)
class CheckpointLayout:
    """A whole checkpoint: its shards in name order, and where each tensor lies."""

    shards: tuple[ShardHeader, ...]
    tensors: Mapping[str, tuple[str, TensorEntry]]


def header_length(prefix: bytes, file: str, size_bytes: int) -> int:
    """Return the length in bytes of the JSON header that follows the 8-byte `prefix`.

    Raises:
        HeaderTruncated: The file is too small for the prefix or for the header it announces.
        HeaderTooLarge: The announced header exceeds the format's 100 MB.
    """
    if len(prefix) < LENGTH_BYTES:
        raise HeaderTruncated(f"{file}: {size_bytes} bytes, too few for a safetensors file; copy it again", file=file)
    (length,) = struct.unpack("<Q", prefix[:LENGTH_BYTES])
    if length > MAX_HEADER_BYTES:
        raise HeaderTooLarge(
            f"{file}: announces a header of {length} bytes, the format allows {MAX_HEADER_BYTES}; "
            "this is no safetensors file or it is damaged",
            file=file,
        )
    if LENGTH_BYTES + length > size_bytes:
        raise HeaderTruncated(
            f"{file}: announces a header of {length} bytes but holds {size_bytes} in all; copy it again", file=file
        )
    return int(length)


def parse_header(raw: bytes, file: str, size_bytes: int) -> ShardHeader:
    """Parse the JSON header of one safetensors file.

    Args:
        raw: The header without its 8-byte length.
        file: Its name, for messages.
        size_bytes: Size of the whole file.

    Raises:
        HeaderMalformed: Not a JSON object of tensors as the format defines it.
        DuplicateKey: A name stands twice.
        UnknownDtype, ShapeMismatch, BadOffset: A tensor's own fields are wrong.
        TensorOverlap, TensorHole: Tensors share bytes or leave some unused.
        DataTruncated, TrailingData: The file ends before or after its last tensor.
    """
    if raw[:1] != b"{":
        raise HeaderMalformed(f"{file}: its header must begin with '{{'; copy or export it again", file=file)
    document = load_object(raw, file, HeaderMalformed)
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HeaderMalformed(f"{file}: __metadata__ must map text to text", file=file)
    data_start = LENGTH_BYTES + len(raw)
    check_names(document, file, HeaderMalformed)
    tensors = [_parse_tensor(name, fields, file, data_start) for name, fields in document.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    _check_coverage(tensors, file, data_start, size_bytes)
    return ShardHeader(file, size_bytes, data_start, tuple(tensors))


def parse_index(raw: bytes, file: str = INDEX_FILE) -> dict[str, str]:
    """Return the index's `weight_map`: tensor name to file name.

    Raises:
        IndexMalformed: Not a JSON object with a `weight_map` of text to text.
        DuplicateKey: A name stands twice.
        IndexUnsafePath: A file name is a path, climbs, or is not a `.safetensors` file. With a remote source such a
            name can fetch another tenant's repo with the service's token: clients join it to a URL unchecked.
    """
    weight_map = load_object(raw, file, IndexMalformed).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise IndexMalformed(f"{file}: has no weight_map; export the checkpoint again", file=file)
    check_names(weight_map, file, IndexMalformed)
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str):
            raise IndexMalformed(
                f"{file}: tensor {tensor!r} points to {shown(shard)}, not a file name", file=file, tensor=tensor
            )
        if not _SAFE_FILE.fullmatch(shard) or posixpath.splitext(shard)[1] != ".safetensors":
            raise IndexUnsafePath(
                f"{file}: tensor {tensor!r} points to {shown(shard)}; only plain .safetensors names beside the index "
                "are read",
                file=file,
                tensor=tensor,
            )
    return weight_map


def checkpoint_files(names: Sequence[str], weight_map: Mapping[str, str] | None) -> tuple[str, ...]:
    """Choose the safetensors files that make up a checkpoint.

    Args:
        names: Every file of the checkpoint's folder.
        weight_map: The index, or None where the folder has none.

    Raises:
        NoCheckpoint: No safetensors file, or several without an index, or an index beside a `model.safetensors` it
            does not name (loaders disagree on which one counts).
        IndexMissingFile: The index names a file that is not there.
    """
    present = {name for name in names if name.endswith(".safetensors")}
    if weight_map is None:
        return _files_without_index(names, present)
    wanted = sorted(set(weight_map.values()))
    for name in wanted:
        if name not in present:
            raise IndexMissingFile(f"{INDEX_FILE}: names {name}, which is not there; fetch it", file=name)
    if SINGLE_FILE in present and SINGLE_FILE not in wanted:
        raise NoCheckpoint(
            f"the folder holds both {SINGLE_FILE} and an index that does not name it; loaders differ in which "
            "they read: remove the stale one",
            file=SINGLE_FILE,
        )
    return tuple(wanted)


def build_layout(shards: Sequence[ShardHeader], weight_map: Mapping[str, str] | None) -> CheckpointLayout:
    """Join the headers of a checkpoint's files and hold them against its index.

    Raises:
        IndexMissingTensor: The index puts a tensor into a file that does not hold it.
        TensorNotIndexed: A file holds a tensor that the index does not put there.
    """
    found = {(shard.file, tensor.name): tensor for shard in shards for tensor in shard.tensors}
    where = weight_map if weight_map is not None else {name: file for file, name in found}
    for name, file in where.items():
        if (file, name) not in found:
            raise IndexMissingTensor(f"{INDEX_FILE}: says {file} holds {name!r}; it does not", file=file, tensor=name)
    for file, name in found:
        if where.get(name) != file:
            raise TensorNotIndexed(
                f"{file}: holds {name!r}, which {INDEX_FILE} does not put there; the two are of different exports",
                file=file,
                tensor=name,
            )
    in_name_order = tuple(sorted(shards, key=lambda shard: shard.file))
    return CheckpointLayout(in_name_order, {name: (file, found[file, name]) for name, file in where.items()})


def _files_without_index(names: Sequence[str], present: set[str]) -> tuple[str, ...]:
    if len(present) == 1:
        (only,) = present
        if not _SAFE_FILE.fullmatch(only):
            raise NoCheckpoint(f"{only!a} is no plain file name; rename it to {SINGLE_FILE}", file=ascii(only))
        return (only,)
    if present:
        raise NoCheckpoint(f"{len(present)} safetensors files and no {INDEX_FILE}; add the index")
    if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
        raise NoCheckpoint(
            "only pickle weights (.bin, .pt) are there, which can run code when loaded; save the model again with "
            "save_pretrained(safe_serialization=True)"
        )
    raise NoCheckpoint("no .safetensors file is there; check the path")


def _parse_tensor(name: str, fields: object, file: str, data_start: int) -> TensorEntry:
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise HeaderMalformed(
            f"{file}: tensor {name!r} must have dtype, shape and data_offsets, nothing else", file=file, tensor=name
        )
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise UnknownDtype(f"{file}: tensor {name!r} has unknown dtype {shown(dtype)}", file=file, tensor=name)
    if not are_whole(shape) or len(shape) > _MAX_DIMENSIONS:
        raise HeaderMalformed(
            f"{file}: tensor {name!r} has shape {shown(shape)}; at most {_MAX_DIMENSIONS} sizes ≥ 0 expected",
            file=file,
            tensor=name,
        )
    if not are_whole(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadOffset(
            f"{file}: tensor {name!r} has data_offsets {shown(offsets)}; begin and end expected, in bytes ≥ 0",
            file=file,
            tensor=name,
        )
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    if bits != (offsets[1] - offsets[0]) * 8:
        raise ShapeMismatch(
            f"{file}: tensor {name!r} of {dtype} {shown(shape)} needs {shown(bits)} bits, its offsets span "
            f"{offsets[1] - offsets[0]} bytes; export it again",
            file=file,
            tensor=name,
        )
    return TensorEntry(name, dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _check_coverage(tensors: Sequence[TensorEntry], file: str, data_start: int, size_bytes: int) -> None:
    position = data_start
    for tensor in tensors:
        if tensor.end > size_bytes:
            raise DataTruncated(
                f"{file}: tensor {tensor.name!r} ends at byte {tensor.end}, the file at {size_bytes}; copy it again",
                file=file,
                tensor=tensor.name,
            )
        if tensor.start < position:
            raise TensorOverlap(
                f"{file}: tensor {tensor.name!r} begins at byte {tensor.start}, inside the one before; export it again",
                file=file,
                tensor=tensor.name,
            )
        if tensor.start > position:
            raise TensorHole(
                f"{file}: {tensor.start - position} bytes before tensor {tensor.name!r} belong to none",
                file=file,
                tensor=tensor.name,
            )
        position = tensor.end
    if position != size_bytes:
        raise TrailingData(f"{file}: {size_bytes - position} bytes after the last tensor belong to none", file=file)
