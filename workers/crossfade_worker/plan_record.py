"""How a job's plan and its units' results are kept: plain JSON, written and read here only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from crossfade_core.job import PRIVATE, Job
from crossfade_core.job_store import NewUnit
from crossfade_core.licence import LicenceRecord
from crossfade_core.ports import FileInfo
from crossfade_core.spec import Role
from crossfade_registries.layout import SourcedPlan, files_as_record, files_from_record
from crossfade_registries.source_signatures import SignedSource, signed_from_record

SOURCES: Final = "sources"
"""Key of a plan summary that tells everybody the pinned URI of every source, by role."""


@dataclass(frozen=True)
class PlanRecord:
    """What a job keeps of its plan.

    Attributes:
        numbers: The plan in numbers, for everybody.
        sources: The pinned URI of every source, by role.
        files: The pinned files, by role and name.
        companions: Files to copy along, each with the role of the source it comes from.
        index: The outputs' index file, None where there is none.
        exceptions: {tensor, action, reason} of all that is not plainly interpolated.
        config_changes: What the outputs' config.json says other than its original: JSON pointer to value.
        signatures: What came of looking at the sources' signatures.
        licences: What the sources' cards say of their licence, where they say anything.
    """

    numbers: Mapping[str, Any]
    sources: Mapping[Role, str]
    files: Mapping[Role, Mapping[str, FileInfo]]
    companions: Sequence[tuple[Role, FileInfo]]
    index: bytes | None
    exceptions: Sequence[Mapping[str, str]]
    config_changes: Mapping[str, Any]
    signatures: Mapping[Role, SignedSource]
    licences: Mapping[Role, LicenceRecord]


def plan_summary(sourced: SourcedPlan) -> dict[str, Any]:
    """Return what the job keeps of its plan: the plan in numbers, the pinned files, what the outputs are made with."""
    plan = sourced.plan
    index = plan.index_json()
    return {
        **plan.summary(),
        SOURCES: dict(sourced.uris),
        PRIVATE: {
            "files": {role: files_as_record(files) for role, files in sourced.files.items()},
            "companions": [[role, info.name] for role, info in sourced.companions],
            "index": index.decode() if index is not None else None,
            "exceptions": plan.exceptions(),
            "config_changes": dict(plan.config_changes or {}),
            "signatures": {role: signed.as_record() for role, signed in sourced.signatures.items()},
            "licences": {role: licence.as_record() for role, licence in sourced.licences.items()},
        },
    }


def new_units(sourced: SourcedPlan, lambda_count: int) -> list[NewUnit]:
    """Return one unit for each output shard; its bytes count every λ."""
    return [NewUnit(shard.as_record(), shard.size_bytes * lambda_count) for shard in sourced.plan.shards]


def pinned_files(summary: Mapping[str, Any]) -> dict[Role, dict[str, FileInfo]]:
    """Return the files a summary pins, by role and name."""
    return {cast("Role", role): files_from_record(files) for role, files in summary[PRIVATE]["files"].items()}


def pinned_sources(job: Job) -> dict[Role, str]:
    """Return the URI of every source of a planned job, pinned."""
    summary = job.plan_summary or {}
    return {cast("Role", role): uri for role, uri in summary[SOURCES].items()}


def read_plan(summary: Mapping[str, Any]) -> PlanRecord:
    """Read back what `plan_summary` made."""
    kept = summary[PRIVATE]
    pinned = pinned_files(summary)
    return PlanRecord(
        numbers={key: value for key, value in summary.items() if key not in (PRIVATE, SOURCES)},
        sources=summary[SOURCES],
        files=pinned,
        companions=[(role, pinned[role][name]) for role, name in kept["companions"]],
        index=kept["index"].encode() if kept["index"] is not None else None,
        exceptions=kept["exceptions"],
        config_changes=kept["config_changes"],
        licences=kept.get("licences", {}),
        signatures={role: signed_from_record(record) for role, record in kept.get("signatures", {}).items()},
    )


def merged_results(
    results: Sequence[Mapping[str, Any]],
) -> tuple[dict[Role, dict[str, str]], list[dict[str, str]]]:
    """Join unit results: SHA-256 of the files that were read, by role and name, and each distinct set of versions."""
    inputs: dict[Role, dict[str, str]] = {}
    software: list[dict[str, str]] = []
    for result in results:
        for role, digests in result["inputs"].items():
            inputs.setdefault(role, {}).update(digests)
        if result["software"] not in software:
            software.append(result["software"])
    return inputs, software
