"""How much of a request is read before it is refused."""

from typing import Final

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 1 << 20
"""A spec with 64 λ and 32 labels is under 20 kB; 1 MiB leaves room and bounds memory."""


class BodyLimit:
    """ASGI middleware that refuses a body over `max_bytes` while it is read.

    FastAPI's own `max_body_size` answers with plain text; raised from `receive`, inside the route, the same refusal
    becomes a problem like every other.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes that the application takes.

        Raises:
            HTTPException: 413, at the first byte too many.
        """
        seen_bytes = 0

        async def counted() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > self._max_bytes:
                raise HTTPException(413, f"the body holds more than {self._max_bytes} bytes; a spec needs far fewer")
            return message

        await self._app(scope, counted, send)
