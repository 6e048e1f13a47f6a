"""The commands that manage a service's API keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import typer

from crossfade_cli.printing import print_json, print_line
from crossfade_cli.tables import print_keys
from crossfade_client.client import Client


@dataclass(frozen=True)
class KeyLimits:
    """How far a key goes: None for as far as the service lets any."""

    max_jobs: int | None
    requests_per_minute: int | None
    expires_days: float | None


def create(client: Client, name: str, *, scopes: Sequence[str] | None, limits: KeyLimits, as_json: bool) -> None:
    """Make a key; print its secret alone on standard output.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    expires_days = limits.expires_days
    key = client.create_key(
        name,
        scopes=scopes or None,
        max_jobs=limits.max_jobs,
        requests_per_minute=limits.requests_per_minute,
        expires_at=None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days),
    )
    if as_json:
        print_json(key.as_json())
        return
    print_line(f"key {key.name} may {', '.join(key.scopes)}; its secret, shown this once:")
    typer.echo(key.secret)


def list_all(client: Client, *, as_json: bool) -> None:
    """Print all keys by name.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    keys = client.list_keys()
    if as_json:
        print_json(keys.as_json())
    else:
        print_keys(keys.items)


def revoke(client: Client, name: str, *, as_json: bool) -> None:
    """Revoke a key.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    key = client.revoke_key(name)
    if as_json:
        print_json(key.as_json())
    else:
        typer.echo(f"key {key.name} is revoked")
