"""How something ended that may end well or in an error of ours, and what no error may tell."""

from collections.abc import Callable
from typing import TypeVar

from crossfade_core.errors import CrossfadeError
from tests.ports.places import Place

T = TypeVar("T")


def attempted(call: Callable[[], T]) -> tuple[T | None, CrossfadeError | None]:
    """Return what a call returned, or the error of ours that it raised."""
    try:
        return call(), None
    except CrossfadeError as error:
        return None, error


def check_tells_no_secret(place: Place, error: CrossfadeError) -> None:
    """Hold that neither the message, nor the details, nor the error's own text holds a secret of the place."""
    said = f"{error} {error!r} {error.as_record()}"
    assert not [secret for secret in place.secrets if secret in said]
