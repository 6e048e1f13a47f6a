"""The demo: start the service, submit a sweep over eleven λ on the demo pair, watch it, stop everything.

`python infra/demo/run.py`, which `make demo` runs. The outputs stay in ./demo-out; a demo before it is replaced. Exits
with 0 when every λ was published, 130 after Ctrl-C, else 1.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PAIR = Path(__file__).resolve().parent / "pair"
OUT = Path("demo-out").absolute()
MARK = OUT / ".made-by-crossfade-demo"
SWEEP = "0:1:0.1"
STOP_SECONDS = 60
PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    """Run the demo and return its exit status."""
    if not prepare_outputs():
        return 1
    state_dir = Path(tempfile.mkdtemp(prefix="crossfade-demo-"))
    code = 1
    try:
        with serve(state_dir) as url:
            say(f"the service is up at {url}; submitting λ = {SWEEP}")
            code = submit(url)
    except KeyboardInterrupt:
        code = 130
    except DemoError as error:
        say(str(error))
    if code == 1:
        say(f"the demo failed; what the service logged is in {state_dir}/logs")
        return code
    shutil.rmtree(state_dir)
    if code == 0:
        say(f"the outputs lie in {OUT}; load one with transformers:")
        say(f'  AutoModelForCausalLM.from_pretrained("{OUT}/instruct-pad-0.5")')
    return code


class DemoError(Exception):
    """`crossfade serve` ended before it was ready; it has said why."""


def prepare_outputs() -> bool:
    """Make an empty folder for the outputs; only one that a demo made is removed for it."""
    if OUT.exists() and not MARK.exists():
        say(f"{OUT} was not made by a demo; move it away, or run the demo in another folder")
        return False
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    MARK.touch()
    return True


@contextlib.contextmanager
def serve(state_dir: Path) -> Iterator[str]:
    """Run the service on a free port, yield its URL, and stop it and all that it started."""
    folders = ("--state-dir", str(state_dir), "--root", f"demo={PAIR}", "--destination", f"demo={OUT}")
    with run("serve", "--json", "--port", "0", *folders, stdout=subprocess.PIPE, stop=signal.SIGTERM) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith('{"url"'):
            raise DemoError("the service did not start")
        yield json.loads(line)["url"]


def submit(url: str) -> int:
    """Submit the sweep and follow it on this terminal; return the exit status."""
    sources = ("local://demo/base", "local://demo/instruct")
    with run("submit", *sources, "--lambda", SWEEP, "--destination", "demo", "--watch", "--url", url) as process:
        return process.wait()


@contextlib.contextmanager
def run(*args: str, stdout: int | None = None, stop: signal.Signals = signal.SIGINT) -> Iterator[subprocess.Popen[str]]:
    """Run `crossfade`, and send it `stop` at the end if it still runs; by itself it leaves nothing behind.

    It has a session of its own, so that Ctrl-C reaches it once and through the demo, and dies with the demo.
    """
    demo = os.getpid()
    process = subprocess.Popen(
        [sys.executable, "-m", "crossfade_cli", *args],
        stdout=stdout,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: end_with(demo),  # noqa: PLW1509 (one thread)
    )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        finally:  # also when Ctrl-C comes again
            process.kill()
            process.communicate()


def end_with(parent: int) -> None:
    """Have the kernel send this process SIGTERM when its parent dies; run between fork and exec."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before
        os._exit(1)


def say(line: str) -> None:
    """Print a line now, in its place among the lines of the processes."""
    print(line, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Whatever the shell sets, such as a token, is for another service than this one.
    for name in [name for name in os.environ if name.startswith("CROSSFADE_")]:
        del os.environ[name]
    sys.exit(main())
