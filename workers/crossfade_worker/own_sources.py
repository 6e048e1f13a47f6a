"""Sources of a merge that runs without a service: folders of this machine, and registries as its user reaches them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from crossfade_core.errors import UnknownRoot
from crossfade_core.ports import Source
from crossfade_core.source_ref import FILESYSTEM, LocalRef, parse_source
from crossfade_registries.local.source import LocalSource

_REMOTE_SCHEMES: Final = ("hf://", "s3://")


def own_uri(place: str) -> str:
    """Return a remote source as it stands; a path absolute and free of '..', where links keep their names."""
    if place.startswith(_REMOTE_SCHEMES):
        return place
    return f"local://{FILESYSTEM}{os.path.normpath(Path(place).absolute())}"


class OwnSources:
    """Opens sources for the user of this machine.

    Args:
        roots: Folders of other machines' roots, by the names that URIs give them.
    """

    def __init__(self, roots: Mapping[str, Path] | None = None) -> None:
        self._roots = {**(roots or {}), FILESYSTEM: Path("/")}

    def open(self, uri: str) -> Source:
        """Open a source by its URI.

        Raises:
            UnknownRoot: Nobody said where its root lies here.
            SourceError: It is not there, or may not be read.
        """
        ref = parse_source(uri)
        if isinstance(ref, LocalRef):
            return LocalSource(self._folder(ref), ref.path, uri)
        from crossfade_registries.own_registries import open_own_source  # its clients take a second to load

        return open_own_source(ref)

    def place(self, uri: str) -> str:
        """Return where a source is opened: the path of a folder on this machine, or the URI itself.

        Raises:
            UnknownRoot: Nobody said where its root lies here.
        """
        ref = parse_source(uri)
        return str(self._folder(ref) / ref.path) if isinstance(ref, LocalRef) else ref.uri

    def _folder(self, ref: LocalRef) -> Path:
        if ref.root not in self._roots:
            raise UnknownRoot(
                f"{ref.uri}: {ref.root!r} is a folder that the service knew by this name; say where it lies on this "
                f"machine with --root {ref.root}=DIR, or give another copy of the source with --source",
                root=ref.root,
                source=ref.uri,
            )
        return self._roots[ref.root]
