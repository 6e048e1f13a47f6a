"""Key pairs on disk, as their owners have them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from crossfade_signing.key_pairs import make_key_pair, read_private_key_file
from crossfade_signing.public_keys import PublicKey
from crossfade_signing.signers import KeySigner


@dataclass(frozen=True)
class Pair:
    """A key pair and its files."""

    private_file: Path
    public_file: Path
    public: PublicKey

    @property
    def signer(self) -> KeySigner:
        return KeySigner(read_private_key_file(self.private_file))


@pytest.fixture
def new_pair(tmp_path):
    def make(name="k"):
        private_file, public_file = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        return Pair(private_file, public_file, make_key_pair(private_file, public_file))

    return make


@pytest.fixture
def pair(new_pair):
    return new_pair()
