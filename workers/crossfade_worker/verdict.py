"""Why an output is not what a rebuild made: an input, the published file, its lineage, or the computation itself."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from crossfade_core.own_files import LINEAGE_FILE
from crossfade_core.ports import FileInfo, OpenSource, Source, StagedFile
from crossfade_core.spec import Role
from crossfade_registries.reading import digest_file
from crossfade_worker.difference import Difference
from crossfade_worker.recipe import Recipe

Known = Mapping[Role, Mapping[str, str]]
"""SHA-256 of input files that were read whole already, by role and name."""


class Cause(StrEnum):
    """What is not as it was."""

    INPUT = "input"
    PUBLISHED = "published"
    LINEAGE = "lineage"
    COMPUTATION = "computation"


@dataclass(frozen=True)
class Verdict:
    """What a rebuild came to.

    Attributes:
        message: For people.
        cause: None where every byte is the published one.
        difference: The first, where one was found.
    """

    message: str
    cause: Cause | None = None
    difference: Difference | None = None

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "reproduced": self.cause is None,
            "message": self.message,
            "cause": self.cause,
            "difference": None if self.difference is None else self.difference.as_record(),
        }


def find_changed_input(
    recipe: Recipe, open_source: OpenSource, known: Known | None = None, *, is_reading: bool
) -> Verdict | None:
    """Hold the inputs against what the lineage pins; return what the first other file means.

    Args:
        recipe: What the output is made of.
        open_source: How to reach the inputs.
        known: What need not be read again.
        is_reading: Whether files are read whole; else by size, and by digests that registries themselves state.

    Raises:
        SourceError: One cannot be read.
    """
    known = known or {}
    for role, uri in recipe.spec.sources.items():
        pinned = recipe.inputs[role]
        with contextlib.closing(open_source(uri)) as source:
            present = source.files()
            for name, expected in sorted(pinned.items()):
                sha256 = known.get(role, {}).get(name)
                found = _found(source, present.get(name), sha256, is_reading=is_reading)
                if found not in (expected, StagedFile(expected.size_bytes, "")):
                    return _changed(f"{uri}/{name}", role, f"{_told(expected)} pinned, {_told(found)} found")
        for name in sorted(known.get(role, {}).keys() - pinned.keys()):
            return Verdict(
                f"{uri}/{name}, of the {role}, is read by the merge, and {LINEAGE_FILE} pins no digest of it; somebody "
                f"has changed {LINEAGE_FILE}",
                Cause.LINEAGE,
            )
    return None


def judge_published(found: Difference, files: Mapping[str, StagedFile], output: Source) -> Verdict:
    """Say of a difference, the inputs being those that are pinned, whether the published file is the damaged one.

    Raises:
        SourceError: It cannot be read.
    """
    expected, present = files.get(found.file), output.files().get(found.file)
    actual = None if present is None else digest_file(output, present)
    if expected is not None and actual != expected:
        return Verdict(
            f"{found.file} is damaged: {_told(expected)} stated by {LINEAGE_FILE}, {_told(actual)} published; "
            f"fetch it again, or publish it anew; first difference: {found.reason}",
            Cause.PUBLISHED,
            found,
        )
    return Verdict(
        f"{found.file} comes out otherwise though every input is the one that {LINEAGE_FILE} pins: it is not what its "
        f"lineage says, or other software made it; first difference: {found.reason}",
        Cause.COMPUTATION,
        found,
    )


def judge_lineage(made: Mapping[str, StagedFile], files: Mapping[str, StagedFile]) -> Verdict | None:
    """Return what it means that a file is the published one byte for byte, and not the one that its lineage states."""
    for name, about in sorted(made.items()):
        if files[name] != about:
            return Verdict(
                f"{name} is reproduced, and {LINEAGE_FILE} states another digest of it: {_told(files[name])} stated, "
                f"{_told(about)} published and rebuilt; somebody has changed {LINEAGE_FILE}",
                Cause.LINEAGE,
            )
    return None


def judge_strays(strays: Sequence[str]) -> Verdict | None:
    """Return what files beside the reproduced ones mean: transformers takes `model.safetensors` before any shard."""
    if not strays:
        return None
    return Verdict(
        f"all that {LINEAGE_FILE} tells of is reproduced, and beside it is published what it does not tell of: "
        f"{', '.join(strays)}; who loads the output may get that instead: remove it, or fetch the output, which leaves "
        "it out",
        Cause.PUBLISHED,
        Difference(strays[0], f"it is published, and {LINEAGE_FILE} does not tell of it"),
    )


def _found(source: Source, info: FileInfo | None, sha256: str | None, *, is_reading: bool) -> StagedFile | None:
    if info is None:
        return None
    if sha256 is None and is_reading:
        return digest_file(source, info)
    return StagedFile(info.size_bytes, sha256 or info.sha256 or "")


def _changed(where: str, role: Role, reason: str) -> Verdict:
    return Verdict(
        f"{where}, of the {role}, is not the file that was merged: {reason}; all that differs in the output follows "
        "from it",
        Cause.INPUT,
    )


def _told(about: StagedFile | None) -> str:
    if about is None:
        return "no such file"
    return f"{about.size_bytes} bytes" + (f" of SHA-256 {about.sha256}" if about.sha256 else "")
