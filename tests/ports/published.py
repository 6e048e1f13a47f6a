"""Outputs that a job has published at any registry, as their users reach and change them."""

import os
from pathlib import Path
from typing import Final

from tests.ports.hub_place import HubPlace
from tests.ports.places import Place
from tests.ports.service import PlacedDeployment

NAME: Final = "tuned-0.5"
SHARD: Final = "model-00001-of-00003.safetensors"


def own(place: Place, home: Path) -> dict[str, str]:
    """Return the environment of a user who has credentials of a place, as their own tools would find them."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HF_", "HUGGING"))}
    where, secrets = place.writing(), {}
    for credential in place.credentials().values():
        secrets |= credential
    told = {
        "HF_ENDPOINT": where.get("endpoint"),
        "HF_TOKEN": secrets.get("token"),
        "AWS_ENDPOINT_URL": where.get("endpoint_url"),
        "AWS_ACCESS_KEY_ID": secrets.get("access_key_id"),
        "AWS_SECRET_ACCESS_KEY": secrets.get("secret_access_key"),
    }
    return {**theirs, "HOME": str(home), "HF_HOME": str(home)} | {
        name: value for name, value in told.items() if value is not None
    }


def publish(deployment: PlacedDeployment) -> str:
    """Run a job; return the URI of its one output."""
    job = deployment.run(lambdas=[0.5])
    assert (job.state, job.error) == ("SUCCEEDED", None)
    (output,) = deployment.store.list_outputs(job.id)
    return output.uri


def change(place: Place, uri: str, files: dict[str, bytes]) -> str:
    """Do as somebody who writes over files of an output; return where what is there now is found."""
    if isinstance(place, HubPlace):
        repo = uri.removeprefix("hf://").partition("@")[0]
        place.hub.push(repo, files)
        return f"hf://{repo}@{place.hub.repo(repo).branches['main']}"
    for name, content in files.items():
        if uri.startswith("file://"):
            path = Path(uri.removeprefix("file://")) / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(content)
        else:
            place.put_output(NAME, {name: content})
    return uri
