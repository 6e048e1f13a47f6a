"""What several tests of the command line need."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from crossfade_signing.key_pairs import make_key_pair, read_private_key_file
from crossfade_signing.signers import KeySigner

Crossfade = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Signing:
    """A key and its public file."""

    signer: KeySigner
    public_file: Path


def clean_environment() -> dict[str, str]:
    """Return this environment without crossfade's own variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}


@pytest.fixture
def crossfade() -> Crossfade:
    """Run the command line as a process of its own and return how it ended."""

    def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "crossfade_cli", *args],
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def new_key(tmp_path):
    def make(name="k"):
        private_file, public_file = tmp_path / name, tmp_path / f"{name}.pub"
        make_key_pair(private_file, public_file)
        return Signing(KeySigner(read_private_key_file(private_file)), public_file)

    return make


@pytest.fixture
def key(new_key):
    return new_key()
