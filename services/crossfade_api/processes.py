"""Serve one port from several processes: Python runs one thread at a time, so a process has the use of one core.

The parent holds the port and answers nothing. All end together: a signal is passed on to every process, and where one
ends by itself, or the parent is killed, the others stop, so that whoever watches the parent starts them all again.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def serve_in_processes(count: int, serve: Callable[[socket.socket], None], port: socket.socket) -> int:
    """Run `serve` on one listening socket in so many new processes until they end; return the exit code.

    Args:
        count: How many.
        serve: Importable by its name: the processes are spawned, since threads and connections do not survive a fork.
        port: Bound; each process listens on it.
    """
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_serve_while_watched, args=(serve, port)) for _ in range(count)]
    received: list[int] = []

    def pass_on(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        _stop(processes)

    for process in processes:
        process.start()
    before = {signum: signal.signal(signum, pass_on) for signum in STOP_SIGNALS}
    multiprocessing.connection.wait([process.sentinel for process in processes])
    _stop(processes)
    for process in processes:
        process.join()
    for signum, handler in before.items():
        signal.signal(signum, handler)
    if received:
        signal.raise_signal(received[0])  # ends as one process does, which dies by the signal it was sent
    return 0 if received else 1


def _serve_while_watched(serve: Callable[[socket.socket], None], port: socket.socket) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(port)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
