"""docs/signing.md is run: every command, in order, on an output signed with the key that its first one makes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crossfade_signing.command_signer import CommandSigner
from crossfade_signing.key_pairs import read_private_key_file
from crossfade_signing.public_keys import read_public_key_file
from crossfade_signing.settings import SigningSettings
from crossfade_signing.signers import KeySigner
from tests.fakes.signed_outputs import write_signed_output

PAGE = (Path(__file__).parents[2] / "docs/signing.md").read_text()
KEYGEN, COMMAND, VERIFY, OFFICIAL, ENVELOPE = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def run(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run_block(block):
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run_block


@pytest.fixture
def key_file(run, tmp_path):
    assert run(KEYGEN).returncode == 0
    return tmp_path / "signing.key"


def test_commands_of_the_page_verify_an_output_and_refuse_a_changed_one(run, key_file, tmp_path):
    output = write_signed_output(tmp_path / "model", KeySigner(read_private_key_file(key_file)))
    said = {block: run(block) for block in (VERIFY, OFFICIAL, ENVELOPE)}
    assert [done.stderr for done in said.values() if done.returncode] == []
    assert "is as it was published; signed by key" in said[VERIFY].stderr
    assert "Verification succeeded" in said[OFFICIAL].stdout
    assert said[ENVELOPE].stdout == "0.5\nVerified OK\n"
    (output / "config.json").write_text("{}")
    assert [run(block).returncode for block in (VERIFY, OFFICIAL)] == [1, 1]


def test_command_of_the_page_signs_as_the_service_asks_it_to(run, key_file, tmp_path):
    assert run(COMMAND).returncode == 0
    public = read_public_key_file(tmp_path / "signing.key.pub")
    signature = CommandSigner([str(tmp_path / "sign"), str(key_file)], public, 30).sign(b"data")
    assert public.verifies(signature, b"data")


def test_page_names_every_setting_with_its_default():
    assert set(re.findall(r"^\| `CROSSFADE_(\w+)`", PAGE, re.MULTILINE)) == {
        name.upper() for name in SigningSettings.model_fields
    }
    assert f"how long it may take, {SigningSettings().signing_command_seconds:g} |" in PAGE
