"""Who may call: whoever carries a key or the operator's token, else names of this machine alone. Never reads a body."""

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from crossfade_api.known_keys import KnownKeys
from crossfade_api.problems import problem_of, problem_response
from crossfade_core import keys
from crossfade_core.errors import CrossfadeError, ScopeMissing
from crossfade_core.keys import LOCAL, OPERATOR, Caller

OPEN_PATHS: Final = re.compile(
    r"/(healthz|readyz|openapi\.json|docs|problems(/[^/]+)?|schemas/.+|build-types/.+|builders/.+)"
)
"""What needs no key. Everything else does, also paths that do not exist: a new route is closed until listed here."""

bearer_scheme = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="The secret of an API key, or the value of CROSSFADE_API_TOKEN; on loopback without that, nothing.",
)
"""Documents keys in OpenAPI; `AccessGate` is what asks for them, before a body is read."""


def is_loopback(host: str) -> bool:
    """Tell whether `host`, a name or an address without port, can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class AccessGate:
    """ASGI middleware that lets a request through with its caller, or answers it with a problem.

    Without a token the Host header must name this machine: a web page whose own name is made to resolve to 127.0.0.1
    (DNS rebinding) sends its own name there.

    Args:
        app: What lies behind.
        token: The operator's, None where this machine needs none.
        key_store: Asked for it once the application runs.
    """

    def __init__(self, app: ASGIApp, token: SecretStr | None, key_store: Callable[[], KnownKeys]) -> None:
        self._app = app
        self._token = token
        self._key_store = key_store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass lifespan messages on as they are, hold every request against the rules."""
        if scope["type"] == "http":
            try:
                scope.setdefault("state", {})["caller"] = await self._caller(scope["path"], Headers(scope=scope))
            except (HTTPException, CrossfadeError) as refusal:
                headers = refusal.headers if isinstance(refusal, HTTPException) else None
                await problem_response(problem_of(refusal), headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _caller(self, path: str, headers: Headers) -> Caller | None:
        if self._token is None and not is_loopback(_host_name(headers.get("host", ""))):
            raise _foreign_host()
        if OPEN_PATHS.fullmatch(path):
            return None
        secret = _bearer(headers.get("authorization", ""))
        is_key = keys.key_id_of(secret) is not None
        if self._token is None and not is_key:
            return LOCAL  # also with a token that is meant for another server
        if self._token is not None and _same(secret, self._token):
            return OPERATOR
        if is_key:
            known = self._key_store()
            key = known.remembered(secret) or await to_thread.run_sync(known.find_key, secret)
            if key is not None:
                return Caller.of(key)
        raise HTTPException(
            401,
            "this server asks for a key, and for one that has not expired or been revoked: send the header "
            "'Authorization: Bearer <key>'",
            {"WWW-Authenticate": "Bearer"},
        )


def may(scope: keys.Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Return a dependency that gives a route its caller.

    Raises:
        ScopeMissing: The caller's key lacks `scope`.
    """

    async def require(request: Request) -> Caller:  # FastAPI would run a plain function on a thread
        caller: Caller = request.state.caller
        if not caller.may(scope):
            raise ScopeMissing(
                f"key {caller.name!r} may not {scope}, which this call needs; use a key with that scope", scope=scope
            )
        return caller

    return require


Reader = Annotated[Caller, Depends(may(keys.Scope.READ))]
Submitter = Annotated[Caller, Depends(may(keys.Scope.SUBMIT))]
Canceller = Annotated[Caller, Depends(may(keys.Scope.CANCEL))]
Approver = Annotated[Caller, Depends(may(keys.Scope.APPROVE))]
Administrator = Annotated[Caller, Depends(may(keys.Scope.ADMIN))]


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _bearer(header: str) -> str:
    scheme, _, given = header.partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _same(secret: str, token: SecretStr) -> bool:
    return hmac.compare_digest(secret.encode(), token.get_secret_value().encode())


def _foreign_host() -> HTTPException:
    return HTTPException(
        421,
        "the Host header names another machine; without CROSSFADE_API_TOKEN this server answers to localhost and "
        "127.0.0.1 only: call it by one of these, or set a token",
    )
