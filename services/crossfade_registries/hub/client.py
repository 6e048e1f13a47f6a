"""Open clients of a Hub, with the one credential they were given and no token of the machine's own.

What the errors of these clients mean is told in `errors`; how long to be patient with them, in `retrying`.
"""

import functools
import ssl
from importlib.metadata import version
from typing import Final

import httpx2
from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
from pydantic import SecretStr

from crossfade_registries.hub.errors import HUB_ERRORS, sink_error, source_error

__all__ = [
    "HUB_ERRORS",
    "USER_AGENT",
    "HfApi",
    "authorisation",
    "open_hub",
    "open_session",
    "sink_error",
    "source_error",
    "trusted_certificates",
]

NAME: Final = "crossfade"
USER_AGENT: Final = f"{NAME}/{version(NAME)}"
SILENCE_SECONDS: Final = 120.0
"""A commit of many files takes the Hub its time; the client's own sessions would wait for a dead peer for ever."""


def open_hub(endpoint: str, token: SecretStr | None) -> HfApi:
    """Return a client of the Hub at `endpoint`; nothing is asked of it yet.

    Args:
        endpoint: URL of the Hub.
        token: Of the account to act for; None for nobody: a token that the machine knows (`HF_TOKEN`, a login) is
            never used.
    """
    _prepare()
    secret = token.get_secret_value() if token is not None else False
    return HfApi(endpoint, token=secret, library_name=NAME, library_version=version(NAME))


def open_session(*, silence_seconds: float = SILENCE_SECONDS) -> httpx2.Client:
    """Return an HTTP session like those the clients use, to be closed by the caller.

    Args:
        silence_seconds: How long the other side may take for its next bytes.
    """
    timeout = httpx2.Timeout(silence_seconds, connect=10, pool=None)
    return httpx2.Client(
        follow_redirects=True, timeout=timeout, headers={"user-agent": USER_AGENT}, verify=trusted_certificates()
    )


@functools.cache
def trusted_certificates() -> ssl.SSLContext:
    """Return what sessions trust, as httpx2 does; once a process, for it takes a tenth of a second to load."""
    return httpx2.create_ssl_context()


def authorisation(api: HfApi) -> dict[str, str]:
    """Return the headers that show the Hub, and nobody else, whom `api` acts for; none where it acts for nobody."""
    return {"authorization": f"Bearer {api.token}"} if isinstance(api.token, str) else {}


@functools.cache
def _prepare() -> None:
    """Once a process: sessions with timeouts, and no progress bars in the logs."""
    set_client_factory(open_session)
    if not are_progress_bars_disabled():
        disable_progress_bars()
