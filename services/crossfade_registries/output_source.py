"""Open a published output to read it: by the URI that a job shows, or by the path of a folder on this machine."""

import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from crossfade_core.errors import InvalidSpec
from crossfade_core.ports import Source
from crossfade_core.source_ref import HubRef, LocalRef, parse_source
from crossfade_registries.local.source import LocalSource

FORMS: Final = "file:///PATH, s3://BUCKET/PREFIX or hf://ORG/NAME@COMMIT"


def open_output(uri_or_path: str) -> Source:
    """Open an output with the rights and credentials of the user at this machine.

    Args:
        uri_or_path: What a job shows as the output's `uri`; or, where it has no "://", the path of a folder here.

    Raises:
        InvalidSpec: It is none of the forms that sinks return.
        SourceError: It is not there, or may not be read.
    """
    if not uri_or_path or "://" in uri_or_path or "\0" in uri_or_path:
        return open_published(uri_or_path)
    return LocalSource(Path("/"), _below_root(str(Path(uri_or_path).absolute())), uri_or_path)


def open_published(uri: str) -> Source:
    """Open what a job shows as an output's URI, as `open_output` does; a path is none.

    Raises:
        InvalidSpec: It is none of the forms that sinks return.
        SourceError: It is not there, or may not be read.
    """
    folder = _folder_of(uri)
    if folder is not None:
        return LocalSource(Path("/"), _below_root(folder), uri)
    try:
        ref = parse_source(uri)
    except ValueError:
        ref = None
    if ref is None or isinstance(ref, LocalRef) or (isinstance(ref, HubRef) and not ref.is_commit):
        raise InvalidSpec(f"{uri!r} is no output's URI; give the `uri` that the job shows: {FORMS}", field="uri")
    from crossfade_registries.own_registries import open_own_source  # its clients take a second to load

    return open_own_source(ref)


def local_folder(uri_or_path: str) -> Path | None:
    """Return the folder on this machine that an output's URI or path names; None where it is elsewhere."""
    if not uri_or_path or "\0" in uri_or_path:
        return None
    if "://" not in uri_or_path:
        return Path(uri_or_path).absolute()
    folder = _folder_of(uri_or_path)
    return None if folder is None else Path(folder)


def _folder_of(uri: str) -> str | None:
    """Return the path that a file URI (RFC 8089) without a host names; None where it is no such URI."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # brackets that hold no address
        return None
    path = os.fsdecode(unquote_to_bytes(parts.path))
    is_folder = parts.scheme == "file" and not parts.netloc and len(path) > 1 and "\0" not in path
    return path if is_folder else None


def _below_root(path: str) -> str:
    return path.lstrip("/")
