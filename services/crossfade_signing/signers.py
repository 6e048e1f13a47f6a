"""What signs: a key that this process holds, or a command that holds it elsewhere."""

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from crossfade_core.errors import SigningFailed
from crossfade_core.ports import Signer
from crossfade_signing.command_signer import CommandSigner
from crossfade_signing.key_pairs import read_private_key, read_private_key_file
from crossfade_signing.public_keys import public_key, read_public_key_file

if TYPE_CHECKING:
    from crossfade_signing.settings import SigningSettings


class KeySigner:
    """A private key in this process's memory. One payload has one signature, where OpenSSL can do that."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._public = public_key(key.public_key())
        self._algorithm = _algorithm()

    @property
    def key_id(self) -> str:
        """SHA-256, in hex, of the public key as DER SubjectPublicKeyInfo."""
        return self._public.key_id

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM SubjectPublicKeyInfo."""
        return self._public.pem

    def sign(self, data: bytes) -> bytes:
        """Return an ECDSA signature over the SHA-256 of `data`, as DER.

        Raises:
            SigningFailed: OpenSSL refuses to.
        """
        try:
            return self._key.sign(data, self._algorithm)
        except UnsupportedAlgorithm as error:
            raise SigningFailed(f"key {self.key_id[:12]}…: {error}; update OpenSSL and cryptography") from error


def open_signer(settings: "SigningSettings") -> Signer | None:
    """Return what the settings say signs; None where nothing does.

    Raises:
        KeyMalformed: A key's file cannot be read, is open to others, or holds no such key.
        ProgramMissing: There is no such command.
    """
    if settings.signing_key is not None:
        pem = settings.signing_key.get_secret_value().encode()
        return KeySigner(read_private_key(pem, "CROSSFADE_SIGNING_KEY"))
    if settings.signing_key_file is not None:
        return KeySigner(read_private_key_file(settings.signing_key_file))
    if settings.signing_command and settings.signing_public_key_file is not None:
        key = read_public_key_file(settings.signing_public_key_file)
        return CommandSigner(settings.signing_command, key, settings.signing_command_seconds)
    return None


def _algorithm() -> ec.ECDSA:
    """Return ECDSA with the deterministic nonce of RFC 6979, so that publishing again gives the same bytes."""
    try:
        return ec.ECDSA(SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm:  # OpenSSL before 3.2
        return ec.ECDSA(SHA256())
