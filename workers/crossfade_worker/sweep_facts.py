"""Gather what all outputs of a sweep share: origin, inputs with digests, plan, versions, files to copy along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossfade_core.lineage import COMPANION_FILES
from crossfade_core.ports import FileInfo
from crossfade_core.spec import MergeSpec
from crossfade_worker.plan_record import merged_results, pinned_files, public_summary


@dataclass(frozen=True)
class Origin:
    """Which job, asking for what, submitted when (ISO 8601, UTC)."""

    spec: MergeSpec
    spec_digest: str
    job_id: str
    created_at: str


@dataclass(frozen=True)
class SweepFacts:
    """What all outputs of a job share.

    Attributes:
        origin: The job.
        base_files: Every weights file of the base with its digest.
        instruct_files: The same of the instruct.
        plan: The plan in numbers.
        software: Each distinct set of versions that computed a unit.
        companions: Files of the chosen parent to copy along.
        index: The index file's bytes, None where there is none.
    """

    origin: Origin
    base_files: dict[str, dict[str, Any]]
    instruct_files: dict[str, dict[str, Any]]
    plan: Mapping[str, Any]
    software: Sequence[Mapping[str, str]]
    companions: Sequence[FileInfo]
    index: bytes | None


def sweep_facts(origin: Origin, summary: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> SweepFacts:
    """Join a job's stored plan summary with its units' results.

    Args:
        origin: The job.
        summary: What `plan_summary` made.
        results: What `stream_shard` returned for each unit.
    """
    base_files, instruct_files = pinned_files(summary)
    base_sha256, instruct_sha256, software = merged_results(results)
    carried = instruct_files if origin.spec.tokenizer_from == "instruct" else base_files
    index = summary["index"]
    return SweepFacts(
        origin=origin,
        base_files=_with_digests(base_files, base_sha256),
        instruct_files=_with_digests(instruct_files, instruct_sha256),
        plan=public_summary(summary),
        software=software,
        companions=[carried[name] for name in COMPANION_FILES if name in carried],
        index=index.encode() if index is not None else None,
    )


def _with_digests(files: Mapping[str, FileInfo], sha256: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {name: {"size_bytes": files[name].size_bytes, "sha256": digest} for name, digest in sha256.items()}
