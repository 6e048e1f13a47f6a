"""Stage the files of one output that are no weights: what is copied along, the index, and our own documents."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from crossfade_core.checkpoint import INDEX_FILE
from crossfade_core.errors import ConfigMalformed
from crossfade_core.lineage import FileFacts, Lineage
from crossfade_core.model_config import CONFIG_FILE, apply_changes
from crossfade_core.ports import FileInfo, Sink, Source, StagedFile
from crossfade_core.spec import Role
from crossfade_registries.layout import MAX_CONFIG_BYTES, check_unchanged
from crossfade_registries.reading import digest_file, read_file
from crossfade_registries.source_signatures import check_signed
from crossfade_worker.documents import Maker, documents
from crossfade_worker.sweep_facts import SweepFacts


@dataclass(frozen=True)
class StagedOutput:
    """An output of which everything is staged.

    Attributes:
        name: Below its destination.
        files: Size and digest of every file, shards and lineage included.
        statistics: What its λ really did, as JSON: the figures and `warnings`.
        inputs: Of every source, by role, its pinned `uri` and the `files` that were read.
    """

    name: str
    files: dict[str, dict[str, Any]]
    statistics: dict[str, Any]
    inputs: dict[str, dict[str, Any]]

    def commit(self, sink: Sink) -> str:
        """Publish it; return its URI.

        Raises:
            SinkError: As the sink's `commit`.
        """
        return sink.commit(self.name, self._staged())

    def is_published(self, sink: Sink) -> bool:
        """Tell whether it is published already, by an attempt that was cut off before that was noted.

        Raises:
            SinkError: As the sink's `holds`.
        """
        return sink.holds(self.name, self._staged())

    def _staged(self) -> dict[str, StagedFile]:
        return {file: StagedFile(**about) for file, about in self.files.items()}


def stage_output_files(
    sink: Sink, facts: SweepFacts, position: int, *, sources: Mapping[Role, Source], shards: FileFacts, maker: Maker
) -> StagedOutput:
    """Stage everything of one output but its shards; holds one MiB, the config and the lineage record.

    Args:
        sink: Where to.
        facts: What the outputs share.
        position: Which of the job's λ it is.
        sources: All of the job's, by role.
        shards: Size and digest of each shard already staged.
        maker: Who makes it.

    Raises:
        CheckpointError: The config.json to copy is too large, or is not what the planned changes fit.
        SourceError: A file to copy cannot be read, or is not the planned one.
        SinkError: The destination refused.
        SigningFailed: The key could not be used.
    """
    name = facts.output_name(position)
    files = {file: dict(about) for file, about in shards.items()}
    inputs: dict[Role, dict[str, Mapping[str, Any]]] = {role: dict(found) for role, found in facts.inputs.items()}
    for role, info in facts.plan.companions:
        inputs[role][info.name], files[info.name] = _copy_along(sink, name, facts, sources[role], info)
    for role, info in facts.consulted:
        if (role, info.name) not in facts.known:  # each is read once, however many outputs there are
            facts.known[role, info.name] = asdict(digest_file(sources[role], info))
        inputs[role][info.name] = facts.known[role, info.name]
    _check_unchanged(facts, sources)
    if facts.plan.index is not None:
        files[INDEX_FILE] = _write(sink, name, INDEX_FILE, facts.plan.index)
    lineage = _lineage(facts, position, inputs)
    for file, make in documents(maker, facts.sweep):
        files[file] = _write(sink, name, file, make(replace(lineage, outputs=files)))
    told = {key: value for key, value in lineage.statistics.items() if key != "tensors"}
    sides = {str(role): {"uri": uri, "files": inputs[role]} for role, uri in facts.plan.sources.items()}
    return StagedOutput(name, files, told, sides)


def _lineage(facts: SweepFacts, position: int, inputs: Mapping[Role, FileFacts]) -> Lineage:
    origin, plan = facts.origin, facts.plan
    signatures = {
        role: check_signed(signed, inputs[role], plan.sources[role]) for role, signed in plan.signatures.items()
    }
    return Lineage(
        spec=origin.spec,
        spec_digest=origin.spec_digest,
        job_id=origin.job_id,
        created_at=origin.created_at,
        lam=origin.spec.lambdas[position],
        output_name=facts.output_name(position),
        sources=plan.sources,
        inputs=inputs,
        plan=plan.numbers,
        exceptions=plan.exceptions,
        config_changes=plan.config_changes,
        statistics=facts.told(position),
        outputs={},
        software=facts.software,
        licences=plan.licences,
        signatures={role: signed.as_told() for role, signed in signatures.items()},
    )


def _copy_along(
    sink: Sink, name: str, facts: SweepFacts, source: Source, info: FileInfo
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return size and digest of what was read, and of what was written; they differ for a changed config only."""
    if info.name != CONFIG_FILE or not facts.plan.config_changes:
        copied = _copy(sink, source, name, info)
        return copied, copied
    if info.size_bytes > MAX_CONFIG_BYTES:
        raise ConfigMalformed(
            f"{source.uri}/{info.name}: {info.size_bytes} bytes; at most {MAX_CONFIG_BYTES} expected of a config",
            file=info.name,
            source=source.uri,
        )
    original = read_file(source, info)
    changed = apply_changes(original, facts.plan.config_changes)
    return asdict(StagedFile.of(original)), _write(sink, name, info.name, changed)


def _write(sink: Sink, name: str, file: str, content: bytes) -> dict[str, Any]:
    about = asdict(StagedFile.of(content))
    writer = sink.create_file(name, file, len(content))
    try:
        writer.write(memoryview(content))
        writer.finish(about["sha256"])
    finally:
        writer.abandon()
    return about


def _copy(sink: Sink, source: Source, name: str, info: FileInfo) -> dict[str, Any]:
    writer = sink.create_file(name, info.name, info.size_bytes)
    try:
        about = asdict(digest_file(source, info, writer.write))
        writer.finish(about["sha256"])
    finally:
        writer.abandon()
    return about


def _check_unchanged(facts: SweepFacts, sources: Mapping[Role, Source]) -> None:
    read: dict[Role, dict[str, FileInfo]] = {}
    for role, info in (*facts.plan.companions, *facts.consulted):
        read.setdefault(role, {})[info.name] = info
    for role, files in read.items():
        check_unchanged(sources[role], files)
