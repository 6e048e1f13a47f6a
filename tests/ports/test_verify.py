"""`python -m crossfade_registries.verify` checks what a job published at any registry, where it is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crossfade_core.provenance import Builder
from crossfade_signing.key_pairs import make_key_pair, read_private_key_file
from crossfade_signing.signers import KeySigner
from crossfade_worker.documents import Maker
from tests.ports.published import NAME, SHARD, change, own, publish
from tests.ports.publishing import IGNORED

COMMAND = [sys.executable, "-m", "crossfade_registries.verify"]

pytestmark = pytest.mark.filterwarnings(IGNORED)


@pytest.fixture
def signed(deployed, new_place, tmp_path):
    """Publish a signed output at a place; return its URI and the public key."""

    def make(place):
        public = make_key_pair(tmp_path / "k", tmp_path / "k.pub")
        deployment = deployed(new_place("local"), place)
        deployment.maker = Maker(Builder(), KeySigner(read_private_key_file(tmp_path / "k")))
        return publish(deployment), public

    return make


def verify(uri: str, environment: dict[str, str], key: Path) -> tuple[int, dict[str, Any]]:
    """Verify; return the exit status and the last event."""
    request = json.dumps({"uri": uri, "keys": [str(key)]})
    run = subprocess.run(
        COMMAND, input=request, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.stderr == ""
    return run.returncode, json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["local", "s3", "swift", "hub", "xet"])
def test_output_of_a_job_is_verified_where_it_was_published(new_place, signed, tmp_path, kind):
    place = new_place(kind)
    uri, public = signed(place)
    status, done = verify(uri, own(place, tmp_path), tmp_path / "k.pub")
    assert (status, [check for check in done["checks"] if check["result"] != "ok"]) == (0, [])
    assert (done["verified"], done["signed_by"], done["lambda"]) == (True, public.key_id, 0.5)


def test_flipped_byte_edited_card_and_extra_file_are_told_apart(place, signed, tmp_path):
    uri, _ = signed(place)
    shard = place.published(NAME)[SHARD]
    changes = {SHARD: shard[:-1] + bytes([shard[-1] ^ 1]), "README.md": b"# mine", "modeling.py": b""}
    status, done = verify(change(place, uri, changes), own(place, tmp_path), tmp_path / "k.pub")
    found = {(check["what"], check["result"]) for check in done["checks"] if check["check"] == "files"}
    assert (status, done["verified"]) == (0, False)
    assert {(SHARD, "failed"), ("README.md", "told"), ("modeling.py", "failed")} < found


@pytest.mark.parametrize("kind", ["local", "s3", "swift", "hub", "xet"])
def test_files_in_folders_are_named_and_hidden_entries_told(new_place, signed, tmp_path, kind):
    place = new_place(kind)
    uri, _ = signed(place)
    extra = ("custom_generate/generate.py", "onnx/sub/model.onnx", ".cache/a", ".cache/b", ".eval_results/x.yaml")
    hidden = {".hidden.safetensors": b"x", ".gitattributes": b""}
    uri = change(place, uri, {**dict.fromkeys(extra, b"x"), **hidden})
    status, done = verify(uri, own(place, tmp_path), tmp_path / "k.pub")
    found = {(check["what"], check["result"]) for check in done["checks"] if check["check"] == "files"}
    folders = {"custom_generate", "onnx"} if kind == "local" else set(extra[:2])
    told = {(".cache", "told"), (".hidden.safetensors", "told")}
    assert (status, done["verified"]) == (0, False)
    assert {each for each in found if each[1] != "ok"} == {(name, "failed") for name in folders} | told


@pytest.mark.parametrize("name", ["a\\b.py", "a\x1b[2J.py"])
def test_file_whose_name_sources_pass_over_is_named(new_place, signed, tmp_path, name):
    place = new_place("s3")
    uri, _ = signed(place)
    _, done = verify(change(place, uri, {name: b"x"}), own(place, tmp_path), tmp_path / "k.pub")
    assert [(check["what"], check["message"]) for check in done["checks"] if check["result"] == "failed"] == [
        (name, "is a file whose name is no plain one, and an output has none; remove it")
    ]
