"""Read of a provenance statement, which anybody may have written, what it can be held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossfade_core.errors import SignatureMalformed
from crossfade_core.in_toto import PAYLOAD_TYPE
from crossfade_core.own_files import PROVENANCE_FILE
from crossfade_core.untrusted_json import load_object, shown
from crossfade_signing import dsse
from crossfade_signing.public_keys import PublicKey


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Digest(_View):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Subject(_View):
    name: str
    digest: _Digest


class _Definition(_View):
    external: dict[str, Any] = Field(alias="externalParameters")


class _Predicate(_View):
    definition: _Definition = Field(alias="buildDefinition")


class _Statement(_View):
    kind: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[_Subject], Field(min_length=1)]
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = Field(alias="predicateType")
    predicate: _Predicate


@dataclass(frozen=True)
class Provenance:
    """What a provenance says.

    Attributes:
        subjects: Hex SHA-256 of the files it is about, by name.
        lam: The λ that was asked for, as it is spelt.
        key_id: Of the key that has signed it; None where no key was given to verify with.
        claimed_key_ids: The keys that its signatures name, unverified.
    """

    subjects: Mapping[str, str]
    lam: str | None
    key_id: str | None
    claimed_key_ids: tuple[str, ...]


def read_provenance(content: bytes, keys: Sequence[PublicKey]) -> Provenance:
    """Read a provenance file, and verify it: one DSSE envelope on its one line.

    Args:
        content: Of the file.
        keys: One of them must have signed it; none to take it unverified.

    Raises:
        SignatureMalformed: It is no such file.
        SignatureInvalid: None of the keys has signed it.
        DuplicateKey: A key of its JSON stands twice.
    """
    lines = [line for line in content.split(b"\n") if line.strip()]
    if len(lines) != 1:
        raise SignatureMalformed(
            f"{PROVENANCE_FILE}: one envelope on one line expected, {len(lines)} lines found", file=PROVENANCE_FILE
        )
    signed = dsse.verify(lines[0], PAYLOAD_TYPE, keys, PROVENANCE_FILE)
    document = load_object(signed.payload, PROVENANCE_FILE, SignatureMalformed)
    try:
        statement = _Statement.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SignatureMalformed(
            f"{PROVENANCE_FILE}: {shown(place)}: {first['msg']}; a statement with SLSA provenance v1 expected",
            file=PROVENANCE_FILE,
        ) from error
    subjects = {subject.name: subject.digest.sha256 for subject in statement.subject}
    lam = statement.predicate.definition.external.get("lambda")
    return Provenance(subjects, lam if isinstance(lam, str) else None, signed.key_id, signed.claimed_key_ids)
