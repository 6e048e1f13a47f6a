"""Outputs as `crossfade inspect` meets them: folders with a lineage.json that the real writer wrote."""

import json
from pathlib import Path
from typing import Any

from crossfade_core.lineage import Lineage, lineage_json
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.spec import MergeSpec, spec_digest


def figures(requested: float, realised: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "requested": requested,
        "realised": realised,
        "relative_delta_norm": 0.00134,
        "unchanged_share": 0.9231,
        "rounding_error": 1.87,
        **changes,
    }


def statistics(lam: float, realised: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "method": "exact",
        **figures(lam, realised),
        "base_non_finite": [0, 0],
        "instruct_non_finite": [0, 0],
        "overflowed": 0,
        "warnings": [],
        "tensors": [{"tensor": name, **figures(lam, lam * part)} for name, part in (("a", 0.9), ("b", 0.2), ("c", 1))],
        **changes,
    }


def write_output(
    folder: Path,
    lam: float = 0.1,
    *,
    job: str = "job-1",
    instruct: str | dict[str, Any] = "local://m/tuned",
    exceptions: tuple[dict[str, str], ...] = (),
    **changes: Any,
) -> Path:
    """Write an output's folder and return it; `changes` are the statistics'."""
    fields = {"base": "local://m/base", "instruct": instruct, "lambdas": [lam], "destination": "out"}
    spec = MergeSpec.model_validate(fields)
    told = {**statistics(lam, 0.027), **changes}
    lineage = Lineage(
        spec=spec,
        spec_digest=spec_digest(spec),
        job_id=job,
        created_at="2026-11-20T17:00:00+00:00",
        lam=lam,
        output_name=folder.name,
        sources=spec.sources,
        inputs={},
        plan={"tensors": 3},
        exceptions=exceptions,
        config_changes={},
        statistics=told,
        outputs={},
        software=[],
    )
    folder.mkdir(parents=True)
    (folder / LINEAGE_FILE).write_bytes(lineage_json(lineage))
    return folder


def change(folder: Path, **fields: Any) -> None:
    """Rewrite fields of an output's lineage.json."""
    file = folder / LINEAGE_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
