"""Look at the `model.sig` of a source while it is planned: who signed it, and what it says of the files to be read.

The digests of weights are known when they have been streamed; they are held against these then (`check_signed`), and
nothing is read twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from crossfade_core.errors import CheckpointError, SignatureInvalid, SourceUnsigned
from crossfade_core.lineage import FileFacts
from crossfade_core.own_files import SIGNATURE_FILE
from crossfade_registries.opened import Opened
from crossfade_signing.model_bundle import MAX_BUNDLE_BYTES, read
from crossfade_signing.public_keys import PublicKey

Policy = Literal["ignore", "warn", "require"]
State = Literal["verified", "unverified", "unsigned"]
_NAMED: Final = 5


@dataclass(frozen=True)
class SourceTrust:
    """What is asked of the signatures of sources.

    Attributes:
        policy: `ignore` does not look; `warn` tells in plan and lineage; `require` refuses what is not verified.
        keys: Those whose signatures count.
    """

    policy: Policy = "ignore"
    keys: Sequence[PublicKey] = ()


ANY_SOURCE: Final = SourceTrust()
"""Nobody asks for signatures."""


@dataclass(frozen=True)
class SignedSource:
    """What came of looking at the signature of a source.

    Attributes:
        state: As in `crossfade_core.lineage_document.SourceSignature`.
        key_id: Of the key that verified it.
        reason: Why it is not verified.
        sha256: What was signed of the files that are read, by name.
        is_required: Whether a file that is not as it was signed ends the job.
    """

    state: State
    key_id: str | None = None
    reason: str | None = None
    sha256: Mapping[str, str] | None = None
    is_required: bool = False

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON for the store."""
        return asdict(self)

    def as_told(self) -> dict[str, str | None]:
        """Return what lineage.json tells of it."""
        return {"state": self.state, "key_id": self.key_id, "reason": self.reason}


def look_at_signature(opened: Opened, files: Iterable[str], trust: SourceTrust) -> SignedSource | None:
    """Read and check the signature of a source; None where nobody asks for it.

    Args:
        opened: The source.
        files: Names of those that are read.
        trust: What is asked.

    Raises:
        SourceUnsigned: There is no signature, and one is required.
        SignatureInvalid, CheckpointError: One is required, and it is not by a key that counts, or cannot be read.
        SourceError: It cannot be read.
    """
    if trust.policy == "ignore":
        return None
    is_required = trust.policy == "require"
    uri = opened.source.uri
    if SIGNATURE_FILE not in opened.files:
        if is_required:
            raise SourceUnsigned(
                f"{uri}: signed sources are required here, and it has no {SIGNATURE_FILE}; sign it with a key that "
                "this server trusts (CROSSFADE_SOURCE_KEYS), or use one that is signed",
                source=uri,
            )
        return SignedSource("unsigned", reason=f"it has no {SIGNATURE_FILE}")
    try:
        manifest = read(opened.small(SIGNATURE_FILE, MAX_BUNDLE_BYTES) or b"", trust.keys)
    except (SignatureInvalid, CheckpointError) as error:
        if not is_required:
            return SignedSource("unverified", reason=error.message)
        raise type(error)(f"{uri}/{SIGNATURE_FILE}: {error.message}", **{**error.details, "source": uri}) from error
    missing = sorted(name for name in manifest.files.keys() - opened.files.keys() if "/" not in name)
    signed = {name: manifest.files[name] for name in files if name in manifest.files}
    stated = {
        name: {"sha256": opened.files[name].sha256} for name in files if opened.files[name].sha256 is not None
    } | {name: {"sha256": ""} for name in files if name not in manifest.files}
    found = SignedSource("verified", manifest.key_id, sha256=signed, is_required=is_required)
    if missing:
        return _unverified(found, f"signed, and not there: {_listed(missing)}", uri, missing)
    return check_signed(found, stated, uri)


def check_signed(signed: SignedSource, files: FileFacts, uri: str) -> SignedSource:
    """Hold digests of a source's files against what was signed of them.

    Args:
        signed: What came of looking at its signature.
        files: What was found of its files.
        uri: The source's.

    Returns:
        The same where they agree, or nothing was verified; else `unverified`, with the reason.

    Raises:
        SignatureInvalid: They do not agree, and a verified signature is required.
    """
    if signed.state != "verified":
        return signed
    expected = signed.sha256 or {}
    wrong = sorted(name for name, about in files.items() if expected.get(name) != about["sha256"])
    if not wrong:
        return signed
    named = [name if name in expected else f"{name} (which was not signed)" for name in wrong]
    return _unverified(signed, f"not as it was signed: {_listed(named)}", uri, wrong)


def _unverified(signed: SignedSource, reason: str, uri: str, files: Sequence[str]) -> SignedSource:
    if signed.is_required:
        raise SignatureInvalid(
            f"{uri}: {reason}; get it again from who signed it, or ask them to sign it anew",
            source=uri,
            files=list(files[:_NAMED]),
        )
    return replace(signed, state="unverified", reason=reason)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" and more" if len(names) > _NAMED else "")


def signed_from_record(record: Mapping[str, Any]) -> SignedSource:
    """Read back what `SignedSource.as_record` wrote."""
    return SignedSource(**record)


def note_of(role: str, signed: SignedSource | None) -> str | None:
    """Return what a plan tells of a source that is not verified though one looks; None where there is nothing."""
    if signed is None or signed.state == "verified":
        return None
    return f"the signature of {role} is not verified: {signed.reason}"
