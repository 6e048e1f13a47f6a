"""What a service published at any registry is made again from inputs at any registry, by the URI that the job shows."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.ports.places import Place
from tests.ports.publishing import IGNORED
from tests.ports.test_fetch import NAME, SHARD, change, own, publish

COMMAND = [sys.executable, "-m", "crossfade_worker.rebuild"]

pytestmark = pytest.mark.filterwarnings(IGNORED)


def rebuild(uri: str, environment: dict[str, str], **more: Any) -> dict[str, Any]:
    """Rebuild in a process of its own, which is how a user's credentials are taken from the environment."""
    request = json.dumps({"uri": uri, "threads": 2, **more})
    run = subprocess.run(
        COMMAND, input=request, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.stderr == ""
    return json.loads(run.stdout.splitlines()[-1])


def given(place: Place) -> dict[str, Any]:
    """Return what a user says of names that are the service's own: its roots, and its buckets with their prefixes."""
    reading = place.reading()
    roots = {name: str(folder) for name, folder in reading.get("roots", {}).items()}
    buckets = [one for one in reading.get("buckets", {}).values() if "prefix" in one]
    sources = {role: f"s3://{one['bucket']}/{one['prefix']}/{role}" for one in buckets for role in ("base", "instruct")}
    return {"roots": roots, "sources": sources}


@pytest.mark.parametrize("kind", ["local", "s3", "swift", "hub", "xet"])
def test_output_is_reproduced_from_inputs_at_the_same_kind_of_place(new_place, deployed, tmp_path, kind):
    place = new_place(kind)
    deployment = deployed(place, place)
    done = rebuild(publish(deployment), own(place, tmp_path), **given(place))
    assert (done.get("reproduced"), done.get("message")) == (True, "reproduced, bit for bit"), done
    assert {file["name"] for file in done["files"]} | set(done["not_compared"]) == set(place.published(NAME))


def test_flipped_bit_names_the_tensor(place, deployed, tmp_path):
    deployment = deployed(place, place)
    uri = publish(deployment)
    shard = place.published(NAME)[SHARD]
    uri = change(place, uri, {SHARD: shard[:-1] + bytes([shard[-1] ^ 1])})
    done = rebuild(uri, own(place, tmp_path), **given(place))
    assert (done["reproduced"], done["cause"], done["difference"]["file"]) == (False, "published", SHARD)
    assert done["difference"]["tensor"] in done["message"]
