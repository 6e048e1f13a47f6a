"""What several tests of the command line need."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

Crossfade = Callable[..., subprocess.CompletedProcess[str]]


def clean_environment() -> dict[str, str]:
    """Return this environment without crossfade's own variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}


@pytest.fixture
def crossfade() -> Crossfade:
    """Run the command line as a process of its own and return how it ended."""

    def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "crossfade_cli", *args],
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
