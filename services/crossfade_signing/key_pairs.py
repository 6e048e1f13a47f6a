"""Private keys: read from PEM, and made. Nothing of them is shown: messages tell of kinds, never of values."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from crossfade_core.errors import KeyMalformed, OutputExists, SinkUnavailable
from crossfade_signing.public_keys import PublicKey, kind_of, public_key, read_key_file

MADE_BY: Final = "`crossfade keygen FILE` makes one"
_ASKED: Final = "an unencrypted EC P-256 private key in PEM (PKCS #8 or SEC1) expected"
_OPEN_TO_OTHERS: Final = stat.S_IWGRP | stat.S_IRWXO


def read_private_key(pem: bytes, where: str) -> ec.EllipticCurvePrivateKey:
    """Read a private key.

    Args:
        pem: What a file or a variable holds.
        where: That, for messages.

    Raises:
        KeyMalformed: It is no EC P-256 private key, or encrypted.
    """
    if b"-----BEGIN PUBLIC KEY" in pem:
        raise KeyMalformed(f"{where}: {_ASKED}, found a public key", file=where)
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:  # how cryptography tells that a password is needed
        raise KeyMalformed(
            f"{where}: {_ASKED}, found an encrypted one: openssl pkey decrypts it", file=where
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyMalformed(f"{where}: {_ASKED}, and this cannot be read as one; {MADE_BY}", file=where) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyMalformed(f"{where}: {_ASKED}, found {kind_of(key)}; {MADE_BY}", file=where)
    return key


def read_private_key_file(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key from a file that is closed to others.

    Its group may read it, as it must where Kubernetes mounts a secret for a process that is not root.

    Raises:
        KeyMalformed: There is no such file, others may read or write it, or it holds no such key.
    """
    content = read_key_file(path)
    mode = path.stat().st_mode
    if mode & _OPEN_TO_OTHERS:
        raise KeyMalformed(
            f"{path}: mode {stat.S_IMODE(mode):04o} lets others read or change a private key; chmod 0600 (its group "
            "may read it: 0640), and take a new key if others were there",
            file=str(path),
        )
    return read_private_key(content, str(path))


def make_key_pair(private_file: Path, public_file: Path) -> PublicKey:
    """Make a key pair: the private key in a file that its owner alone may read, whole or not there.

    Raises:
        OutputExists: One of the files is there; nothing is written over.
        SinkUnavailable: The disk refused.
    """
    for file in (private_file, public_file):
        if file.exists():
            raise OutputExists(f"{file} exists, and keys are not written over; choose another name", file=str(file))
    key = ec.generate_private_key(ec.SECP256R1())
    made = public_key(key.public_key())
    _write(private_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _write(public_file, made.pem, 0o644)
    return made


def keep_key_pair(private_file: Path, public_file: Path) -> PublicKey:
    """Return the public key of a pair that is kept in files, made if it is not there.

    Raises:
        KeyMalformed: What is there is no such key, or open to others.
        SinkUnavailable: The disk refused.
    """
    if not private_file.exists():
        _remove(public_file)
        return make_key_pair(private_file, public_file)
    return keep_public_key(read_private_key_file(private_file), public_file)


def keep_public_key(key: ec.EllipticCurvePrivateKey, public_file: Path) -> PublicKey:
    """Return the public half of a key, which is kept in a file; what another key left there is replaced.

    Raises:
        SinkUnavailable: The disk refused.
    """
    kept = public_key(key.public_key())
    try:
        is_kept = public_file.read_bytes() == kept.pem
    except OSError:  # it is not there, or nothing that can be read
        is_kept = False
    if not is_kept:
        _remove(public_file)
        _write(public_file, kept.pem, 0o644)
    return kept


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise SinkUnavailable(f"{file}: cannot be replaced: {error.strerror}", file=str(file)) from error


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write a file that was not there; its name appears with its content, and never in another's place."""
    try:
        descriptor, half_written = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with open(descriptor, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            os.link(half_written, file)
        finally:
            Path(half_written).unlink()
    except OSError as error:
        raise SinkUnavailable(f"{file}: cannot be made: {error.strerror}", file=str(file)) from error
