"""What a folder on this machine holds beside plain files: links, folders, pipes. Registries elsewhere have none."""

import os
import re
import stat
from pathlib import Path
from typing import Final

from crossfade_core.errors import SourceUnavailable
from crossfade_registries.verification.report import Report

_HUB_CACHE_LINK: Final = re.compile(r"\.\./\.\./blobs/[0-9a-f]{40,64}")
"""How the Hub's own cache keeps a snapshot: links to blobs that are named by their digest.
Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache."""


def check_folder(folder: Path, report: Report) -> None:
    """Add a row for everything in an output's folder that is no plain file; hidden entries are not looked at.

    Raises:
        SourceUnavailable: The folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        for name in names:
            _check_entry(folder / name, report)
    except OSError as error:
        raise SourceUnavailable(f"{folder}: cannot be listed: {error.strerror}", source=str(folder)) from error


def _check_entry(path: Path, report: Report) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = str(path.readlink())
        if not _HUB_CACHE_LINK.fullmatch(target):
            message = (
                f"is a symbolic link to {target}, which may hold something else tomorrow; put the file in its place"
            )
            report.failed("files", path.name, message)
    elif stat.S_ISDIR(mode):
        report.failed("files", path.name, "is a folder, and an output has none; remove it")
    elif not stat.S_ISREG(mode):
        report.failed("files", path.name, "is no plain file; remove it")
