"""The audit log as the service answers it."""

from datetime import datetime
from typing import Any

from crossfade_client.answer import View


class AuditView(View):
    """Who did what, and when."""

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    data: dict[str, Any]


class AuditPage(View):
    """Some entries, newest first; `next` is what to give as `page` for more."""

    items: tuple[AuditView, ...]
    next: str | None = None
