"""What a `model.sig` states: which files a model has, by SHA-256. Pure: a statement made of digests, and read again.

OpenSSF Model Signing: an in-toto Statement v1 whose predicate lists every file (method `files`), and whose subject is
the SHA-256 over the raw digests of the list.
Source: https://github.com/sigstore/model-transparency, `model_signing/_signing/signing.py` of 1.1.1.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from crossfade_core.errors import SignatureMalformed, SignatureUnsupported
from crossfade_core.in_toto import STATEMENT_TYPE
from crossfade_core.untrusted_json import shown

SIGNATURE_PREDICATE: Final = "https://model_signing/signature/v1.0"

_METHOD: Final = "files"
_ALGORITHM: Final = "sha256"
_MAX_NAME_CHARACTERS: Final = 1024
_DIGEST: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """The files of a model.

    Attributes:
        files: Hex SHA-256 by name; a file in a folder is named with `/`.
        ignore_paths: Files and folders that it does not cover.
        name: What the signer called the model; only informative.
    """

    files: Mapping[str, str]
    ignore_paths: tuple[str, ...] = ()
    name: str = ""


def manifest_statement(manifest: Manifest) -> dict[str, Any]:
    """Return the in-toto statement of a manifest, its files in the order of their names."""
    files = dict(sorted(manifest.files.items()))
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": manifest.name, "digest": {_ALGORITHM: _root_digest(files.values())}}],
        "predicateType": SIGNATURE_PREDICATE,
        "predicate": {
            "serialization": {
                "method": _METHOD,
                "hash_type": _ALGORITHM,
                "allow_symlinks": False,
                "ignore_paths": list(manifest.ignore_paths),
            },
            "resources": [{"name": name, "algorithm": _ALGORITHM, "digest": digest} for name, digest in files.items()],
        },
    }


def read_manifest(statement: Mapping[str, Any], where: str) -> Manifest:
    """Return the manifest that a statement holds, which anybody may have written.

    Args:
        statement: As parsed; its keys stand once.
        where: The file, for messages.

    Raises:
        SignatureMalformed: It is no such statement, or its subject is not the digest of its list.
        SignatureUnsupported: It lists parts of files, or digests other than SHA-256.
    """
    kinds = (statement.get("_type"), statement.get("predicateType"))
    if kinds != (STATEMENT_TYPE, SIGNATURE_PREDICATE):
        raise SignatureUnsupported(
            f"{where}: an in-toto statement of {SIGNATURE_PREDICATE} expected, found {shown(kinds)}", file=where
        )
    predicate = _object(statement, "predicate", where)
    serialization = _object(predicate, "serialization", where)
    _check_method(serialization, where)
    files = _files(_list(predicate, "resources", where), where)
    name = _check_subject(_list(statement, "subject", where), _root_digest(files.values()), where)
    ignored = serialization.get("ignore_paths", [])
    if not isinstance(ignored, list) or not all(_is_name(path) for path in ignored):
        raise SignatureMalformed(f"{where}: ignore_paths is no list of paths: {shown(ignored)}", file=where)
    return Manifest(files, tuple(ignored), name)


def _root_digest(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def _check_method(serialization: Mapping[str, Any], where: str) -> None:
    found = (serialization.get("method"), serialization.get("hash_type"))
    if found != (_METHOD, _ALGORITHM):
        raise SignatureUnsupported(
            f"{where}: digests of whole files by SHA-256 expected (method files, hash_type sha256), found "
            f"{shown(found)}, which is not supported; check it with `model_signing verify`",
            file=where,
        )


def _files(resources: Sequence[Any], where: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for resource in resources:
        entry = resource if isinstance(resource, dict) else {}
        name, algorithm, digest = (entry.get(key) for key in ("name", "algorithm", "digest"))
        if isinstance(algorithm, str) and algorithm != _ALGORITHM:
            raise SignatureUnsupported(
                f"{where}: {shown(name)} is listed with {shown(algorithm)}; only {_ALGORITHM} is supported", file=where
            )
        if not _is_name(name) or not _is_digest(digest) or algorithm != _ALGORITHM:
            raise SignatureMalformed(f"{where}: {shown(resource)} is no file with its SHA-256", file=where)
        if name in files:
            raise SignatureMalformed(f"{where}: it lists {shown(name)} twice", file=where)
        files[name] = digest
    if not files:
        raise SignatureMalformed(f"{where}: it lists no file", file=where)
    return files


def _check_subject(subjects: Sequence[Any], expected: str, where: str) -> str:
    subject: dict[str, Any] = subjects[0] if len(subjects) == 1 and isinstance(subjects[0], dict) else {}
    digests = subject.get("digest")
    found = digests.get(_ALGORITHM) if isinstance(digests, dict) else None
    if found != expected:
        raise SignatureMalformed(
            f"{where}: its subject is {shown(found)}, and the digest of the files it lists is {expected}; it "
            "contradicts itself",
            file=where,
        )
    name = subject.get("name", "")
    return name if isinstance(name, str) and name.isprintable() else ""


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= _MAX_NAME_CHARACTERS and name.isprintable()


def _is_digest(digest: object) -> TypeGuard[str]:
    return isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None


def _object(parent: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise SignatureMalformed(f"{where}: {key} is no object: {shown(value)}", file=where)
    return value


def _list(parent: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = parent.get(key)
    if not isinstance(value, list):
        raise SignatureMalformed(f"{where}: {key} is no list: {shown(value)}", file=where)
    return value
