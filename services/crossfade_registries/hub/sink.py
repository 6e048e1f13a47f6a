"""Publish outputs to a Hub: every file goes up as soon as it is written, one commit makes them visible together.

Never deletes a repository or a branch, never changes the visibility of a repository that is there, and removes files
only where the job says so, and then only those of an earlier output. What a job that failed leaves: repositories and
branches without files, which a later job uses, and objects in large storage that no commit names.
"""

import functools
import threading
from collections.abc import Mapping
from typing import Final

from huggingface_hub import CommitOperationAdd, HfApi

from crossfade_core.errors import OutputNameUnsafe, SinkDenied, SinkError, StagedFileLost
from crossfade_core.job import JobId
from crossfade_core.output_name import check_output_name
from crossfade_core.ports import StagedFile
from crossfade_registries.hub.branch import HubBranches, check_replaceable
from crossfade_registries.hub.client import HUB_ERRORS, sink_error
from crossfade_registries.hub.commit import HubCommit
from crossfade_registries.hub.operations import held_content, is_always_large, staged_file, uploaded_addition
from crossfade_registries.hub.places import HubPlace, place_of
from crossfade_registries.hub.rights import why_not_writable
from crossfade_registries.hub.scratch import Scratch, ScratchFile
from crossfade_registries.hub.upload import send_file
from crossfade_registries.hub.writer import HubFileWriter
from crossfade_registries.retrying import Patience
from crossfade_registries.settings import HubDestination

_PATIENCE: Final = Patience()


