"""What lies beside the files of an output: files in folders, folders, links, pipes, hidden entries. Nothing is read."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from crossfade_core.errors import SourceUnavailable
from crossfade_core.own_files import UNSIGNED
from crossfade_core.ports import Source
from crossfade_registries.plain_names import is_hidden
from crossfade_registries.verification.report import Report

_HUB_CACHE_LINK: Final = re.compile(r"\.\./\.\./blobs/[0-9a-f]{40,64}")
"""How the Hub's own cache keeps a snapshot: links to blobs that are named by their digest.
Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache."""


def check_unlisted(source: Source, report: Report) -> None:
    """Add a row for everything there that is no plain file at the top: an output has no such thing.

    Raises:
        SourceError: The registry cannot list it.
    """
    found = source.unlisted()
    for path, what in found.items():
        if not is_hidden(path):
            report.failed("files", path, f"is {what}, and an output has none; remove it")
    tell_hidden({path.partition("/")[0] for path in found if is_hidden(path)}, report)


def tell_hidden(names: Iterable[str], report: Report) -> None:
    """Add a row for every hidden entry but those that the signature leaves to the Hub by name."""
    for name in sorted(set(names) - set(UNSIGNED)):
        report.told("files", name, "is hidden, and no document of the output tells of it: it was not looked at")


def check_links(folder: Path, names: Iterable[str], report: Report) -> None:
    """Add a row for every file of an output's folder on this machine that is a link.

    Args:
        folder: Where it is.
        names: The files there.
        report: Gets the rows.

    Raises:
        SourceUnavailable: The folder cannot be read.
    """
    for path in (folder / name for name in names if not is_hidden(name)):
        try:
            target = str(path.readlink()) if path.is_symlink() else None
        except OSError as error:
            raise SourceUnavailable(f"{path}: cannot be read: {error.strerror}", source=str(folder)) from error
        if target is not None and not _HUB_CACHE_LINK.fullmatch(target):
            message = (
                f"is a symbolic link to {target}, which may hold something else tomorrow; put the file in its place"
            )
            report.failed("files", path.name, message)
