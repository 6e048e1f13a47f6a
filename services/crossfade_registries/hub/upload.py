"""Send a file's content to a Hub ahead of its commit, and say what went wrong on the way. Sends, commits nothing."""

import re
from typing import Final

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from crossfade_core.errors import SinkDenied, SinkError, SinkUnavailable, StagedFileCorrupted
from crossfade_core.ports import StagedFile
from crossfade_registries.hub.client import HUB_ERRORS, sink_error
from crossfade_registries.hub.operations import addition, upload
from crossfade_registries.hub.places import HubPlace
from crossfade_registries.hub.scratch import ScratchFile

_XET_DENIED: Final = re.compile(r"HTTP status client error \(40[13]\b")
"""In what hf_xet, for which every status is a failure of the network, says of its own requests."""


def send_file(api: HfApi, place: HubPlace, file: str, scratch: ScratchFile, staged: StagedFile) -> CommitOperationAdd:
    """Send what a scratch file holds; return the addition to commit, which needs the scratch no more.

    The client itself tries again while the Hub is away.

    Raises:
        StagedFileCorrupted: The Hub received something else.
        SinkError: It refused, or is away.
    """
    operation = addition(file, scratch.path, staged)
    try:
        upload(api, place.repo, operation)
    except HUB_ERRORS as error:
        raise _error(error, f"{place.title}/{file}", place.output, file) from error
    return operation


def _error(error: Exception, where: str, output: str, file: str) -> SinkError:
    # The client wraps what goes wrong after the LFS batch call, in the storage or at its verification, in this.
    is_transfer = isinstance(error, RuntimeError) and isinstance(error.__cause__, HUB_ERRORS)
    cause = error.__cause__ if is_transfer and isinstance(error.__cause__, Exception) else error
    if isinstance(cause, ConnectionError) and _XET_DENIED.search(str(cause)):
        cause = PermissionError(str(cause))
    said = sink_error(cause, where, output=output, file=file)
    if not is_transfer or not isinstance(cause, HfHubHTTPError):
        return said
    if isinstance(said, SinkDenied) and "authorization" not in cause.response.request.headers:
        return SinkUnavailable(
            f"{where}: the storage refused the address that the Hub gave for it ({cause.response.status_code}), which "
            "may have expired; try again",
            **said.details,
        )
    if type(said) is SinkError:
        return StagedFileCorrupted(
            f"{where}: the Hub did not receive what was sent ({cause.response.status_code}"
            f"{': ' + cause.server_message if cause.server_message else ''}); run the unit again",
            **said.details,
        )
    return said
