"""How the Hub of the tests says no: the statuses and `X-Error-Code`s that the real client turns into its exceptions.

Source: `huggingface_hub.utils._http.hf_raise_for_status`.
"""


class HubError(Exception):
    """An answer other than success.

    Args:
        status: Of HTTP.
        message: For `X-Error-Message` and the body.
        code: For `X-Error-Code`; None where the Hub sends none.
        headers: Further headers.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}


def repo_not_found() -> HubError:
    """Return what is said of a repo that is missing, and of one that the asker may not know of."""
    return HubError(404, "Repository not found", code="RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    """Return what is said where no branch, tag or commit has that name."""
    return HubError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(path: str, commit: str, message: str = "Entry not found") -> HubError:
    """Return what is said where the commit holds no such file."""
    return HubError(404, f"{message}: {path}", code="EntryNotFound", headers={"X-Repo-Commit": commit})


def gated(repo: str, *, is_known: bool) -> HubError:
    """Return what is said of a gated repo's files, to strangers and to users who were not let in."""
    if is_known:
        message = f"Access to model {repo} is restricted and you are not in the authorized list."
        return HubError(403, message, code="GatedRepo")
    return HubError(401, f"Access to model {repo} is restricted. Please log in.", code="GatedRepo")
