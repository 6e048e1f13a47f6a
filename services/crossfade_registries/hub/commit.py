"""The one commit that makes an output visible on a Hub: made on a head that was looked at, and read back."""

from collections.abc import Mapping, Sequence

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from crossfade_core.errors import (
    OutputMoved,
    OutputNameUnsafe,
    SinkError,
    StagedFileCorrupted,
    StagedFileLost,
)
from crossfade_core.job import JobId
from crossfade_core.own_files import LINEAGE_FILE
from crossfade_registries.hub.branch import Head, HeldFile, HubBranches
from crossfade_registries.hub.client import HUB_ERRORS, sink_error
from crossfade_registries.hub.operations import oid
from crossfade_registries.hub.places import HubPlace
from crossfade_registries.retrying import Patience, retried

_NAMED = 5
"""Of files that are wrong, so many in a message."""

_Operation = CommitOperationAdd | CommitOperationDelete


class HubCommit:
    """A commit to be made.

    Args:
        api: Of the Hub.
        branches: Of the same Hub.
        place: Where it goes.
        additions: What its tree holds afterwards, by path, the Hub's own files left out; everything else goes.
        patience: With a Hub that is away.
    """

    def __init__(
        self,
        api: HfApi,
        branches: HubBranches,
        place: HubPlace,
        additions: Mapping[str, CommitOperationAdd],
        *,
        patience: Patience,
    ) -> None:
        self._api, self._branches, self._place = api, branches, place
        self._additions = additions
        self._patience = patience
        self._files = {path: HeldFile(addition.upload_info.size, oid(addition)) for path, addition in additions.items()}

    def is_made(self, head: Head) -> bool:
        """Tell whether a head is this commit: it has the same lineage record, which names the job and every digest."""
        return LINEAGE_FILE in self._files and head.files.get(LINEAGE_FILE) == self._files[LINEAGE_FILE]

    def make(self, head: Head, job_id: JobId) -> str:
        """Make the commit on `head`, and return its id.

        Raises:
            OutputMoved: The branch is no longer at `head`.
            StagedFileLost: The Hub does not hold the content of an addition.
            SinkError: It refused, or is away.
        """
        operations: list[_Operation] = [*self._deletions(head), *self._additions.values()]
        try:
            return retried(lambda: self._send(head, operations, job_id), self._patience)
        except OutputMoved:
            # An answer that was lost looks like this too: the commit is there, and trying again finds the branch moved.
            now = self._branches.head(self._place)
            if now is not None and self.is_made(now):
                return now.commit
            raise

    def verify(self, commit: str) -> None:
        """Hold what a commit shows against what it was to add.

        Raises:
            StagedFileCorrupted: It is something else.
            SinkError: The Hub refused, or is away.
        """
        held = self._branches.files(self._place, commit)
        wrong = [
            f"{path}: {_told(self._files.get(path))} expected, {_told(held.get(path))} found"
            for path in sorted(held.keys() | self._files.keys())
            if held.get(path) != self._files.get(path)
        ]
        if wrong:
            raise StagedFileCorrupted(
                f"{self._place.uri(commit)}: the commit is not what was sent: {'; '.join(wrong[:_NAMED])}"
                f"{' and more' if len(wrong) > _NAMED else ''}; do not use it, and run the job again with overwrite",
                output=self._place.output,
            )

    def _send(self, head: Head, operations: Sequence[_Operation], job_id: JobId) -> str:
        place = self._place
        try:
            return self._api.create_commit(
                place.repo,
                operations,
                commit_message=f"Publish {place.output}",
                commit_description=f"crossfade job {job_id}",
                revision=place.branch,
                parent_commit=head.commit,
            ).oid
        except HUB_ERRORS as error:
            raise _error(error, place) from error

    def _deletions(self, head: Head) -> list[CommitOperationDelete]:
        try:
            return [CommitOperationDelete(path) for path in sorted(head.files.keys() - self._additions.keys())]
        except ValueError as error:  # of folders that the client does not touch, like .cache
            raise OutputNameUnsafe(
                f"{self._place.title} holds files that no output has and the client does not remove; remove them, or "
                "choose another output_name",
                output=self._place.output,
            ) from error


def _told(file: HeldFile | None) -> str:
    return "no file" if file is None else f"{file.size_bytes} bytes {file.oid}"


def _error(error: Exception, place: HubPlace) -> SinkError:
    if isinstance(error, HfHubHTTPError) and "lfs pointer" in (error.server_message or "").lower():
        return StagedFileLost(
            f"{place.title}: the Hub no longer holds a file that was staged there ({error.server_message}); run "
            "the job again",
            output=place.output,
        )
    if isinstance(error, ValueError) and "README.md" in str(error):
        said = " ".join(str(error).split())
        return SinkError(f"{place.title}: the Hub does not take the model card: {said}", output=place.output)
    return sink_error(error, place.title, output=place.output)
