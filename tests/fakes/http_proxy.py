"""A reverse proxy for tests in front of one real server: counts what passes, limits its rate, and lets it go wrong.

Requests and answers pass as they are, `Host` too, because signatures cover it. Bodies pass block by block: memory is
one block for each body under way. As a program of its own it is `python -m tests.fakes.http_proxy --upstream URL`; it
prints its URL as one line of JSON, and shows its counters at `/_proxy/counters` (DELETE sets them to 0).
"""

import argparse
import json
import signal
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.fakes.http_faults import Action, ShortAnswer, Status, Throttle
from tests.fakes.http_relay import RelayServer
from tests.fakes.http_upstream import Hop

SLOW_DOWN = Status(
    503,
    {"Content-Type": "application/xml"},
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
)
"""What S3 answers to too many requests (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""

INTERNAL_ERROR = Status(
    500,
    {"Content-Type": "application/xml"},
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>",
)


class HttpProxy:
    """A context manager; `traffic` has the counters, and each throttle's rate can be set at any time.

    Args:
        upstream: The URL of the server behind it.
        port: 0 for any that is free.
        bytes_per_second: The rate of all bodies together, each way; None for no limit.
    """

    def __init__(self, upstream: str, *, port: int = 0, bytes_per_second: float | None = None) -> None:
        split = urlsplit(upstream)
        if split.scheme != "http" or split.hostname is None:
            raise ValueError(f"the upstream must be http://HOST:PORT, not {upstream!r}")
        self.upload, self.download = Throttle(bytes_per_second), Throttle(bytes_per_second)
        self._hop = Hop(split.hostname, split.port or 80, self.upload, self.download)
        self.faults, self.traffic = self._hop.faults, self._hop.traffic
        self._server = RelayServer(self._hop, port)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def fail(
        self,
        action: Action,
        *,
        method: str | None = None,
        path_contains: str = "",
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Let something go wrong; `tests.fakes.http_faults` says what can, all but ShortAnswer."""
        if isinstance(action, ShortAnswer):
            raise TypeError("the proxy gives no ShortAnswer: nothing would go wrong")
        self.faults.add(action, method=method, path_contains=path_contains, skip=skip, times=times)

    def clear(self) -> None:
        """Count from 0 again, and let nothing go wrong."""
        self.faults.clear()
        self.traffic.clear()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.http_proxy", description=__doc__)
    parser.add_argument("--upstream", required=True, help="http://HOST:PORT")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bytes-per-second", type=float, help="of all bodies together, each way")
    options = parser.parse_args()
    stopped = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stopped)  # before any thread, which inherit it
    with HttpProxy(options.upstream, port=options.port, bytes_per_second=options.bytes_per_second) as proxy:
        print(json.dumps({"url": proxy.url}), flush=True)
        signal.sigwait(stopped)


if __name__ == "__main__":
    main()
