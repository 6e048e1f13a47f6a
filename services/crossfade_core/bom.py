"""The bill of materials of an output, CycloneDX 1.7: the model with its ancestors, tools, licences and files. Pure.

It holds no time of its own making, and its serial number follows from what it tells of: the same facts, the same bytes.
Source: https://cyclonedx.org/docs/1.7/json/ ; ancestors on the Hub are named by package URL, type `huggingface` of
https://github.com/package-url/purl-spec
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from crossfade_core.canonical_json import canonical_json
from crossfade_core.licence import SEE_SOURCES, UNKNOWN, Licence, output_licence, stated_licence
from crossfade_core.lineage import FileFacts, Lineage, formula
from crossfade_core.own_files import EDITABLE
from crossfade_core.source_ref import HubRef, parse_source
from crossfade_core.spec import Role

# fmt: off
_SPDX: Final[tuple[str, ...]] = (
    "AFL-3.0", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "BSL-1.0",
    "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0",
    "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0",
    "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0",
    "ECL-2.0", "EPL-1.0", "EPL-2.0", "etalab-2.0", "EUPL-1.1", "EUPL-1.2", "ISC", "LPPL-1.3c", "MIT", "MPL-2.0",
    "MS-PL", "NCSA", "OFL-1.1", "OpenMDW-1.0", "OSL-3.0", "PostgreSQL", "Unlicense", "WTFPL", "Zlib",
)
# fmt: on
"""SPDX's identifiers of those that the Hub knows. Not the GNU ones: it does not say whether later versions hold."""
_SPDX_OF_HUB: Final = {name.lower(): name for name in _SPDX}

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:crossfade:bom")
_MODEL: Final = "model"
_MIME: Final = {".json": "application/json", ".svg": "image/svg+xml", ".txt": "text/plain"}


def bom_json(lineage: Lineage, files: FileFacts) -> bytes:
    """Return `bom.cdx.json`.

    Args:
        lineage: Of the output.
        files: Every file that is told of, with its digest. What its owner may edit afterwards is left out, as its
            digest would soon be wrong.
    """
    kept = {name: files[name] for name in sorted(files) if name not in EDITABLE}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": _serial_number(lineage, kept),
        "version": 1,
        "metadata": {
            "timestamp": lineage.created_at,
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": _tools(lineage.software)},
            "component": _model(lineage),
        },
        "components": [_file(name, about) for name, about in kept.items()],
        "dependencies": [{"ref": _MODEL, "dependsOn": [_file_ref(name) for name in kept]}],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _serial_number(lineage: Lineage, files: FileFacts) -> str:
    """Return a number no other bill has: of the job, what was asked, and the digests of the files told of."""
    digests = {name: about["sha256"] for name, about in files.items()}
    told = [lineage.job_id, lineage.spec_digest, lineage.lam, digests]
    return uuid.uuid5(_NAMESPACE, canonical_json(told).decode()).urn


def _tools(software: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return each program of each set of versions once; a `machine` is none."""
    found = dict.fromkeys(
        (name, version) for versions in software for name, version in versions.items() if name != "machine"
    )
    return [
        {"type": "application" if name == "crossfade" else "library", "name": name, "version": version}
        for name, version in found
    ]


def _model(lineage: Lineage) -> dict[str, Any]:
    licence = output_licence(lineage.sources, lineage.licences)
    is_stated = licence not in (UNKNOWN, SEE_SOURCES)
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": lineage.output_name,
        "version": lineage.job_id,
        "description": f"{formula(lineage.spec)} with λ = {lineage.lam}",
        **({"licenses": [_licence(licence)]} if is_stated else {}),
        "pedigree": {
            "ancestors": [_ancestor(lineage, role) for role in lineage.sources],
            "notes": f"Every floating-point tensor is {formula(lineage.spec)}; lineage.json tells of the exceptions.",
        },
        "modelCard": _model_card(lineage),
        "properties": _properties(
            {
                "formula": formula(lineage.spec),
                "lambda": lineage.lam,
                "job": lineage.job_id,
                "spec_digest": lineage.spec_digest,
                "machine": ", ".join(dict.fromkeys(each["machine"] for each in lineage.software if "machine" in each)),
            }
        ),
    }


def _model_card(lineage: Lineage) -> dict[str, Any]:
    told = lineage.statistics
    figures = {"realised strength": told.get("realised"), "relative delta norm": told.get("relative_delta_norm")}
    return {
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {"type": name, "value": f"{value}"} for name, value in figures.items() if value is not None
            ]
        },
        "considerations": {"technicalLimitations": list(told.get("warnings", ()))},
    }


def _ancestor(lineage: Lineage, role: Role) -> dict[str, Any]:
    ref = parse_source(lineage.sources[role])
    licence = stated_licence(lineage.licences, role)
    # The version after `@` of a package URL is the commit; a branch would name another model tomorrow.
    purl = f"pkg:huggingface/{ref.repo}@{ref.revision}" if isinstance(ref, HubRef) and ref.is_commit else None
    files = lineage.inputs.get(role, {})
    return {
        "type": "machine-learning-model",
        "bom-ref": role,
        "name": ref.title,
        **({"version": ref.revision} if isinstance(ref, HubRef) else {}),
        **({"licenses": [_licence(licence)]} if licence else {}),
        **({"purl": purl} if purl else {}),
        "components": [_file(name, files[name], of=role) for name in sorted(files)],
        "properties": _properties({"role": role, "uri": ref.uri}),
    }


def _licence(licence: Licence) -> dict[str, Any]:
    spdx = _SPDX_OF_HUB.get(licence.id.lower())
    link = licence.link if licence.link and licence.link.startswith(("https://", "http://")) else None
    named = {"id": spdx} if spdx else {"name": licence.words}
    return {"license": {**named, "acknowledgement": "declared", **({"url": link} if link else {})}}


def _file(name: str, about: Mapping[str, Any], *, of: str = "") -> dict[str, Any]:
    mime = next((mime for ending, mime in _MIME.items() if name.endswith(ending)), None)
    return {
        "type": "file",
        "bom-ref": _file_ref(name, of),
        "name": name,
        **({"mime-type": mime} if mime else {}),
        "hashes": [{"alg": "SHA-256", "content": about["sha256"]}],
        "properties": _properties({"size_bytes": about["size_bytes"]}),
    }


def _file_ref(name: str, of: str = "") -> str:
    return f"{of or _MODEL}/{name}"


def _properties(values: Mapping[str, object]) -> list[dict[str, str]]:
    pairs: Iterable[tuple[str, object]] = values.items()
    return [{"name": f"crossfade:{name}", "value": f"{value}"} for name, value in pairs if value != ""]
