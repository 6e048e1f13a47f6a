"""`crossfade keygen`: a pair for signing, whose private half is its owner's alone."""

import json
from pathlib import Path

from crossfade_signing.key_pairs import read_private_key_file
from crossfade_signing.public_keys import read_public_key_file
from tests.cli.conftest import Crossfade


def test_pair_is_made_and_the_public_half_named_on_stdout(crossfade: Crossfade, tmp_path: Path):
    ended = crossfade("keygen", str(tmp_path / "release.key"))
    assert (ended.returncode, ended.stdout) == (0, f"{tmp_path}/release.key.pub\n")
    public = read_public_key_file(tmp_path / "release.key.pub")
    assert f"key {public.key_id}" in ended.stderr
    assert read_private_key_file(tmp_path / "release.key")
    assert (tmp_path / "release.key").stat().st_mode & 0o777 == 0o600


def test_machines_get_one_document(crossfade: Crossfade, tmp_path: Path):
    ended = crossfade("keygen", str(tmp_path / "k"), "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {
        "key_id": read_public_key_file(tmp_path / "k.pub").key_id,
        "private_key_file": str(tmp_path / "k"),
        "public_key_file": str(tmp_path / "k.pub"),
    }


def test_key_is_never_written_over(crossfade: Crossfade, tmp_path: Path):
    (tmp_path / "k").write_text("mine")
    ended = crossfade("keygen", str(tmp_path / "k"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"crossfade: {tmp_path}/k exists, and keys are not written over; choose another name\n"
    assert (tmp_path / "k").read_text() == "mine"
