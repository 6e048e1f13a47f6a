"""Public keys: EC P-256 alone, which is what OpenSSF Model Signing, DSSE libraries and every HSM have in common."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from crossfade_core.errors import KeyMalformed

MAX_KEY_BYTES: Final = 64 << 10
_ASKED: Final = "an EC P-256 public key in PEM (-----BEGIN PUBLIC KEY-----) expected"
_MISTAKEN: Final = (
    (b"PRIVATE KEY-----", "found a private key: keep it to yourself and give its public key: openssl pkey -pubout"),
    (b"-----BEGIN CERTIFICATE", "found a certificate: take the key out of it: openssl x509 -noout -pubkey"),
    (b"ssh-", "found an OpenSSH key: ssh-keygen -e -m PKCS8 writes an ecdsa-sha2-nistp256 key as PEM"),
    (b"ecdsa-sha2-", "found an OpenSSH key: ssh-keygen -e -m PKCS8 writes it as PEM"),
)


@dataclass(frozen=True)
class PublicKey:
    """A public key.

    Attributes:
        key_id: SHA-256, in hex, of the key as DER SubjectPublicKeyInfo (RFC 5280).
        pem: The key as PEM SubjectPublicKeyInfo, as every tool writes it.
        point: The key itself.
    """

    key_id: str
    pem: bytes
    point: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether `signature`, ECDSA over SHA-256 as DER, is this key's over `data`."""
        try:
            self.point.verify(signature, data, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


def public_key(point: ec.EllipticCurvePublicKey) -> PublicKey:
    """Return the key with its names."""
    der = point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(der).hexdigest(), pem, point)


def read_public_key(pem: bytes, where: str = "the key") -> PublicKey:
    """Read a public key.

    Args:
        pem: What a file holds.
        where: The file, for messages.

    Raises:
        KeyMalformed: It is no EC P-256 public key; says what was given instead, where that can be told.
    """
    for mark, found in _MISTAKEN:
        if mark in pem:
            raise KeyMalformed(f"{where}: {_ASKED}, {found}", file=where)
    try:
        point = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyMalformed(f"{where}: {_ASKED}, and this cannot be read as one", file=where) from error
    if not isinstance(point, ec.EllipticCurvePublicKey) or not isinstance(point.curve, ec.SECP256R1):
        raise KeyMalformed(f"{where}: {_ASKED}, found {kind_of(point)}", file=where)
    return public_key(point)


def read_public_key_file(path: Path) -> PublicKey:
    """Read a public key from a file.

    Raises:
        KeyMalformed: There is no such file, or it holds no such key.
    """
    return read_public_key(read_key_file(path), str(path))


def read_key_file(path: Path) -> bytes:
    """Return what a file holds that should hold a key.

    Raises:
        KeyMalformed: It cannot be read, is no plain file, or is too large for a key.
    """
    try:
        if not path.is_file():  # a pipe would keep us waiting for ever
            raise KeyMalformed(f"{path}: no such file, or no plain one; give the key's file", file=str(path))
        with path.open("rb") as file:
            content = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise KeyMalformed(f"{path}: cannot be read: {error.strerror}", file=str(path)) from error
    if len(content) > MAX_KEY_BYTES:
        raise KeyMalformed(f"{path}: over {MAX_KEY_BYTES} bytes, which is no key", file=str(path))
    return content


def kind_of(key: object) -> str:
    """Return what a key is in words, for messages; never anything of its value."""
    curve = getattr(key, "curve", None)
    if curve is not None:
        return f"an EC key of the curve {curve.name}"
    return f"a key of the kind {type(key).__name__.removesuffix('PublicKey').removesuffix('PrivateKey').lstrip('_')}"
