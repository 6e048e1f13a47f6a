"""What a branch on a Hub holds, and whether an output may go there. Reads, and creates a branch; deletes nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from crossfade_core.errors import OutputExists, OutputMoved, OutputNameUnsafe
from crossfade_core.own_files import CARD_FILE, LINEAGE_FILE
from crossfade_core.ports import StagedFile
from crossfade_registries.hub.client import HUB_ERRORS, sink_error
from crossfade_registries.hub.places import HubPlace
from crossfade_registries.retrying import Patience, retried

HUB_FILES: Final = frozenset({".gitattributes"})
"""Files that the Hub keeps for itself in every repository; no output has, or removes, them."""

T = TypeVar("T")


@dataclass(frozen=True)
class HeldFile:
    """A file of a commit; `oid` is its SHA-256 in large storage, and git's name of it elsewhere."""

    size_bytes: int
    oid: str

    def is_of(self, staged: StagedFile) -> bool:
        """Tell whether it has that size, and that SHA-256 where the Hub states one."""
        is_large = len(self.oid) == len(staged.sha256)
        return self.size_bytes == staged.size_bytes and (not is_large or self.oid == staged.sha256)


@dataclass(frozen=True)
class Head:
    """A commit and the files it holds by path, the Hub's own left out."""

    commit: str
    files: Mapping[str, HeldFile]

    def consists_of(self, files: Mapping[str, StagedFile]) -> bool:
        """Tell whether it holds these files, as far as the Hub tells; a model card may have been edited."""
        return self.files.keys() == files.keys() and all(
            held.is_of(files[path]) for path, held in self.files.items() if path != CARD_FILE
        )


class HubBranches:
    """The branches that outputs go to.

    Args:
        api: Of the Hub.
        patience: With it.
    """

    def __init__(self, api: HfApi, patience: Patience) -> None:
        self._api = api
        self._patience = patience

    def head(self, place: HubPlace) -> Head | None:
        """Return what the branch holds; None where there is no such branch, or no such repository.

        Raises:
            OutputNameUnsafe: The repository has another name now.
            SinkError: The Hub refused, or is away.
        """
        found = self.ask(place, lambda: self._find(place))
        if found is None:
            return None
        commit, repo = found
        if repo != place.repo:
            raise OutputNameUnsafe(
                f"output {place.output}: {place.repo} is called {repo} on the Hub; set another output_name",
                output=place.output,
            )
        return Head(commit, self.files(place, commit))

    def files(self, place: HubPlace, commit: str) -> dict[str, HeldFile]:
        """Return the files of a commit by path, the Hub's own left out.

        Raises:
            SinkError: The Hub refused, or is away.
        """
        tree = self.ask(place, lambda: list(self._api.list_repo_tree(place.repo, recursive=True, revision=commit)))
        return {
            entry.path: HeldFile(entry.size, entry.blob_id if entry.lfs is None else entry.lfs.sha256)
            for entry in tree
            if isinstance(entry, RepoFile) and entry.path not in HUB_FILES
        }

    def create(self, place: HubPlace) -> Head:
        """Make the branch, from the repository's first commit: of what outputs it holds, none goes along.

        Raises:
            OutputMoved: Somebody else made it, and committed to it.
            SinkError: The Hub refused, or is away.
        """
        first = self.ask(place, lambda: self._api.list_repo_commits(place.repo)[-1].commit_id)
        self.ask(
            place,
            lambda: self._api.create_branch(place.repo, branch=place.branch, revision=first, exist_ok=True),
        )
        head = self.head(place)
        if head is None or head.commit != first:
            raise OutputMoved(
                f"{place.title}: somebody else changed the branch while it was made; choose another output_name",
                output=place.output,
            )
        return head

    def ask(self, place: HubPlace, call: Callable[[], T]) -> T:
        """Return what `call` returns, trying again while the Hub is away.

        Raises:
            SinkError: The Hub refused, or is away.
        """

        def once() -> T:
            try:
                return call()
            except HUB_ERRORS as error:
                raise sink_error(error, place.title, output=place.output) from error

        return retried(once, self._patience)

    def _find(self, place: HubPlace) -> tuple[str, str] | None:
        try:
            info = self._api.model_info(place.repo, revision=place.branch)
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            if is_absent(error):
                return None
            raise
        return str(info.sha), info.id


def check_replaceable(place: HubPlace, head: Head | None, *, overwrite: bool) -> None:
    """Let pass what an output may be published over: nothing, no files, or with `overwrite` an earlier output.

    Raises:
        OutputExists: There are files, and the job does not overwrite.
        OutputNameUnsafe: What would be replaced is no output.
    """
    if head is None or not head.files:
        return
    if not overwrite:
        raise OutputExists(
            f"{place.title} exists and holds {len(head.files)} files; choose another output_name, or set overwrite to "
            "replace it",
            output=place.output,
        )
    if LINEAGE_FILE not in head.files:
        raise OutputNameUnsafe(
            f"{place.title} is no earlier output, it holds no {LINEAGE_FILE}; only outputs are replaced: choose "
            "another output_name",
            output=place.output,
        )


def is_absent(error: HfHubHTTPError) -> bool:
    """Tell whether nothing is there; the client raises the same error for a 401, which means something else."""
    return error.response.status_code == 404
