"""Read from a lineage.json, which anybody may have written, what it takes to make its output again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from crossfade_core.errors import CheckpointError, InvalidSpec
from crossfade_core.lineage import LINEAGE_SCHEMA
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.ports import StagedFile
from crossfade_core.source_ref import FORMS, parse_source
from crossfade_core.spec import ACCEPTED, MergeSpec, Role, as_float32
from crossfade_core.untrusted_json import load_object, shown
from crossfade_registries.published import read_files

_FAMILY, _, _NEWEST = LINEAGE_SCHEMA.rpartition("/")
_STRONGEST: Final = "its λ times a factor of its schedule is too large for float32"


@dataclass(frozen=True)
class Recipe:
    """What an output is made of and how.

    Attributes:
        spec: The job's, with this output's λ alone and the sources as they are to be opened.
        inputs: Every file that was read, with its digest, by role.
        software: Each distinct set of versions that computed the weights.
    """

    spec: MergeSpec
    inputs: Mapping[Role, Mapping[str, StagedFile]]
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
        CheckpointError: It is no lineage of a release that this one knows, or contradicts itself.
        InvalidSpec: A role is replaced that the merge does not have.
    """
    document = load_object(lineage, where, CheckpointError)
    _check_schema(document.get("schema"), where)
    spec = _object(document, "spec", where)
    inputs = _object(document, "inputs", where)
    lam = _strength(document, spec, where)
    uris = {role: _uri(_object(inputs, role, where), role, where) for role in inputs}
    for role in replaced:
        if role not in uris:
            raise InvalidSpec(f"--source {role}: the merge has no such role; it has {', '.join(uris)}", field="source")
    read = _spec({**spec, "lambdas": [lam]}, {**uris, **replaced}, where)
    _check_strength(read, where)
    files = {role: read_files(inputs[role].get("files"), f"{where}: inputs.{role}") for role in read.sources}
    return Recipe(read, files, _software(document.get("software")))


def _check_schema(schema: object, where: str) -> None:
    family, _, number = schema.rpartition("/") if isinstance(schema, str) else ("", "", "")
    if family != _FAMILY or not number.isascii() or not number.isdigit() or len(number) > 4:
        _refuse(where, f"its schema is {shown(schema)}; {_FAMILY}/1 to {LINEAGE_SCHEMA} expected")
    if int(number) > int(_NEWEST):
        _refuse(where, f"its schema is {shown(schema)}, of a later release; this one knows {LINEAGE_SCHEMA}: upgrade")


def _strength(document: Mapping[str, Any], spec: Mapping[str, Any], where: str) -> float:
    lam, lambdas = document.get("lambda"), spec.get("lambdas")
    if isinstance(lam, bool) or not isinstance(lam, int | float) or not isinstance(lambdas, list):
        _refuse(where, f"its lambda is {shown(lam)} and its spec's are {shown(lambdas)}; numbers expected")
    if lam not in lambdas:
        _refuse(where, f"its lambda, {shown(lam)}, is none of its spec's: {shown(lambdas)}; somebody has changed it")
    return lam


def _uri(side: Mapping[str, Any], role: str, where: str) -> str:
    uri = side.get("uri")
    try:
        return parse_source(uri if isinstance(uri, str) else "").uri
    except ValueError as error:
        raise CheckpointError(
            f"{where}: the uri of input {shown(role)} is {shown(uri)}; {FORMS} expected", file=LINEAGE_FILE
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
        raise CheckpointError(f"{where}: {_STRONGEST}", file=LINEAGE_FILE) from error


def _software(found: object) -> tuple[Mapping[str, str], ...]:
    sets = found if isinstance(found, list) else []
    return tuple({str(key): str(value) for key, value in each.items()} for each in sets if isinstance(each, dict))


def _object(document: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    found = document.get(key)
    if not isinstance(found, dict):
        _refuse(where, f"its {shown(key)} is {shown(found)}; an object expected")
    return found


def _refuse(where: str, reason: str) -> NoReturn:
    raise CheckpointError(f"{where}: {reason}", file=LINEAGE_FILE)
