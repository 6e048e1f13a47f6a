"""What `crossfade serve` says on standard output, once, when it is ready."""

import os
import sys
from typing import TYPE_CHECKING

from crossfade_cli.printing import print_json
from crossfade_cli.serve_keys import Signing

if TYPE_CHECKING:
    from crossfade_cli.serve import ServeOptions


def announce(options: "ServeOptions", url: str, signing: Signing, *, as_json: bool) -> None:
    """Print where the service is, what it reads and writes, and by which key it signs; one line, or one document."""
    roots = {name: str(path) for name, path in options.roots.items()}
    destinations = {name: str(path) for name, path in options.destinations.items()}
    if as_json:
        print_json(
            {
                "url": url,
                "pid": os.getpid(),
                "state_dir": str(options.state_dir),
                "roots": roots,
                "destinations": destinations,
                "signing": {"key_id": signing.key_id, "public_key_file": str(signing.public_key_file)},
            }
        )
        return
    named = "; ".join(
        f"{kind} {', '.join(f'{name}={path}' for name, path in folders.items())}"
        for kind, folders in (("roots", roots), ("destinations", destinations))
    )
    signed = f"outputs are signed by key {signing.key_id}, to be verified with --key {signing.public_key_file}"
    sys.stdout.write(
        f"crossfade serves at {url} ({named}; state and logs in {options.state_dir}; {signed}); Ctrl-C stops it\n"
    )
    sys.stdout.flush()
