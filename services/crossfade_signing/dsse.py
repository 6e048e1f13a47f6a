"""DSSE envelopes: bytes with their type, and signatures over both. Encoded by securesystemslib.

Source: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/envelope.md and protocol.md.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature

from crossfade_core.errors import SignatureInvalid, SignatureMalformed
from crossfade_core.ports import Signer
from crossfade_core.untrusted_json import load_object, shown
from crossfade_signing.public_keys import PublicKey

MAX_ENVELOPE_BYTES: Final = 64 << 20
"""An entry of a manifest is some 150 bytes, one of a provenance some 300; the largest have thousands of files."""
_MOST_SIGNATURES: Final = 16
_STANDARD: Final = str.maketrans("-_", "+/")
"""Base64 of either alphabet is taken, as the protocol demands of verifiers."""


@dataclass(frozen=True)
class SignedPayload:
    """What an envelope holds.

    Attributes:
        payload: The bytes.
        key_id: Of the key that has signed them; None where no key was given to verify with.
        claimed_key_ids: The names that the signatures give themselves, unverified; empty ones left out.
    """

    payload: bytes
    key_id: str | None
    claimed_key_ids: tuple[str, ...]


def sign(payload: bytes, payload_type: str, signer: Signer) -> bytes:
    """Return an envelope around `payload` on one line of JSON, which ends with a newline.

    Raises:
        SigningFailed: The key cannot be used at this moment.
    """
    return json.dumps(sign_object(payload, payload_type, signer), separators=(",", ":")).encode() + b"\n"


def sign_object(payload: bytes, payload_type: str, signer: Signer) -> dict[str, Any]:
    """Return an envelope as the object that other formats hold it as.

    Raises:
        SigningFailed: The key cannot be used at this moment.
    """
    envelope = Envelope(payload, payload_type, {})
    signature = Signature(signer.key_id, signer.sign(envelope.pae()).hex())
    envelope.signatures[signature.keyid] = signature
    found: dict[str, Any] = envelope.to_dict()
    return found


def verify(envelope: bytes, payload_type: str, keys: Sequence[PublicKey], where: str = "the envelope") -> SignedPayload:
    """Read an envelope that anybody may have written, and verify it.

    Args:
        envelope: One object of JSON.
        payload_type: What it must say that it holds.
        keys: One of them must have signed it; none to take it unverified.
        where: The file, for messages.

    Raises:
        SignatureMalformed: It is no such envelope, holds another type, or is too large.
        SignatureInvalid: None of the keys has signed it.
        DuplicateKey: A key of its JSON stands twice.
    """
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise SignatureMalformed(f"{where}: over {MAX_ENVELOPE_BYTES} bytes, which is no envelope", file=where)
    return verify_object(load_object(envelope, where, SignatureMalformed), payload_type, keys, where)


def verify_object(
    envelope: Mapping[str, Any], payload_type: str, keys: Sequence[PublicKey], where: str
) -> SignedPayload:
    """Verify an envelope that was parsed already.

    Raises:
        SignatureMalformed: It is no such envelope, or holds another type.
        SignatureInvalid: None of the keys has signed it.
    """
    payload, found_type = _decoded(envelope.get("payload"), "payload", where), envelope.get("payloadType")
    if found_type != payload_type:
        raise SignatureMalformed(f"{where}: payloadType {payload_type} expected, found {shown(found_type)}", file=where)
    signed = Envelope(payload, payload_type, {}).pae()
    signatures = _signatures(envelope.get("signatures"), where)
    claimed = tuple(dict.fromkeys(key_id for key_id, _ in signatures if key_id))
    # Every key is tried, whatever a signature says of itself: a keyid is a hint, and others choose it otherwise.
    signer = next((key for key in keys for _, signature in signatures if key.verifies(signature, signed)), None)
    if keys and signer is None:
        raise SignatureInvalid(
            f"{where}: no signature is by {_listed([key.key_id for key in keys])}; its signatures name "
            f"{_listed(claimed) or 'no key'}: it was signed by another key, or changed since",
            file=where,
            expected=[key.key_id for key in keys],
            found=list(claimed),
        )
    return SignedPayload(payload, None if signer is None else signer.key_id, claimed)


def _signatures(found: object, where: str) -> list[tuple[str, bytes]]:
    """Return the name that each signature gives its key, and the signature."""
    if not isinstance(found, list) or not 0 < len(found) <= _MOST_SIGNATURES:
        raise SignatureMalformed(
            f"{where}: one to {_MOST_SIGNATURES} signatures expected, found {shown(found)}", file=where
        )
    signatures = []
    for entry in found:
        key_id = entry.get("keyid", "") if isinstance(entry, dict) else None
        if not isinstance(key_id, str) or not (key_id.isprintable() and len(key_id) <= 1024):
            raise SignatureMalformed(f"{where}: {shown(entry)} is no signature", file=where)
        signatures.append((key_id, _decoded(entry.get("sig"), "sig", where)))
    return signatures


def _decoded(text: object, field: str, where: str) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        pass
    raise SignatureMalformed(f"{where}: its {field} is no base64: {shown(text)}", file=where)


def _listed(key_ids: Sequence[str]) -> str:
    return ", ".join(f"key {key_id}" for key_id in key_ids)
