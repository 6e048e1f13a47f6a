"""Who may call: the bearer token where one is set, else only names of this machine. Never reads a request's body."""

import hmac
import ipaddress
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from crossfade_api.problems import problem_of, problem_response

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
"""What needs no token. Everything else does, also paths that do not exist: a new route is closed until listed here."""

bearer_scheme = HTTPBearer(
    auto_error=False, scheme_name="token", description="The value of CROSSFADE_API_TOKEN, where the server has one."
)
"""Documents the token in OpenAPI; `AccessGate` is what asks for it, before a body is read."""


def is_loopback(host: str) -> bool:
    """Tell whether `host`, a name or an address without port, can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class AccessGate:
    """ASGI middleware that lets a request through or answers it with a problem.

    Without a token the Host header must name this machine: a web page whose own name is made to resolve to 127.0.0.1
    (DNS rebinding) sends its own name there.
    """

    def __init__(self, app: ASGIApp, token: SecretStr | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass lifespan messages on as they are, hold every request against the rules."""
        refusal = self._refusal(scope["path"], Headers(scope=scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await problem_response(problem_of(refusal), refusal.headers)(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> HTTPException | None:
        if self._token is None:
            return None if is_loopback(_host_name(headers.get("host", ""))) else _foreign_host()
        if path in OPEN_PATHS or _carries(headers.get("authorization", ""), self._token):
            return None
        return HTTPException(
            401,
            "this server asks for a token: send the header 'Authorization: Bearer <CROSSFADE_API_TOKEN>'",
            {"WWW-Authenticate": "Bearer"},
        )


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _carries(header: str, token: SecretStr) -> bool:
    scheme, _, given = header.partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.get_secret_value().encode())
    return same and scheme.lower() == "bearer"


def _foreign_host() -> HTTPException:
    return HTTPException(
        421,
        "the Host header names another machine; without CROSSFADE_API_TOKEN this server answers to localhost and "
        "127.0.0.1 only: call it by one of these, or set a token",
    )
