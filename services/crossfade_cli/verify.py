"""`crossfade verify`: an output held against its documents and keys, by a process of the registries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from crossfade_cli.output_process import require_registry, run_shown
from crossfade_cli.printing import plain, print_line
from crossfade_cli.tables import new_table, stdout_console

_MODULE: Final = "crossfade_registries.verify"
_RESULTS: Final = {"ok": "ok", "failed": "FAILED", "told": "note", "not_checked": "not checked"}


def verify(uri: str, keys: Sequence[Path], *, lineage_sha256: str | None, as_json: bool) -> int:
    """Verify an output, show the progress, print what was checked and what came of it; return the exit status.

    Args:
        uri: As a job shows it, or the path of a folder.
        keys: Files with the public keys of those who may have signed it; none where signatures are not checked.
        lineage_sha256: What lineage.json must be, where that is known.
        as_json: Whether to print one JSON document and nothing else.

    Returns:
        0 where nothing failed, else 1.

    Raises:
        CrossfadeError: It is not there, cannot be read, or is no output; or a key is none.
    """
    require_registry(uri)
    request = {"uri": uri, "keys": [str(key) for key in keys], "lineage_sha256": lineage_sha256}
    result = run_shown(_MODULE, ("the verification", "verifying"), request, _print_report, as_json=as_json)
    return 0 if result["verified"] else 1


def _print_report(result: Mapping[str, Any]) -> None:
    table = new_table("check", "what", "result", "")
    for check in result["checks"]:
        words = [Text(plain(check[column]), overflow="fold") for column in ("check", "what")]
        table.add_row(*words, _RESULTS[check["result"]], Text(plain(check["message"]), overflow="fold"))
    stdout_console().print(table)
    failed, total = result["counts"]["failed"], sum(result["counts"].values())
    if failed:
        print_line(plain(f"{result['uri']} is not as it was published: {failed} of {total} checks failed"))
        return
    signer = f"signed by key {result['signed_by']}" if result["signed_by"] else "who signed it was not checked"
    print_line(plain(f"{result['uri']} is as it was published; {signer}"))
