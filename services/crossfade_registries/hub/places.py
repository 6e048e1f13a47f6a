"""Which repository and branch of a Hub an output's name means. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from crossfade_core.errors import OutputNameUnsafe
from crossfade_core.output_name import check_output_name
from crossfade_registries.settings import HubDestination

MAIN: Final = "main"

_REPO = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubPlace:
    """One branch of one repository.

    Attributes:
        output: The output's name, as the job calls it.
        repo: `namespace/name`.
        branch: Its branch.
    """

    output: str
    repo: str
    branch: str

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"hf://{self.repo}" if self.branch == MAIN else f"hf://{self.repo}@{self.branch}"

    def uri(self, commit: str) -> str:
        """Return the URI that means what the place holds at a commit."""
        return f"hf://{self.repo}@{commit}"


def place_of(destination: HubDestination, name: str) -> HubPlace:
    """Return where output `name` goes.

    Raises:
        OutputNameUnsafe: The destination makes no repository or branch of such a name.
    """
    try:
        parts = check_output_name(name).split("/")
    except ValueError as error:
        raise OutputNameUnsafe(str(error), output=name) from error
    if destination.outputs == "repo":
        if len(parts) != 1:
            raise OutputNameUnsafe(
                f"output name {name!r}: every output of this destination is a repository of its own; set output_name "
                "to one part, for instance `{instruct}-pad-{lambda}`",
                output=name,
            )
        return HubPlace(name, f"{destination.namespace}/{_repo(parts[0], name)}", MAIN)
    if len(parts) == 1 and destination.repo is not None:
        parts = [destination.repo, *parts]
    if len(parts) != 2:
        raise OutputNameUnsafe(
            f"output name {name!r}: every output of this destination is a branch; set output_name to REPO/BRANCH, for "
            "instance `{instruct}-pad/{lambda}`" + ("" if destination.repo is None else ", or to BRANCH alone"),
            output=name,
        )
    return HubPlace(name, f"{destination.namespace}/{_repo(parts[0], name)}", _branch(parts[1], name))


def _repo(text: str, name: str) -> str:
    """Source: `validate_repo_id` of huggingface_hub, which leaves the name's end to the Hub."""
    if not _REPO.fullmatch(text) or "--" in text or ".." in text or text.endswith(".git"):
        raise OutputNameUnsafe(
            f"output name {name!r}: {text!r} cannot be a repository's name: 96 characters at most, ending in a letter, "
            "a digit or '_', without '--' and '..', and not in '.git'; set another output_name",
            output=name,
        )
    return text


def _branch(text: str, name: str) -> str:
    """Source: git-check-ref-format(1); what looks like a commit would be taken for one."""
    if ".." in text or text.endswith((".", ".lock")) or _COMMIT.fullmatch(text) or text == "HEAD":
        raise OutputNameUnsafe(
            f"output name {name!r}: {text!r} cannot be a branch's name: no '..', not ending in '.' or '.lock', not "
            "like a commit; set another output_name",
            output=name,
        )
    return text
