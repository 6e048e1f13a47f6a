"""Ports for servers that a test starts: free, and held until the test ends, so that nobody else is given them."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Yield ports of 127.0.0.1, all different, that refuse connections until a server listens there.

    A socket that is bound and does not listen keeps its port from whoever asks for any, and lets a server bind and
    listen beside it where both have SO_REUSEADDR (socket(7)), which servers set.
    """
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
        yield [holder.getsockname()[1] for holder in holders]


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """Yield one such port."""
    with held_ports(1) as (port,):
        yield port
