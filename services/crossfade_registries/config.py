"""Turn names into registries: which roots may be read and which destinations written is the server's configuration.

A job holds a source URI and a destination id; what they mean is decided here and nowhere else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from crossfade_core.errors import UnknownDestination, UnknownRoot
from crossfade_core.job import JobId
from crossfade_core.ports import Sink, Source
from crossfade_core.spec import MergeSpec, SourceRef
from crossfade_registries.local_sink import LocalSink
from crossfade_registries.local_source import LocalSource


def _check_absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{path} must be an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_check_absolute)]
RootName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]


WriteStrategy = Literal["auto", "buffered"]
"""Measured: past the page cache a sweep takes half the time and CPU (docs/performance.md)."""


class LocalDestination(BaseModel):
    """A folder on a file system that every worker sees; it must exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["local"] = "local"
    path: AbsolutePath
    write: WriteStrategy = Field(
        default="auto", description="`auto` bypasses the page cache where the file system can; `buffered` never does."
    )


class Registries:
    """The registries of one deployment.

    Args:
        roots: Folder of each named root that sources may be read from.
        destinations: What each destination id means.
    """

    def __init__(self, roots: Mapping[str, Path], destinations: Mapping[str, LocalDestination]) -> None:
        self._roots = dict(roots)
        self._destinations = dict(destinations)

    def open_source(self, uri: str) -> Source:
        """Open the checkpoint at `uri`.

        Raises:
            UnknownRoot: The configuration has no such root.
            PathOutsideRoot: The path leads out of its root through a symbolic link.
            SourceNotFound: There is no such folder.
        """
        ref = SourceRef.parse(uri)
        if ref.root not in self._roots:
            raise UnknownRoot(
                f"{uri}: this server has no root {ref.root!r}; it has {_names(self._roots)}", root=ref.root, source=uri
            )
        return LocalSource(self._roots[ref.root], ref.path, uri)

    def open_sink(self, spec: MergeSpec, job_id: JobId) -> Sink:
        """Open the spec's destination for one job.

        Raises:
            UnknownDestination: The configuration has no such destination.
        """
        destination = self._destinations.get(spec.destination)
        if destination is None:
            raise UnknownDestination(
                f"this server has no destination {spec.destination!r}; it has {_names(self._destinations)}",
                destination=spec.destination,
            )
        is_direct = destination.write == "auto"
        return LocalSink(destination.path, job_id, overwrite=spec.overwrite, direct=is_direct)


def _names(known: Mapping[str, object]) -> str:
    return ", ".join(sorted(known)) or "none"
