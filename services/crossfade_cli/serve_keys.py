"""The keys that `crossfade serve` keeps in its state directory, which is locked: nobody else makes them meanwhile."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crossfade_core.errors import CrossfadeError, ProcessFailed

SIGNING: Final = "CROSSFADE_SIGNING_"
"""Of every variable of `crossfade_signing.settings.SigningSettings`."""
_KEY: Final = f"{SIGNING}KEY"
_KEY_FILE: Final = f"{SIGNING}KEY_FILE"
_COMMAND: Final = f"{SIGNING}COMMAND"
_PUBLIC_KEY_FILE: Final = f"{SIGNING}PUBLIC_KEY_FILE"


@dataclass(frozen=True)
class Signing:
    """What signs the outputs.

    Attributes:
        environment: What the control worker alone gets of it.
        key_id: SHA-256, in hex, of the public key as DER SubjectPublicKeyInfo.
        public_key_file: That key, for those who verify.
    """

    environment: Mapping[str, str]
    key_id: str
    public_key_file: Path


def webhook_environment(state_dir: Path, host: str) -> dict[str, str]:
    """Return what webhooks need: a key of this state directory, and leave to send to this machine where it is alone.

    What the environment says of them goes before.

    Raises:
        ProcessFailed: The key cannot be read or made.
    """
    key_file = state_dir / "webhook.key"
    try:
        if not key_file.exists():
            half_written = key_file.with_suffix(".new")
            half_written.touch(mode=0o600)
            half_written.write_text(secrets.token_hex(32))
            half_written.replace(key_file)
        key = key_file.read_text()
    except OSError as error:
        raise ProcessFailed(f"{key_file} cannot be read or made: {error.strerror}") from error
    networks = ["127.0.0.0/8", "::1/128"] if host in ("127.0.0.1", "::1", "localhost") else []
    own = {"CROSSFADE_WEBHOOK_KEY": key, "CROSSFADE_WEBHOOK_NETWORKS": json.dumps(networks)}
    return {name: value for name, value in own.items() if name not in os.environ}


def open_signing(state_dir: Path) -> Signing:
    """Return what signs: what our environment names, else the key of this state directory, made if it is not there.

    Raises:
        ProcessFailed: A key cannot be read or made.
    """
    environment = {name: value for name, value in os.environ.items() if name.startswith(SIGNING)}
    if not environment.keys() & {_KEY, _KEY_FILE, _COMMAND}:
        environment[_KEY_FILE] = str(state_dir / "signing.key")
    try:
        key_id, public_file = _public_half(environment, state_dir)
    except CrossfadeError as error:
        raise ProcessFailed(error.message) from error
    return Signing(environment, key_id, public_file)


def _public_half(environment: Mapping[str, str], state_dir: Path) -> tuple[str, Path]:
    """Return the id and the file of the public key, which is kept in the state directory where it has no file yet.

    Raises:
        CrossfadeError: A key cannot be read or made.
    """
    from crossfade_signing import key_pairs
    from crossfade_signing.public_keys import read_public_key_file

    own_file, public_file = state_dir / "signing.key", state_dir / "signing.pub"
    if _KEY in environment:
        given = key_pairs.read_private_key(environment[_KEY].encode(), _KEY)
        return key_pairs.keep_public_key(given, public_file).key_id, public_file
    if environment.get(_KEY_FILE) == str(own_file):
        return key_pairs.keep_key_pair(own_file, public_file).key_id, public_file
    if _KEY_FILE in environment:
        given = key_pairs.read_private_key_file(Path(environment[_KEY_FILE]))
        return key_pairs.keep_public_key(given, public_file).key_id, public_file
    if _PUBLIC_KEY_FILE not in environment:
        raise ProcessFailed(f"{_COMMAND} is set; set {_PUBLIC_KEY_FILE} too, the public key of what it signs with")
    public_file = Path(environment[_PUBLIC_KEY_FILE])
    return read_public_key_file(public_file).key_id, public_file
