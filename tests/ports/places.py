"""Where the suites of this folder read from and publish to: one class a registry, all asked in the same words.

A place says what a service is configured with to use it, puts a checkpoint there, does there what somebody else might
do meanwhile, misbehaves on request, and shows what any of its users would find. This module has the words, and the
place that is a folder; `s3_place` and `hub_place` have the others.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from crossfade_registries.config import Registries
from crossfade_registries.local.sink import STAGING
from crossfade_registries.settings import RegistrySettings
from tests.fakes.http_faults import Action

DESTINATION = "outputs"
"""The destination's id, whichever place it means."""

Moment = Literal["list", "list below", "read", "send", "send small", "publish"]
"""With which requests something goes wrong: that list files, that fetch a file's bytes, that send a large file's or a
small one's, or the last one of a publication, that makes it look whole."""


class Place(ABC):
    """A registry with models to read and room for outputs.

    Attributes:
        has_fixed_uris: Whether a pinned URI means the same bytes for ever.
        secrets: What no message may hold.
    """

    has_fixed_uris: ClassVar[bool] = False
    secrets: tuple[str, ...] = ()

    @abstractmethod
    def reading(self) -> dict[str, Any]:
        """Return the settings of a service that reads here, the credentials left out."""

    @abstractmethod
    def writing(self) -> dict[str, Any]:
        """Return the settings of a destination here."""

    def credentials(self) -> dict[str, Any]:
        """Return the credentials that both name."""
        return {}

    @abstractmethod
    def put(self, name: str, folder: Path) -> str:
        """Keep a copy of a checkpoint's folder, and return the URI that a job names."""

    @abstractmethod
    def replace(self, name: str, file: str, content: bytes) -> None:
        """Do as somebody who writes another file over one of a checkpoint."""

    @abstractmethod
    def visible(self) -> dict[str, bytes]:
        """Return every file among the outputs that a user of the registry finds, by `output/file`."""

    @abstractmethod
    def staged(self) -> set[str]:
        """Return what is kept among the outputs that is not visible yet, as far as it takes room that is paid for."""

    @abstractmethod
    def put_output(self, name: str, files: Mapping[str, bytes]) -> None:
        """Do as somebody who puts files of their own where an output would be."""

    def published(self, name: str) -> dict[str, bytes]:
        """Return the visible files of one output by name."""
        return {
            path.removeprefix(f"{name}/"): body for path, body in self.visible().items() if path.startswith(f"{name}/")
        }

    @abstractmethod
    def as_source(self, uri: str) -> str:
        """Return what a job names to read a published output."""


class RemotePlace(Place):
    """A place behind HTTP, which counts and misbehaves."""

    @abstractmethod
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
        """Let something go wrong.

        Args:
            action: What.
            at: With which requests.
            output: Of `publish`, of which output.
            file: Of `read` and `send`, with files whose names end like this, where requests tell.
            skip: Let so many such requests pass first.
            times: With so many; None for all until `heal`.
        """

    @property
    @abstractmethod
    def faults_left(self) -> int:
        """How many faults have still to happen, those without end left out."""

    @abstractmethod
    def heal(self) -> None:
        """Let nothing go wrong from here on."""

    @abstractmethod
    def revoke(self) -> None:
        """Let the credentials be refused from here on."""

    @abstractmethod
    def read_bytes(self, name: str) -> Counter[str]:
        """Return how many bytes of each file of a checkpoint went out so far."""

    @abstractmethod
    def asked(self) -> list[str]:
        """Return the path of every request so far."""


class LocalPlace(Place):
    """Folders on this machine.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self._models, self._outputs = folder / "models", folder / "outputs"
        self._models.mkdir(parents=True)
        self._outputs.mkdir()

    def reading(self) -> dict[str, Any]:
        return {"roots": {"models": self._models, "published": self._outputs}}

    def writing(self) -> dict[str, Any]:
        return {"kind": "local", "path": self._outputs}

    def put(self, name: str, folder: Path) -> str:
        copy_folder(folder, self._models / name)
        return f"local://models/{name}"

    def replace(self, name: str, file: str, content: bytes) -> None:
        (self._models / name / file).write_bytes(content)

    def visible(self) -> dict[str, bytes]:
        return {path: body for path, body in self._all().items() if not path.startswith(STAGING)}

    def staged(self) -> set[str]:
        return {path for path in self._all() if path.startswith(STAGING)}

    def put_output(self, name: str, files: Mapping[str, bytes]) -> None:
        (self._outputs / name).mkdir()
        for file, content in files.items():
            (self._outputs / name / file).write_bytes(content)

    def as_source(self, uri: str) -> str:
        return f"local://published/{Path(uri.removeprefix('file://')).relative_to(self._outputs)}"

    def _all(self) -> dict[str, bytes]:
        paths = [path for path in self._outputs.rglob("*") if path.is_file()]
        return {str(path.relative_to(self._outputs)): path.read_bytes() for path in paths}


def registries_of(source: Place, destination: Place, scratch: Path, *, requires_approval: bool = False) -> Registries:
    """Return the registries of a process whose service reads from one place and publishes to another."""
    return Registries(
        RegistrySettings.model_validate(
            {
                **source.reading(),
                "destinations": {DESTINATION: {**destination.writing(), "requires_approval": requires_approval}},
                "credentials": {**source.credentials(), **destination.credentials()},
                "scratch": scratch,
            }
        )
    )


def copy_folder(folder: Path, to: Path) -> None:
    """Copy the files of a folder; those that are written over later must be no hard links."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = to / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
