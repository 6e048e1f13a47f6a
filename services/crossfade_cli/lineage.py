"""The command that asks a service's lineage graph, and its options."""

import re
from pathlib import Path
from typing import Annotated

import typer

from crossfade_cli.options import DEFAULT_URL, Json, Url, connect

_DIGEST = re.compile(r"(sha256:)?[0-9a-fA-F]{64}")


def lineage(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="URI|DIGEST|PATH", help="A URI of a job, a SHA-256, or a file or folder to hash here."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The file or folder, whatever its name looks like.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="How many merges to follow either way. [default: 8]")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Tell what a file or a checkpoint is, what it was made of, and what was made of it."""
    from crossfade_cli.local_digest import digest_of
    from crossfade_cli.printing import print_json

    if (subject is None) == (file is None):
        raise typer.BadParameter("give a URI, a SHA-256 or a path; or --file PATH", param_hint="URI|DIGEST|PATH")
    asked_uri = asked_digest = None
    if subject is not None and "://" in subject:
        asked_uri = subject
    elif subject is not None and _DIGEST.fullmatch(subject):
        asked_digest = subject
    else:
        asked_digest = digest_of(file or Path(subject or ""), is_quiet=as_json)
    with connect(url) as client:
        found = client.lineage(digest=asked_digest, uri=asked_uri, depth=depth)
    if as_json:
        print_json(found.as_json())
        return
    from crossfade_cli.lineage_tree import print_lineage

    print_lineage(found)
