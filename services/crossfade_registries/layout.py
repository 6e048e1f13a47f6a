"""Read a checkpoint's layout through a Source: its index and the headers of its files, a few kB each, no tensor."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossfade_core.checkpoint import (
    INDEX_FILE,
    LENGTH_BYTES,
    CheckpointLayout,
    ShardHeader,
    build_layout,
    checkpoint_files,
    header_length,
    parse_header,
    parse_index,
)
from crossfade_core.errors import CheckpointError, IndexMalformed, SourceChanged
from crossfade_core.lineage import COMPANION_FILES
from crossfade_core.plan import MergePlan, plan_merge
from crossfade_core.ports import FileInfo, OpenSource, Source
from crossfade_core.spec import MergeSpec

MAX_INDEX_BYTES = 100_000_000


@dataclass(frozen=True)
class SourcedPlan:
    """A plan with the files it was made from; `base_files` and `instruct_files` pin what is read later."""

    plan: MergePlan
    base_files: Mapping[str, FileInfo]
    instruct_files: Mapping[str, FileInfo]


def plan_spec(spec: MergeSpec, open_source: OpenSource) -> SourcedPlan:
    """Plan a merge from headers alone, and see that what is copied along can be read.

    Raises:
        SourceError: A source, or a file of it that the job needs, is not there or cannot be read.
        CheckpointError: A source is malformed; the message begins with its URI.
        PlanRefused: The two do not pair.
    """
    with contextlib.closing(open_source(spec.base)) as base, contextlib.closing(open_source(spec.instruct)) as instruct:
        is_instruct = spec.tokenizer_from == "instruct"
        base_layout, base_files = _read_side(base, is_carried=not is_instruct)
        instruct_layout, instruct_files = _read_side(instruct, is_carried=is_instruct)
    plan = plan_merge(base_layout, instruct_layout, spec.out_dtype)
    plan.require_accepted()
    return SourcedPlan(plan, base_files, instruct_files)


def read_layout(source: Source, files: Mapping[str, FileInfo]) -> CheckpointLayout:
    """Read the index and every header of a checkpoint.

    Args:
        source: The checkpoint.
        files: What `source.files()` said.

    Raises:
        CheckpointError: A header or the index is malformed; the message begins with the source's URI.
        SourceError: A file cannot be read.
    """
    try:
        weight_map = None
        if INDEX_FILE in files:
            if files[INDEX_FILE].size_bytes > MAX_INDEX_BYTES:
                raise IndexMalformed(f"{INDEX_FILE}: over {MAX_INDEX_BYTES} bytes", file=INDEX_FILE)
            weight_map = parse_index(read_file(source, files[INDEX_FILE]))
        names = checkpoint_files(list(files), weight_map)
        return build_layout([_read_header(source, files[name]) for name in names], weight_map)
    except CheckpointError as error:
        raise type(error)(f"{source.uri}: {error.message}", **{**error.details, "source": source.uri}) from error


def read_file(source: Source, info: FileInfo) -> bytes:
    """Return the whole of a small file.

    Raises:
        SourceError: It cannot be read, or is shorter than `info` says.
    """
    content = bytearray(info.size_bytes)
    source.read_into(info.name, 0, memoryview(content))
    return bytes(content)


def check_unchanged(source: Source, pinned: Mapping[str, FileInfo]) -> None:
    """Hold the files of a source against those that were planned.

    Raises:
        SourceChanged: A pinned file is gone or of another version.
    """
    present = source.files()
    for name, info in pinned.items():
        if present.get(name) != info:
            raise SourceChanged(
                f"{source.uri}/{name}: changed since the job was planned; submit the job again",
                source=source.uri,
                file=name,
            )


def files_as_record(files: Mapping[str, FileInfo]) -> dict[str, Any]:
    """Return pinned files as JSON for the store."""
    return {info.name: {"size_bytes": info.size_bytes, "version": info.version} for info in files.values()}


def files_from_record(record: Mapping[str, Any]) -> dict[str, FileInfo]:
    """Read back what `files_as_record` wrote."""
    return {name: FileInfo(name, fields["size_bytes"], fields["version"]) for name, fields in record.items()}


def _read_side(source: Source, *, is_carried: bool) -> tuple[CheckpointLayout, dict[str, FileInfo]]:
    """Return a parent's layout and the files the job reads; what else lies beside them may change meanwhile."""
    files = source.files()
    layout = read_layout(source, files)
    companions = [name for name in COMPANION_FILES if is_carried and name in files]
    for name in companions:
        source.read_into(name, 0, memoryview(bytearray()))  # opens it: better refused now than after the merge
    return layout, {name: files[name] for name in (*(shard.file for shard in layout.shards), *companions)}


def _read_header(source: Source, info: FileInfo) -> ShardHeader:
    prefix = bytearray(min(LENGTH_BYTES, info.size_bytes))
    source.read_into(info.name, 0, memoryview(prefix))
    raw = bytearray(header_length(bytes(prefix), info.name, info.size_bytes))
    source.read_into(info.name, LENGTH_BYTES, memoryview(raw))
    return parse_header(bytes(raw), info.name, info.size_bytes)