class HubSink:
    """One job's outputs in one namespace of a Hub. Safe to use from several threads.

    Holds, from their staging to their commit, the small files, which the Hub may want in the commit itself: at most
    10 MiB each. Everything else is at the Hub once it is staged.

    Args:
        api: Of the Hub, with the destination's credential.
        destination: Where outputs go.
        job_id: Named in the commits.
        overwrite: Whether an output already there is replaced.
        scratch: For files on their way up.
        patience: With a Hub that is away.
    """

    def __init__(
        self,
        api: HfApi,
        destination: HubDestination,
        job_id: JobId,
        *,
        overwrite: bool = False,
        scratch: Scratch,
        patience: Patience = _PATIENCE,
    ) -> None:
        self._api, self._destination, self._job_id = api, destination, job_id
        self._overwrite = overwrite
        self._scratch = scratch
        self._patience = patience
        self._branches = HubBranches(api, patience)
        self._staged: dict[HubPlace, dict[str, CommitOperationAdd]] = {}
        self._published: dict[HubPlace, tuple[dict[str, StagedFile], str]] = {}
        self._repos: set[str] = set()
        self._lock = threading.Lock()

    @property
    def requires_approval(self) -> bool:
        """Whether outputs are committed on approval only."""
        return self._destination.requires_approval

    def check_free(self, name: str) -> None:
        """Say early what `commit` would refuse.

        Raises:
            OutputNameUnsafe: The destination makes no repository or branch of such a name, or what is there is no
                output.
            OutputExists: The branch holds files and the job does not overwrite.
            SinkDenied: The credential certainly cannot write there.
            SinkError: The Hub refused, or is away.
        """
        place = place_of(self._destination, name)
        self._check_rights(place)
        check_replaceable(place, self._branches.head(place), overwrite=self._overwrite)

    def check_room(self, file_bytes: int, files: int) -> None:
        """Say early whether scratch has room for the units under way at once.

        Raises:
            ScratchTooSmall: It has not.
            SinkUnavailable: Its folder is not there.
        """
        self._scratch.check_room(file_bytes, files)

    def scratch_bytes(self, file_bytes: int, files: int) -> int:
        """Return what the units under way at once may need."""
        return self._scratch.needed_bytes(file_bytes, files)

    def create_file(self, name: str, file: str, size_bytes: int) -> HubFileWriter:
        """Begin a file of `size_bytes` in scratch; it goes up when the writer finishes.

        Raises:
            OutputNameUnsafe: The name or the file's name is unsafe.
            SinkUnavailable: Scratch has no room.
        """
        place = place_of(self._destination, name)
        _check_file(file, name)
        return HubFileWriter(
            file, size_bytes, self._scratch.create(size_bytes), functools.partial(self._send, place, file)
        )

    def commit(self, name: str, files: Mapping[str, StagedFile]) -> str:
        """Publish the staged output in one commit and return its `hf://REPO@COMMIT` URI.

        The repository is made where it is missing, the branch too, from the repository's first commit.

        Raises:
            OutputNameUnsafe: What is to be replaced is no output.
            OutputExists: Something else is there and the job does not overwrite.
            OutputMoved: Somebody else committed there meanwhile.
            StagedFileLost: The Hub no longer has a staged file, or a small one was staged by another process.
            StagedFileCorrupted: What the commit shows is not what was staged.
            SinkError: A staged file is of another size or digest or is extra, or the Hub refused, or is away.
        """
        place = place_of(self._destination, name)
        published = self._published.get(place)
        if published is not None and published[0] == dict(files):
            return published[1]
        commit = HubCommit(self._api, self._branches, place, self._additions(place, files), patience=self._patience)
        head = self._branches.head(place)
        if head is None:
            self._create_repo(place)
            head = self._branches.head(place)
        if head is None or not commit.is_made(head):
            check_replaceable(place, head, overwrite=self._overwrite)
            made = commit.make(head or self._branches.create(place), self._job_id)
        else:
            made = head.commit
        commit.verify(made)
        self._published[place] = dict(files), place.uri(made)
        self._staged.pop(place, None)
        return place.uri(made)

    def hand_over(self, name: str) -> Mapping[str, bytes]:
        """Return the small files of output `name` and forget them; the rest any process can commit.

        Raises:
            OutputNameUnsafe: The name is unsafe.
        """
        mine = self._staged.pop(place_of(self._destination, name), {})
        return {file: held for file, sent in mine.items() if (held := held_content(sent)) is not None}

    def holds(self, name: str, files: Mapping[str, StagedFile]) -> bool:
        """Tell whether the branch has these files: what is large by SHA-256, the rest but the card by size.

        Raises:
            OutputNameUnsafe: The destination makes no repository or branch of such a name.
            SinkError: The Hub refused, or is away.
        """
        head = self._branches.head(place_of(self._destination, name))
        return head is not None and head.consists_of(files)

    def discard(self) -> None:
        """Forget what this object holds. Nothing is removed from the Hub, and nothing staged there was ever visible."""
        self._staged.clear()

    def _send(self, place: HubPlace, file: str, scratch: ScratchFile, staged: StagedFile) -> None:
        self._create_repo(place)
        sent = send_file(self._api, place, file, scratch, staged)
        with self._lock:
            self._staged.setdefault(place, {})[file] = sent

    def _create_repo(self, place: HubPlace) -> None:
        is_private = self._destination.visibility == "private"
        with self._lock:
            if place.repo not in self._repos:
                self._branches.ask(place, lambda: self._api.create_repo(place.repo, private=is_private, exist_ok=True))
                self._repos.add(place.repo)

    def _additions(self, place: HubPlace, files: Mapping[str, StagedFile]) -> dict[str, CommitOperationAdd]:
        """Return what makes up the output: what was staged here, and for the rest what others have uploaded."""
        mine = self._staged.get(place, {})
        _check_staged(place, files, {file: staged_file(sent) for file, sent in mine.items()})
        return {file: mine[file] if file in mine else uploaded_addition(file, staged) for file, staged in files.items()}

    def _check_rights(self, place: HubPlace) -> None:
        namespace = self._destination.namespace
        try:
            why = why_not_writable(self._api.whoami(cache=True), namespace)
            if why is not None:  # rights may have been given since the client was told
                why = why_not_writable(self._api.whoami(), namespace)
        except HUB_ERRORS as error:
            refusal = sink_error(error, place.title, output=place.output)
            if isinstance(refusal, SinkDenied):
                raise refusal from error
            return  # it would have been an early word only: without it, the Hub answers when it is written to
        if why is not None:
            raise SinkDenied(
                f"{place.title}: {why}; give the destination's credential a token that may write there",
                output=place.output,
            )


def _check_file(file: str, name: str) -> None:
    try:
        check_output_name(file)
    except ValueError as error:
        raise OutputNameUnsafe(str(error), output=name) from error
    if "/" in file:
        raise OutputNameUnsafe(f"{file!r} is no plain file name", output=name)


def _check_staged(place: HubPlace, files: Mapping[str, StagedFile], mine: Mapping[str, StagedFile]) -> None:
    """Hold what this process staged against the plan, and see that it staged what no other can have."""
    wrong = [
        f"{file}: {_told(files.get(file))} expected, {_told(staged)} staged"
        for file, staged in sorted(mine.items())
        if files.get(file) != staged
    ]
    if wrong:
        raise SinkError(
            f"output {place.output}: staged files are not as planned: {'; '.join(wrong)}", output=place.output
        )
    lost = [file for file in sorted(files.keys() - mine.keys()) if not is_always_large(file, files[file].size_bytes)]
    if lost:
        raise StagedFileLost(
            f"output {place.output}: {', '.join(lost)} not staged by the process that commits; stage the small files "
            "and commit them with one sink",
            output=place.output,
        )


def _told(staged: StagedFile | None) -> str:
    return "no file" if staged is None else f"{staged.size_bytes} bytes {staged.sha256}"
