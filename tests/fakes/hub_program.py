"""The Hub of the tests as a process of its own."""

import argparse
import json
import signal
from pathlib import Path

from tests.fakes.hub import Hub


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _parser().parse_args()
    stopped = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stopped)  # before any thread, which inherit it
    hub = Hub(
        options.folder,
        port=options.port,
        storage_port=options.storage_port,
        bytes_per_second=options.bytes_per_second,
        chunk_bytes=options.chunk_bytes,
        shared_objects=options.share_objects,
        xet_dir=options.xet_dir,
    )
    for token, user, *write in (text.split(":") for text in options.token):
        hub.add_token(token, user, write=[user, *write])
    for name, _, folder in (text.partition("=") for text in options.repo):
        hub.add_repo(name, Path(folder) if folder else None, xet=options.xet_dir is not None)
    with hub:
        print(json.dumps({"hub": hub.url, "storage": hub.storage_url}), flush=True)
        signal.sigwait(stopped)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.hub", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where all bytes are kept")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--storage-port", type=int, default=0)
    parser.add_argument("--bytes-per-second", type=float, help="of all bodies together, each way")
    parser.add_argument("--chunk-bytes", type=int, help="larger LFS objects go up in parts of this size")
    parser.add_argument("--share-objects", action="store_true", help="one repo's object is every repo's")
    parser.add_argument("--xet-dir", type=Path, help="offer Xet, with its CAS folders in here")
    parser.add_argument("--token", action="append", default=[], metavar="TOKEN:USER[:NAMESPACE...]")
    parser.add_argument("--repo", action="append", default=[], metavar="NAMESPACE/NAME[=FOLDER]")
    return parser
