"""The provenance of an output: who made it of what, as an in-toto Statement with SLSA provenance. Pure; never signs.

Sources: in-toto Statement v1, https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md; SLSA provenance
v1, https://slsa.dev/spec/v1.0/provenance. What the parameters mean stands on the page that `buildType` names
(`crossfade_api.build_type`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from crossfade_core.canonical_json import canonical_json
from crossfade_core.in_toto import STATEMENT_TYPE
from crossfade_core.lineage import Lineage
from crossfade_core.own_files import UNSIGNED
from crossfade_core.source_ref import HubRef, parse_source

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE_PATH: Final = "/build-types/merge/1"
BUILDER_PATH: Final = "/builders/control"
_LOCAL_BUILDER: Final = "/builders/local"
_UNNAMED: Final = "urn:crossfade"

ASKED_NOTHING_OF_THE_OUTPUT: Final = frozenset({"labels", "priority", "deadline_seconds", "fresh"})
"""Fields of the spec that change nothing of what is made."""


@dataclass(frozen=True)
class Builder:
    """The deployment that makes and signs.

    Attributes:
        public_url: Where its API is reached from everywhere; None where it has no such place, and identifiers are URNs.
        is_local: Whether it is somebody's own machine, where one process computes and signs.
    """

    public_url: str | None = None
    is_local: bool = False

    @property
    def id(self) -> str:
        """Who vouches: the control workers of the deployment, which alone hold its key and never compute weights.

        `…:builders:local` is whoever ran `crossfade merge --sign`.
        """
        return self._identifier(_LOCAL_BUILDER if self.is_local else BUILDER_PATH)

    @property
    def build_type(self) -> str:
        """What the parameters mean."""
        return self._identifier(BUILD_TYPE_PATH)

    def _identifier(self, path: str) -> str:
        if self.public_url is None:
            return _UNNAMED + path.replace("/", ":")
        return self.public_url.rstrip("/") + path


def provenance_statement(lineage: Lineage, builder: Builder) -> bytes:
    """Return the statement, to be signed: canonical JSON, so that the same facts are the same bytes.

    Args:
        lineage: The output; its files are vouched for, all but the card, which people may edit.
        builder: Who makes it.
    """
    files = lineage.outputs
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": files[name]["sha256"]}} for name in sorted(files.keys() - set(UNSIGNED))
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": builder.build_type,
                "externalParameters": external_parameters(lineage),
                "resolvedDependencies": list(_dependencies(lineage)),
            },
            "runDetails": {
                "builder": {"id": builder.id, "version": _versions(lineage)},
                "metadata": {"invocationId": lineage.job_id, "startedOn": lineage.created_at},
            },
        },
    }
    return canonical_json(statement)


def external_parameters(lineage: Lineage) -> dict[str, str]:
    """Return what the user asked for, each as a string: words as they stand, all else as JSON.

    Every field of the spec that can change the output, defaults written out; `lambda` is this output's, `lambdas` the
    sweep's.
    """
    found: dict[str, Any] = lineage.spec.model_dump(mode="json", exclude=set(ASKED_NOTHING_OF_THE_OUTPUT))
    found |= {**{str(role): uri for role, uri in lineage.spec.sources.items()}, "lambda": lineage.lam}
    if lineage.spec.skip:
        found["skip"] = list(lineage.spec.skip)
    return {name: value if isinstance(value, str) else canonical_json(value).decode() for name, value in found.items()}


def file_uri(source_uri: str, file: str) -> str:
    """Return where a file of a source is: a package URL on the Hub, else below the source's URI.

    Source: https://github.com/package-url/purl-spec/blob/main/types-doc/huggingface-definition.md
    """
    ref = parse_source(source_uri)
    if isinstance(ref, HubRef):
        return f"pkg:huggingface/{quote(ref.repo)}@{quote(ref.revision, safe='')}#{quote(file)}"
    return f"{source_uri}/{quote(file)}"


def _dependencies(lineage: Lineage) -> Iterator[Mapping[str, Any]]:
    for role, uri in lineage.sources.items():
        for name, about in sorted(lineage.inputs.get(role, {}).items()):
            yield {"name": f"{role}/{name}", "uri": file_uri(uri, name), "digest": {"sha256": about["sha256"]}}


def _versions(lineage: Lineage) -> dict[str, str]:
    """Join the versions of every process that computed a part."""
    found: dict[str, set[str]] = {}
    for software in lineage.software:
        for name, version in software.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}
