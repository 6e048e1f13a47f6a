"""`model.sig`: a manifest of digests in the format of OpenSSF Model Signing, made without a look at the files.

A Sigstore bundle v0.3 around a DSSE envelope around an in-toto statement (`crossfade_core.model_manifest`). Its key is
named by a hint, SHA-256 of the public key's PEM, which the official verifier compares.
Source: https://github.com/sigstore/model-transparency, `model_signing/_signing/sign_ec_key.py` of 1.1.1, and
https://docs.sigstore.dev/about/bundle/.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import rfc8785

from crossfade_core.errors import SignatureMalformed
from crossfade_core.in_toto import PAYLOAD_TYPE
from crossfade_core.model_manifest import Manifest, manifest_statement, read_manifest
from crossfade_core.own_files import SIGNATURE_FILE, UNSIGNED
from crossfade_core.ports import Signer
from crossfade_core.untrusted_json import load_object, shown
from crossfade_signing import dsse
from crossfade_signing.public_keys import PublicKey

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BUNDLE_BYTES: Final = 4 << 20
"""An entry is some 200 bytes in base64; no model has 10 000 files."""


@dataclass(frozen=True)
class SignedManifest:
    """What a `model.sig` says.

    Attributes:
        files: Hex SHA-256 by name.
        ignore_paths: Files and folders that it does not cover.
        key_id: Of the key that has signed it; None where no key was given to verify with.
        claimed_key_ids: The keys that the signatures name, unverified; the official tools name none here.
    """

    files: Mapping[str, str]
    ignore_paths: tuple[str, ...]
    key_id: str | None
    claimed_key_ids: tuple[str, ...] = ()


def sign(files: Mapping[str, str], signer: Signer, *, name: str = "") -> bytes:
    """Return the `model.sig` of an output.

    Args:
        files: Hex SHA-256 of every file that it is to cover; those that no signature covers are left out.
        signer: What signs.
        name: What the output is called; only informative.

    Raises:
        SigningFailed: The key cannot be used at this moment.
    """
    covered = {file: digest for file, digest in files.items() if file not in UNSIGNED}
    payload = rfc8785.dumps(manifest_statement(Manifest(covered, UNSIGNED, name)))
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(signer.public_pem).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": dsse.sign_object(payload, PAYLOAD_TYPE, signer),
    }
    return json.dumps(bundle, indent=2).encode() + b"\n"


def read(bundle: bytes, keys: Sequence[PublicKey], where: str = SIGNATURE_FILE) -> SignedManifest:
    """Read a `model.sig` that anybody may have written, and verify it.

    Args:
        bundle: What the file holds.
        keys: One of them must have signed it; none to take it unverified.
        where: The file, for messages.

    Raises:
        SignatureMalformed: It is no such bundle, too large, or contradicts itself.
        SignatureUnsupported: It lists parts of files, or digests other than SHA-256.
        SignatureInvalid: None of the keys has signed it.
        DuplicateKey: A key of its JSON stands twice.
    """
    if len(bundle) > MAX_BUNDLE_BYTES:
        raise SignatureMalformed(f"{where}: over {MAX_BUNDLE_BYTES} bytes, which is no signature", file=where)
    document = load_object(bundle, where, SignatureMalformed)
    media_type, envelope = document.get("mediaType"), document.get("dsseEnvelope")
    if media_type != MEDIA_TYPE or not isinstance(envelope, dict):
        raise SignatureMalformed(
            f"{where}: a Sigstore bundle {MEDIA_TYPE} with a DSSE envelope expected, found {shown(media_type)}",
            file=where,
        )
    signed = dsse.verify_object(envelope, PAYLOAD_TYPE, keys, where)
    manifest = read_manifest(load_object(signed.payload, where, SignatureMalformed), where)
    return SignedManifest(manifest.files, manifest.ignore_paths, signed.key_id, signed.claimed_key_ids)
