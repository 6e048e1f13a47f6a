"""Read from a lineage.json, which anybody may have written, what it takes to make its output again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from pydantic import ValidationError

from crossfade_core.errors import CheckpointError, InvalidSpec
from crossfade_core.lineage_document import InputRecord, LineageDocument, parse_lineage
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.ports import StagedFile
from crossfade_core.source_ref import FORMS, parse_source
from crossfade_core.spec import ACCEPTED, MergeSpec, Role
from crossfade_core.strength import as_float32
from crossfade_core.untrusted_json import shown


@dataclass(frozen=True)
class Recipe:
    """What an output is made of and how.

    Attributes:
        spec: The job's, with this output's λ alone and the sources as they are to be opened.
        inputs: Every file that was read, with its digest, by role.
        uris: Where the lineage says that the inputs were, by role; the spec's may be replaced.
        software: Each distinct set of versions that computed the weights.
    """

    spec: MergeSpec
    inputs: Mapping[Role, Mapping[str, StagedFile]]
    uris: Mapping[Role, str]
    software: tuple[Mapping[str, str], ...]

    @property
    def lam(self) -> float:
        """The strength."""
        return self.spec.lambdas[0]


def read_recipe(lineage: bytes, where: str, replaced: Mapping[str, str]) -> Recipe:
    """Read a lineage.json.

    Args:
        lineage: Its content.
        where: What messages call it.
        replaced: Other places of sources, as URIs, by role.

    Raises:
        CheckpointError: It is no lineage of this schema, or contradicts itself.
        InvalidSpec: A role is replaced that the merge does not have.
    """
    told = parse_lineage(lineage, where)
    if told.lam not in _lambdas(told):
        _refuse(
            where, f"its lambda, {told.lam}, is none of its spec's: {shown(_lambdas(told))}; somebody has changed it"
        )
    uris = {role: _uri(side, role, where) for role, side in told.inputs.items()}
    for role in replaced:
        if role not in uris:
            raise InvalidSpec(f"--source {role}: the merge has no such role; it has {', '.join(uris)}", field="source")
    spec = _spec({**told.spec, "lambdas": [told.lam]}, {**uris, **replaced}, where)
    _check_strength(spec, where)
    inputs = {cast("Role", role): _files(side) for role, side in told.inputs.items()}
    return Recipe(spec, inputs, {role: uris[role] for role in inputs}, tuple(told.software))


def _lambdas(told: LineageDocument) -> list[Any]:
    lambdas = told.spec.get("lambdas")
    return lambdas if isinstance(lambdas, list) else []


def _files(side: InputRecord) -> dict[str, StagedFile]:
    return {name: StagedFile(about.size_bytes, about.sha256) for name, about in side.files.items()}


def _uri(side: InputRecord, role: str, where: str) -> str:
    try:
        return parse_source(side.uri).uri
    except ValueError as error:
        raise CheckpointError(
            f"{where}: the uri of input {shown(role)} is {shown(side.uri)}; {FORMS} expected", file=LINEAGE_FILE
        ) from error


def _spec(fields: dict[str, Any], uris: Mapping[str, str], where: str) -> MergeSpec:
    """Read the spec as its job was accepted, whatever later releases refuse, with the sources given."""
    roles = {"base", "instruct", "reference"} if isinstance(fields.get("instruct"), dict) else {"base", "instruct"}
    if uris.keys() != roles:
        _refuse(where, f"its inputs are {shown(sorted(uris))}; its spec asks for {', '.join(sorted(roles))}")
    instruct: object = uris["instruct"]
    if "reference" in roles:
        instruct = {**fields["instruct"], "delta_of": [uris["instruct"], uris["reference"]]}
    try:
        return MergeSpec.model_validate({**fields, "base": uris["base"], "instruct": instruct}, context=ACCEPTED)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{where}: spec.{shown(field)}: {first['msg']}; if a later release wrote it, upgrade", file=LINEAGE_FILE
        ) from error


def _check_strength(spec: MergeSpec, where: str) -> None:
    """A spec that was accepted holds no such λ; one that a stranger wrote may."""
    try:
        for factor in {1.0, *(factor for rule in spec.schedule for factor in rule.factors)}:
            as_float32(spec.lambdas[0] * factor)
    except OverflowError as error:
        raise CheckpointError(
            f"{where}: its λ times a factor of its schedule is too large for float32", file=LINEAGE_FILE
        ) from error


def _refuse(where: str, reason: str) -> NoReturn:
    raise CheckpointError(f"{where}: {reason}", file=LINEAGE_FILE)
