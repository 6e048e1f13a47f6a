"""A Hub with private repositories to read, and a namespace to publish to."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crossfade_registries.hub.branch import HUB_FILES
from tests.fakes.http_faults import Action
from tests.fakes.hub import Hub
from tests.ports.places import Moment, RemotePlace, copy_folder

MODELS, OUTPUTS = "acme", "team"
TOKEN = "hf_of_the_service"


class HubPlace(RemotePlace):
    """A Hub of its own; large files in Xet or in plain LFS.

    Args:
        hub: The Hub.
        folder: For copies of the checkpoints, which the Hub links to.
        xet: Whether it is one of Xet.
    """

    has_fixed_uris = True
    secrets = (TOKEN,)

    def __init__(self, hub: Hub, folder: Path, *, xet: bool) -> None:
        self.hub = hub
        self._folder, self._xet = folder, xet
        hub.add_token(TOKEN, "service", read=[MODELS], write=[OUTPUTS])

    def reading(self) -> dict[str, Any]:
        return {"hub": {"endpoint": self.hub.url, "credential": "hub-token", "cache": self._folder / "no-cache"}}

    def writing(self) -> dict[str, Any]:
        return {"kind": "hub", "namespace": OUTPUTS, "endpoint": self.hub.url, "credential": "hub-token"}

    def credentials(self) -> dict[str, Any]:
        return {"hub-token": {"token": TOKEN}}

    def put(self, name: str, folder: Path) -> str:
        copy_folder(folder, self._folder / name)
        self.hub.add_repo(f"{MODELS}/{name}", self._folder / name, private=True, xet=self._xet)
        return f"hf://{MODELS}/{name}@main"

    def replace(self, name: str, file: str, content: bytes) -> None:
        self.hub.push(f"{MODELS}/{name}", {file: content}, xet=self._xet)

    def visible(self) -> dict[str, bytes]:
        repos = [self.hub.repo(name) for name in self.hub.repos() if name.startswith(f"{OUTPUTS}/")]
        return {
            f"{repo.id.removeprefix(f'{OUTPUTS}/')}{'' if branch == 'main' else f'@{branch}'}/{path}": self.hub.read(
                repo.id, path, branch
            )
            for repo in repos
            for branch in repo.branches
            for path in self.hub.tree(repo.id, branch)
            if path not in HUB_FILES
        }

    def staged(self) -> set[str]:
        return set()  # what no commit names, the Hub itself removes in time

    def put_output(self, name: str, files: Mapping[str, bytes]) -> None:
        self.hub.add_repo(f"{OUTPUTS}/{name}")
        self.hub.push(f"{OUTPUTS}/{name}", files)

    def as_source(self, uri: str) -> str:
        return uri

    def fail(
        self,
        action: Action,
        at: Moment,
        *,
        output: str = "",
        file: str = ".safetensors",
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        # Uploads to Xet pass no server of the tests; its token, which each begins with, does.
        send = ("hub", "GET", "xet-write-token") if self._xet else ("storage", "PUT", "")
        origin, method, path = {
            "list": ("hub", "GET", "/revision/"),
            "list below": ("hub", "GET", "/tree/"),
            "read": ("storage", "GET", file),
            "send": send,
            "send small": send,
            "publish": ("hub", "POST", f"{OUTPUTS}/{output}/commit/"),
        }[at]
        self.hub.fail(action, origin=origin, method=method, path_contains=path, skip=skip, times=times)

    @property
    def faults_left(self) -> int:
        return self.hub.traffic.faults.left

    def heal(self) -> None:
        self.hub.traffic.faults.clear()

    def revoke(self) -> None:
        self.hub.remove_token(TOKEN)

    def read_bytes(self, name: str) -> Counter[str]:
        return Counter(
            {file: count for (repo, file), count in self.hub.bytes_read.items() if repo == f"{MODELS}/{name}"}
        )

    def asked(self) -> list[str]:
        return [asked.path for asked in self.hub.requests]


@contextlib.contextmanager
def hub_place(folder: Path, *, xet: bool) -> Iterator[HubPlace]:
    """Run a Hub that keeps everything in a folder."""
    with Hub(folder / "hub", xet_dir=folder / "xet" if xet else None) as hub:
        yield HubPlace(hub, folder / "checkpoints", xet=xet)
