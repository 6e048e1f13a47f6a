"""Fetch a range from wherever the Hub's answers point, at a quarter of what the client's own sessions cost.

Those hand on 64 KiB at a time through several copies; a core reads 0.5 GB/s with them and 2 GB/s with urllib3. What is
trusted and which proxies are used is the same for both: the system's certificates, the environment's proxies.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx2
from huggingface_hub import hf_raise_for_status
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Retry, Timeout
from urllib3.util import parse_url

from crossfade_registries.hub.client import trusted_certificates

_CONNECT_SECONDS: Final = 10.0
_REDIRECTS_ONLY: Final = Retry(None, connect=0, read=0, status=0, other=0, redirect=5)
"""Trying again is the caller's; on a redirect to another host urllib3 takes the credential off."""
_CONNECTIONS: Final = 8
_LARGEST_ANSWER_BYTES: Final = 64 << 10
"""Of an error; the rest says nothing more."""


class Storage:
    """Connections to the hosts that links lead to. Safe to use from several threads.

    Args:
        user_agent: What requests are signed with.
        silence_seconds: How long the other side may take for its next bytes.
    """

    def __init__(self, user_agent: str, silence_seconds: float) -> None:
        self._headers = {"user-agent": user_agent, "accept-encoding": "identity"}
        self._timeout = Timeout(connect=_CONNECT_SECONDS, read=silence_seconds)
        self._pools: dict[str | None, PoolManager] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str], may_answer: frozenset[int]) -> Iterator[BaseHTTPResponse]:
        """Ask for `url`; the answer's body is still to be read.

        Args:
            url: Where to.
            headers: To send besides this service's own.
            may_answer: Statuses of errors that the caller understands.

        Raises:
            HTTPError: urllib3's: the other side cannot be reached, or broke off.
            HfHubHTTPError: It answered with an error.
        """
        pool, headers = self._pool(url), {**self._headers, **headers}
        with pool.request(
            "GET", url, headers=headers, preload_content=False, decode_content=False, retries=_REDIRECTS_ONLY
        ) as answer:
            if answer.status >= 400 and answer.status not in may_answer:
                hf_raise_for_status(_as_the_hub_client_knows_it(url, headers, answer))
            yield answer

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()

    def _pool(self, url: str) -> PoolManager:
        parsed = parse_url(url)
        is_direct = proxy_bypass(parsed.netloc or "")
        proxy = None if is_direct else getproxies().get(parsed.scheme or "")
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(proxy)
            return self._pools[proxy]

    def _new_pool(self, proxy: str | None) -> PoolManager:
        context = trusted_certificates()
        if proxy is None:
            return PoolManager(maxsize=_CONNECTIONS, timeout=self._timeout, ssl_context=context)
        return ProxyManager(proxy, maxsize=_CONNECTIONS, timeout=self._timeout, ssl_context=context)


def _as_the_hub_client_knows_it(url: str, headers: Mapping[str, str], answer: BaseHTTPResponse) -> httpx2.Response:
    said = {name: value for name, value in answer.headers.items() if name.lower() != "content-encoding"}
    request = httpx2.Request("GET", url, headers=dict(headers))
    return httpx2.Response(answer.status, headers=said, content=answer.read(_LARGEST_ANSWER_BYTES), request=request)
