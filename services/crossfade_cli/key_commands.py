"""The commands of `crossfade keys`: API keys, for administrators."""

from typing import Annotated

import typer

from crossfade_cli.options import DEFAULT_URL, Json, Url, connect


def create_key(  # noqa: PLR0913, PLR0917 (to typer an option is an argument)
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will carry it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, submit, cancel, approve or admin; several times for several. [default: read, submit, cancel]"
        ),
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option(min=1, help="How many of its jobs may be unfinished at a time.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="How many requests it may send. [default: the server's own limit]")
    ] = None,
    expires_days: Annotated[float | None, typer.Option("--expires", metavar="DAYS", help="Until then.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Make an API key and print its secret, which is shown this once."""
    from crossfade_cli import keys

    with connect(url) as client:
        limits = keys.KeyLimits(max_jobs, requests_per_minute, expires_days)
        keys.create(client, name, scopes=scope, limits=limits, as_json=as_json)


def list_keys(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the API keys, expired and revoked ones too."""
    from crossfade_cli import keys

    with connect(url) as client:
        keys.list_all(client, as_json=as_json)


def revoke_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose.")], url: Url = DEFAULT_URL, as_json: Json = False
) -> None:
    """Revoke an API key for good; it opens nothing within a second."""
    from crossfade_cli import keys

    with connect(url) as client:
        keys.revoke(client, name, as_json=as_json)
