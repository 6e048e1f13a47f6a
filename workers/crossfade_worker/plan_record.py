"""How a job's plan and its units' results are kept: plain JSON, written and read here only."""

from collections.abc import Mapping, Sequence
from typing import Any

from crossfade_core.ports import FileInfo, NewUnit
from crossfade_registries.layout import SourcedPlan, files_as_record, files_from_record


def plan_summary(sourced: SourcedPlan) -> dict[str, Any]:
    """Return what the job keeps of its plan: the plan in numbers, the pinned files, the outputs' index."""
    index = sourced.plan.index_json()
    return {
        **sourced.plan.summary(),
        "base_files": files_as_record(sourced.base_files),
        "instruct_files": files_as_record(sourced.instruct_files),
        "index": index.decode() if index is not None else None,
    }


def new_units(sourced: SourcedPlan, lambda_count: int) -> list[NewUnit]:
    """Return one unit for each output shard; its bytes count every λ."""
    return [NewUnit(shard.as_record(), shard.size_bytes * lambda_count) for shard in sourced.plan.shards]


def pinned_files(summary: Mapping[str, Any]) -> tuple[dict[str, FileInfo], dict[str, FileInfo]]:
    """Return the (base, instruct) files a summary pins."""
    return files_from_record(summary["base_files"]), files_from_record(summary["instruct_files"])


def public_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary without what only workers need: for lineage."""
    return {key: value for key, value in summary.items() if key not in ("base_files", "instruct_files", "index")}


def merged_results(
    results: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, str], dict[str, str], list[dict[str, str]]]:
    """Join unit results: digests of the base's files, of the instruct's files, and each distinct set of versions."""
    base: dict[str, str] = {}
    instruct: dict[str, str] = {}
    software: list[dict[str, str]] = []
    for result in results:
        base.update(result["base"])
        instruct.update(result["instruct"])
        if result["software"] not in software:
            software.append(result["software"])
    return base, instruct, software
