"""API keys as the service answers them."""

from datetime import datetime

from pydantic import Field

from crossfade_client.answer import View


class KeyView(View):
    """One API key, without its secret."""

    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    max_jobs: int | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class NewKeyView(KeyView):
    """A key just made: the one answer that holds its secret, which `repr` leaves out."""

    secret: str = Field(repr=False)


class KeyList(View):
    """All keys, by name."""

    items: tuple[KeyView, ...]
