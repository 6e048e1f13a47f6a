"""The keys that `crossfade serve` keeps in its state directory, which is locked: nobody else makes them meanwhile."""

import json
import os
import secrets
from pathlib import Path
from typing import Final

from crossfade_core.errors import CrossfadeError, ProcessFailed

SIGNING: Final = "CROSSFADE_SIGNING_"
"""Of every variable of `crossfade_signing.settings.SigningSettings`."""


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


def signing_environment(state_dir: Path) -> dict[str, str]:
    """Return what the control worker alone gets: what our environment signs with, or the key of this state directory.

    Raises:
        ProcessFailed: The key cannot be read or made.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith(SIGNING)}
    if given:
        return given
    from crossfade_signing.key_pairs import keep_key_pair

    private_file = state_dir / "signing.key"
    try:
        keep_key_pair(private_file, private_file.with_suffix(".pub"))
    except CrossfadeError as error:
        raise ProcessFailed(error.message) from error
    return {f"{SIGNING}KEY_FILE": str(private_file)}
