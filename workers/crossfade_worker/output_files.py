"""Stage the files of one output that are no weights: index, config, tokenizer, card, lineage."""

import hashlib
from typing import Any, Final

from crossfade_core.checkpoint import INDEX_FILE
from crossfade_core.lineage import CARD_FILE, LINEAGE_FILE, FileFacts, Lineage, lineage_json, model_card
from crossfade_core.ports import FileInfo, Sink, Source
from crossfade_registries.layout import check_unchanged
from crossfade_worker.sweep_facts import SweepFacts

_BLOCK_BYTES: Final = 1 << 20


def stage_output_files(
    sink: Sink, name: str, facts: SweepFacts, lam: float, *, parent: Source, shards: FileFacts
) -> dict[str, dict[str, Any]]:
    """Stage everything of output `name` but its shards; holds one MiB.

    Args:
        sink: Where to.
        name: The output.
        facts: What the outputs share.
        lam: Its strength.
        parent: The parent whose companions are copied.
        shards: Size and digest of each shard already staged.

    Returns:
        Size and digest of every file of the output, shards and lineage included.

    Raises:
        SourceError: A companion cannot be read, or is not the planned one.
        SinkError: The destination refused.
    """
    files = {file: dict(about) for file, about in shards.items()}
    copied = {info.name: _copy(sink, parent, name, info) for info in facts.companions}
    check_unchanged(parent, {info.name: info for info in facts.companions})
    files.update(copied)
    if facts.index is not None:
        files[INDEX_FILE] = _write(sink, name, INDEX_FILE, facts.index)
    origin = facts.origin
    files[CARD_FILE] = _write(sink, name, CARD_FILE, model_card(origin.spec, lam, origin.job_id))
    lineage = Lineage(
        origin.spec,
        origin.spec_digest,
        origin.job_id,
        origin.created_at,
        lam,
        facts.base_files | copied if origin.spec.tokenizer_from == "base" else facts.base_files,
        facts.instruct_files | copied if origin.spec.tokenizer_from == "instruct" else facts.instruct_files,
        facts.plan,
        files,
        facts.software,
    )
    files[LINEAGE_FILE] = _write(sink, name, LINEAGE_FILE, lineage_json(lineage))
    return files


def _write(sink: Sink, name: str, file: str, content: bytes) -> dict[str, Any]:
    writer = sink.create_file(name, file, len(content))
    try:
        writer.write(memoryview(content))
        writer.finish()
    finally:
        writer.abandon()
    return {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _copy(sink: Sink, parent: Source, name: str, info: FileInfo) -> dict[str, Any]:
    digest = hashlib.sha256()
    block = memoryview(bytearray(min(_BLOCK_BYTES, max(info.size_bytes, 1))))
    writer = sink.create_file(name, info.name, info.size_bytes)
    try:
        for offset in range(0, info.size_bytes, _BLOCK_BYTES):
            part = block[: min(_BLOCK_BYTES, info.size_bytes - offset)]
            parent.read_into(info.name, offset, part)
            digest.update(part)
            writer.write(part)
        writer.finish()
    finally:
        writer.abandon()
    return {"size_bytes": info.size_bytes, "sha256": digest.hexdigest()}
