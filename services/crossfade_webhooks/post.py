"""One POST to a webhook: to addresses looked up once, over TLS to the URL's own name, no redirect followed.

Proxies of the environment are not used: behind one, what is connected to is not for us to decide. Of the answer the
status is read and nothing more, so that a webhook shows its owner nothing of what stands there.
"""

import contextlib
import functools
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Final

from crossfade_core.errors import WebhookUnreachable
from crossfade_webhooks.addresses import Networks, Target, resolve

USER_AGENT: Final = "crossfade-webhooks/1"
_MOST_ADDRESSES: Final = 4
"""Of a name that are tried: each that is dead takes its share of the time."""


def post(url: str, headers: Mapping[str, str], body: bytes, *, allowed: Networks, timeout_seconds: float) -> int:
    """Send a message and return the HTTP status of the answer.

    Args:
        url: The webhook's.
        headers: What goes along, beside type, length and the sender's name.
        body: JSON.
        allowed: Networks that are not public and may be sent to all the same.
        timeout_seconds: How long all of it may take, but looking up the name, which the system's resolver bounds.

    Raises:
        WebhookRefused: The URL, by what its host means now, may not be sent to.
        WebhookUnreachable: There was no answer in time, or none in HTTP.
    """
    target = resolve(url, allowed)
    sent = {"Content-Type": "application/json", "User-Agent": USER_AGENT, "Connection": "close", **headers}
    connection = _PinnedConnection(target, timeout_seconds)
    try:
        with contextlib.closing(connection):
            connection.request("POST", target.path, body, sent)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        why = _reason(error)
        if connection.is_over or isinstance(error, TimeoutError):
            why = f"no answer within {timeout_seconds:g} s"
        raise WebhookUnreachable(f"{target.host}: {why}", host=target.host) from error
    if connection.is_over:  # an answer cut off within its headers looks whole to http.client
        raise WebhookUnreachable(f"{target.host}: no answer within {timeout_seconds:g} s", host=target.host)
    return status


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to the addresses of a target, whatever its name means by then, that ends when its time is over.

    A socket's own timeout begins anew with every address and every byte. So each address gets a share of what is left,
    and a timer shuts the connection down, also in the midst of a handshake: by a duplicate, since TLS takes the socket.
    """

    def __init__(self, target: Target, seconds: float) -> None:
        self.default_port = 443 if target.is_tls else 80  # decides whether the Host header names the port
        super().__init__(target.host, target.port, timeout=seconds)
        self.is_over = False
        self._target = target
        self._ends_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._duplicate: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def connect(self) -> None:
        """Connect to the first address that lets us.

        Raises:
            OSError: None does, or the time is over.
        """
        plain = self.sock = self._open()  # from here on `close` closes it
        with self._lock:
            self._duplicate = plain.dup()
        plain.settimeout(self._left_seconds())
        if self._target.is_tls:
            self.sock = _tls_context().wrap_socket(plain, server_hostname=self._target.host)

    def close(self) -> None:
        """Close the connection and its duplicate."""
        self._timer.cancel()
        super().close()
        with self._lock:
            if self._duplicate is not None:
                self._duplicate.close()
                self._duplicate = None

    def _open(self) -> socket.socket:
        addresses = self._target.addresses[:_MOST_ADDRESSES]
        for others, address in zip(range(len(addresses), 1, -1), addresses, strict=False):
            with contextlib.suppress(OSError):
                return socket.create_connection((str(address), self._target.port), self._left_seconds() / others)
        return socket.create_connection((str(addresses[-1]), self._target.port), self._left_seconds())

    def _left_seconds(self) -> float:
        left_seconds = self._ends_at - time.monotonic()
        if left_seconds <= 0:
            raise TimeoutError
        return left_seconds

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            if self._duplicate is not None:
                with contextlib.suppress(OSError):
                    self._duplicate.shutdown(socket.SHUT_RDWR)


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Return the settings of TLS; to read the system's certificates takes longer than most messages."""
    return ssl.create_default_context()


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case http.client.HTTPException():
            return f"the answer is not HTTP ({type(error).__name__})"
        case _:
            return getattr(error, "strerror", None) or type(error).__name__
