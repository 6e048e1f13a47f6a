"""Who may do what at the Hub of the tests: tokens, private repos, gates."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tests.fakes.hub_refusal import HubError, gated, repo_not_found
from tests.fakes.hub_repos import Repo


@dataclass(frozen=True)
class Token:
    """What one token allows.

    Args:
        user: Whose it is; also a namespace.
        read: Namespaces whose private repos it reads.
        write: Namespaces it writes to, and therefore reads.
    """

    user: str
    read: Collection[str] = field(default_factory=frozenset)
    write: Collection[str] = field(default_factory=frozenset)

    def may_read(self, namespace: str) -> bool:
        """Tell whether private repos of a namespace are visible."""
        return namespace in self.read or namespace in self.write


class Access:
    """The tokens the Hub knows, and its decisions."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token] = {}

    def token(self, headers: Mapping[str, str]) -> Token | None:
        """Return the token that a request bears, or None where it bears none.

        Raises:
            HubError: 401, the token is not known.
        """
        authorization = headers.get("Authorization")
        if authorization is None:
            return None
        token = self.tokens.get(authorization.removeprefix("Bearer "))
        if token is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return token

    def user(self, token: Token | None) -> Token:
        """Return the token of a request that needs one.

        Raises:
            HubError: 401, there is none.
        """
        if token is None:
            raise HubError(401, "Invalid username or password.")
        return token

    def check_read(self, repo: Repo, token: Token | None) -> None:
        """Let pass who may know of the repo.

        Raises:
            HubError: 404, as if it did not exist.
        """
        if repo.private and not (token is not None and token.may_read(repo.namespace)):
            raise repo_not_found()

    def check_gate(self, repo: Repo, token: Token | None) -> None:
        """Let pass who may have the files of the repo.

        Raises:
            HubError: As for `check_read`; 401 or 403, gated.
        """
        self.check_read(repo, token)
        if not repo.gated:
            return
        is_in = token is not None and (token.user in repo.granted or repo.namespace in token.write)
        if not is_in:
            raise gated(repo.id, is_known=token is not None)

    def check_write(self, repo: Repo, token: Token | None) -> None:
        """Let pass who may change the repo.

        Raises:
            HubError: As for `check_read`; 401 without a token; 403 where the token does not write there.
        """
        self.check_read(repo, token)
        self.check_namespace(repo.namespace, token)

    def check_namespace(self, namespace: str, token: Token | None) -> None:
        """Let pass who may change anything in a namespace.

        Raises:
            HubError: 401 without a token; 403 where the token does not write there.
        """
        if namespace not in self.user(token).write:
            raise HubError(403, f"You don't have the rights to write to the namespace {namespace!r}")
