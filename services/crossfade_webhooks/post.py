"""One POST to a webhook: to addresses looked up once, over TLS to the URL's own name, no redirect followed.

Proxies of the environment are not used: behind one, what is connected to is not for us to decide. Of the answer the
status is read and nothing more, so that a webhook shows its owner nothing of what stands there.
"""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Final

from crossfade_core.errors import WebhookUnreachable
from crossfade_webhooks.addresses import Networks, Target, resolve

USER_AGENT: Final = "crossfade-webhooks/1"


def post(url: str, headers: Mapping[str, str], body: bytes, *, allowed: Networks, timeout_seconds: float) -> int:
    """Send a message and return the HTTP status of the answer.

    Args:
        url: The webhook's.
        headers: What goes along, beside type, length and the sender's name.
        body: JSON.
        allowed: Networks that are not public and may be sent to all the same.
        timeout_seconds: How long all of it may take, beside looking up the name.

    Raises:
        WebhookRefused: The URL, by what its host means now, may not be sent to.
        WebhookUnreachable: There was no answer in time, or none in HTTP.
    """
    target = resolve(url, allowed)
    connection = _PinnedConnection(target, timeout_seconds)
    sent = {"Content-Type": "application/json", "User-Agent": USER_AGENT, "Connection": "close", **headers}
    try:
        with contextlib.closing(connection), _deadline(connection, timeout_seconds):
            connection.request("POST", target.path, body, sent)
            return connection.getresponse().status
    except ssl.SSLError as error:
        raise WebhookUnreachable(f"{target.host}: TLS failed: {error.reason or error}", host=target.host) from error
    except (OSError, http.client.HTTPException) as error:
        why = f"no answer within {timeout_seconds:g} s" if isinstance(error, TimeoutError) else _reason(error)
        raise WebhookUnreachable(f"{target.host}: {why}", host=target.host) from error


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to the addresses of a target, whatever its name means by then."""

    def __init__(self, target: Target, timeout_seconds: float) -> None:
        self.default_port = 443 if target.is_tls else 80  # decides whether the Host header names the port
        super().__init__(target.host, target.port, timeout=timeout_seconds)
        self._target = target

    def connect(self) -> None:
        """Connect to the first address that lets us."""
        self.sock = self._open()
        if self._target.is_tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self._target.host)

    def _open(self) -> socket.socket:
        *others, last = self._target.addresses
        for address in others:
            with contextlib.suppress(OSError):
                return socket.create_connection((str(address), self._target.port), self.timeout)
        return socket.create_connection((str(last), self._target.port), self.timeout)


@contextlib.contextmanager
def _deadline(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """End an exchange that takes too long in all; a socket's own timeout begins anew with every byte.

    Raises:
        TimeoutError: It took too long.
    """
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with contextlib.suppress(OSError):
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
        if is_over.is_set():  # an answer cut off within its headers looks whole to http.client
            raise TimeoutError
    except (OSError, http.client.HTTPException) as error:
        if is_over.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not HTTP ({type(error).__name__})"
    return getattr(error, "strerror", None) or type(error).__name__
