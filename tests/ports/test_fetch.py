"""`python -m crossfade_registries.fetch` gets what a job published at any registry, by the URI that the job shows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.http_faults import Disconnect
from tests.fakes.outputs import read_folder
from tests.ports.places import LocalPlace
from tests.ports.published import NAME, SHARD, change, own, publish
from tests.ports.publishing import IGNORED

COMMAND = [sys.executable, "-m", "crossfade_registries.fetch"]

pytestmark = pytest.mark.filterwarnings(IGNORED)


def fetch(uri: str, out: Path, environment: dict[str, str], **more: Any) -> tuple[int, dict[str, Any]]:
    """Fetch; return the exit status and the last event."""
    request = json.dumps({"uri": uri, "out": str(out), **more})
    run = subprocess.run(
        COMMAND, input=request, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.stderr == ""
    return run.returncode, json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["local", "s3", "swift", "hub", "xet"])
def test_output_is_fetched_bit_for_bit(new_place, deployed, tmp_path, kind):
    place = new_place(kind)
    uri = publish(deployed(new_place("local"), place))
    status, done = fetch(uri, tmp_path / "got/model", own(place, tmp_path))
    assert (status, done["event"], done["strays"]) == (0, "done", [])
    assert read_folder(tmp_path / "got/model") == place.published(NAME)
    assert {file["name"] for file in done["files"]} == set(place.published(NAME)) - {"lineage.json"}
    status, refused = fetch(uri, tmp_path / "got/model", own(place, tmp_path))
    assert (status, refused["error"]["code"]) == (1, "output_exists")


def test_flipped_byte_is_refused_and_extra_files_are_named(place, deployed, new_place, tmp_path):
    uri = publish(deployed(new_place("local"), place))
    shard = place.published(NAME)[SHARD]
    uri = change(place, uri, {SHARD: shard[:-1] + bytes([shard[-1] ^ 1])})
    status, refused = fetch(uri, tmp_path / "model", own(place, tmp_path))
    assert (status, refused["error"]["code"], refused["error"]["details"]["file"]) == (1, "source_corrupted", SHARD)
    assert not (tmp_path / "model").exists()
    uri = change(place, uri, {SHARD: shard, "notes.txt": b"mine", "below/more.txt": b"mine"})
    status, done = fetch(uri, tmp_path / "model", own(place, tmp_path))
    below = "below" if isinstance(place, LocalPlace) else "below/more.txt"
    assert (status, done["strays"]) == (0, ["notes.txt", below])
    extra = {"notes.txt", "below/more.txt"}
    assert read_folder(tmp_path / "model") == {
        name: content for name, content in place.published(NAME).items() if name not in extra
    }


def test_missing_file_is_named_before_anything_is_fetched(place, deployed, new_place, tmp_path):
    uri = publish(deployed(new_place("local"), place))
    lineage = json.loads(place.published(NAME)["lineage.json"])
    lineage["outputs"]["model-00004-of-00004.safetensors"] = lineage["outputs"][SHARD]
    uri = change(place, uri, {"lineage.json": json.dumps(lineage).encode()})
    status, refused = fetch(uri, tmp_path / "model", own(place, tmp_path))
    assert (status, refused["error"]["code"]) == (1, "source_not_found")
    assert refused["error"]["details"]["files"] == ["model-00004-of-00004.safetensors"]
    assert not any("model" in path.name for path in tmp_path.iterdir())


def test_connection_that_is_cut_is_survived(remote, deployed, new_place, large_pair, tmp_path):
    uri = publish(deployed(new_place("local"), remote, pair=large_pair, chunk_bytes=1 << 18))
    remote.fail(Disconnect(after_bytes=1 << 20), "read", times=2)
    status, _ = fetch(uri, tmp_path / "model", own(remote, tmp_path))
    assert status == 0
    assert read_folder(tmp_path / "model") == remote.published(NAME)


def test_without_the_users_credential_nothing_is_read(remote, deployed, new_place, tmp_path):
    uri = publish(deployed(new_place("local"), remote))
    remote.revoke()
    status, refused = fetch(uri, tmp_path / "model", own(remote, tmp_path))
    assert (status, refused["error"]["code"]) in ((1, "source_denied"), (1, "source_not_found"))
    assert all(secret not in json.dumps(refused) for secret in remote.secrets)
    assert not any(path.name.startswith(".model") for path in tmp_path.iterdir())
