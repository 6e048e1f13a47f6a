"""Run one piece of work on a published output in a process of its own, and show how far it is."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Final

from crossfade_cli.json_process import JsonProcess
from crossfade_cli.local import LocalProgress
from crossfade_cli.printing import plain, print_json, print_line
from crossfade_cli.progress import open_progress
from crossfade_core.errors import ProgramMissing

_REMOTE: Final = {"hf://": "huggingface_hub", "s3://": "boto3"}


def require_registry(uri: str) -> None:
    """See that what reads a registry is installed.

    Raises:
        ProgramMissing: It is not.
    """
    library = _REMOTE.get(uri[:5])
    if library is not None and find_spec(library) is None:
        raise ProgramMissing("registries are read by this machine here: pip install 'crossfade[service]'")


def run_shown(
    module: str,
    words: tuple[str, str],
    request: Mapping[str, object],
    show_result: Callable[[Mapping[str, Any]], None],
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Run a program that speaks JSON lines to its end, show its progress and what came of it; return that.

    Args:
        module: The program.
        words: What messages call it, and its verb: ("the fetch", "fetching").
        request: What it is given.
        show_result: Prints what came of it for people.
        as_json: Whether to print one JSON document and nothing else.

    Raises:
        Reported: It failed and said why.
        ProcessFailed: It ended without a word.
    """
    title, verb = words
    result: dict[str, Any] = {}
    with JsonProcess(("-m", module), title) as process, open_progress(is_quiet=as_json, verb=verb) as show:
        for event in process.events(request):
            match event["event"]:
                case "progress":
                    show(LocalProgress(event["bytes_done"], event["bytes_total"]))
                case "note" if not as_json:
                    print_line(plain(event["message"]))
                case "done":
                    result = {name: value for name, value in event.items() if name != "event"}
    if as_json:
        print_json(result)
    else:
        show_result(result)
    return result
