"""The lineage graph of a running service: two sweeps, the second on an output of the first, and what it tells."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade_client import Client
from tests.fakes.checkpoints import random_pair
from tests.system.serving import Service, serving

BASE = "local://models/base"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lineage")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """A service whose first destination is a root too, and which publishes to a second one."""
    random_pair(folder / "models", base_shards=2)
    (folder / "outputs").mkdir()
    roots = {"models": folder / "models", "elsewhere": folder / "elsewhere"}
    (folder / "elsewhere").mkdir()
    with serving(folder, roots, destinations={"second": folder / "second"}) as running:
        yield running


@pytest.fixture(scope="module")
def sweeps(service: Service, folder: Path) -> dict[str, str]:
    """Two sweeps, the second on a copy of an output of the first; the ids of their jobs."""
    first = service.submit(base=BASE, instruct="local://models/instruct", lambdas=[0.0, 0.5], output_name="a-{lambda}")
    assert service.wait(first["id"])["state"] == "SUCCEEDED"
    shutil.copytree(folder / "outputs/a-0.5", folder / "elsewhere/copied")
    again = {"base": "local://elsewhere/copied", "instruct": "local://models/instruct", "output_name": "b-{lambda}"}
    second = service.submit(lambdas=[0.0, 0.3], destination="second", **again)
    assert service.wait(second["id"])["state"] == "SUCCEEDED"
    return {"first": first["id"], "second": second["id"]}


def crossfade(service: Service, *args: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crossfade_cli", "lineage", *map(str, args), "--url", service.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == status, ended.stderr
    return ended


def test_a_base_tells_what_came_of_it_over_two_destinations_and_a_copy(service, sweeps, folder):
    with Client(service.url) as client:
        found = client.lineage(uri=BASE)
    assert [(node.level, node.sightings[0].name) for node in found.descendants] == [
        (1, "a-0.5"),
        (1, "a-0.0"),
        (2, "b-0.3"),
    ]
    assert {edge.job for edge in found.edges} == set(sweeps.values())
    assert [sighting.uri for sighting in found.descendants[0].sightings] == [
        (folder / "outputs/a-0.5").as_uri(),
        "local://elsewhere/copied",
        (folder / "second/b-0.0").as_uri(),
    ]
    assert not found.truncated


def test_an_output_at_strength_0_is_its_base_once_more(service, sweeps, folder):
    with Client(service.url) as client:
        found = client.lineage(uri=(folder / "second/b-0.0").as_uri())
    (match,) = found.matches
    assert (match.lam, match.copy_of, match.job) == (0.0, "base", sweeps["second"])
    assert match.sources == {"base": "local://elsewhere/copied", "instruct": "local://models/instruct"}
    assert [node.sightings[0].name for node in found.descendants] == ["b-0.3"]
    assert {node.sightings[0].uri for node in found.ancestors} == {BASE, "local://models/instruct"}


def test_a_stray_shard_is_identified_and_drawn_with_what_is_around_it(service, sweeps, folder, tmp_path):
    shards = sorted((folder / "outputs/a-0.5").glob("*.safetensors"))
    stray = shutil.copy(shards[1], tmp_path / "stray.bin")
    ended = crossfade(service, "--file", stray)
    out = folder.as_uri()
    assert ended.stdout.splitlines() == [
        "made of",
        f"├── base: {BASE}",
        "└── instruct: local://models/instruct",
        f"{shards[1].name} of {out}/second/b-0.0, λ = 0.0 of job {sweeps['second']}, the same as its base",
        f"{shards[1].name} of local://elsewhere/copied, a source",
        f"{shards[1].name} of {out}/outputs/a-0.5, λ = 0.5 of job {sweeps['first']}",
        ended.stdout.splitlines()[6],
        "made of it",
        f"└── b-0.3: λ = 0.3, as base, job {sweeps['second']}, {out}/second/b-0.3",
    ]
    assert ended.stderr.startswith("hashing 100%")


def test_machines_get_the_answer_itself(service, sweeps, folder):
    shard = next((folder / "second/b-0.3").glob("*.safetensors"))
    told = json.loads(crossfade(service, shard, "--json").stdout)
    assert (
        told
        == service.client.get("/v1/lineage", params={"digest": hashlib.sha256(shard.read_bytes()).hexdigest()}).json()
    )
    assert [(node["level"], node["sightings"][0]["uri"]) for node in told["ancestors"]][-1] == (2, BASE)


def test_a_folder_is_known_by_its_weights_wherever_it_lies(service, sweeps, folder, tmp_path):
    for shard in (folder / "second/b-0.3").glob("*.safetensors"):
        shutil.copy(shard, tmp_path)
    told = json.loads(crossfade(service, tmp_path, "--json").stdout)
    assert [match["name"] for match in told["matches"]] == ["b-0.3"]


def test_what_is_not_known_says_so_and_exits_1(service, sweeps, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert "nothing here has the SHA-256" in crossfade(service, tmp_path / "model.safetensors", status=1).stderr
