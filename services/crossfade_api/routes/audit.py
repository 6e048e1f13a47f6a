"""Read the audit log; for administrators."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from crossfade_api.auth import Administrator
from crossfade_api.dependencies import AdaptersDep
from crossfade_api.page_tokens import PageToken, cut_page, read_token
from crossfade_api.problems import documented
from crossfade_api.views import View
from crossfade_core.audit import Action, AuditEntry, AuditFilter, AuditId
from crossfade_core.json_types import Time
from crossfade_core.keys import KeyName

router = APIRouter(prefix="/v1/audit", tags=["audit"])


class AuditQuery(BaseModel):
    """Which entries to list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: KeyName | None = Field(default=None, description="Only what this key did.")
    action: Action | None = Field(default=None, description="Only this.")
    subject: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Only what was done to this job, webhook or key."
    )
    since: Time | None = Field(default=None, description="Only from then on.")
    until: Time | None = Field(default=None, description="Only before then.")
    limit: int = Field(default=50, ge=1, le=200, description="Entries on a page.")
    page: PageToken | None = Field(default=None, description="`next` of the page before, with the same filters.")

    @property
    def wanted(self) -> AuditFilter:
        """The filter."""
        return AuditFilter(self.actor, self.action, self.subject, self.since, self.until)


class AuditView(View):
    """Who did what, and when."""

    id: str
    at: datetime
    actor: str = Field(
        description="The key's name; `operator` for the server's own token, `local` where none is asked for. What is "
        "published is published for who submitted it.",
        examples=["release"],
    )
    action: Action
    subject: str = Field(description="The job, the webhook, or the name of the key.")
    data: dict[str, Any] = Field(description="Of an output its URI, of a submission its parents and its λ.")

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditView":
        """Show one entry."""
        return cls(
            id=entry.id,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            data=dict(entry.data),
        )


class AuditListView(View):
    """One page of the log, newest first."""

    items: list[AuditView]
    next: str | None = Field(description="Give it as `page` for the next page; null on the last.")


@router.get(
    "", operation_id="list_audit_entries", summary="Read the audit log", responses=documented(401, 403, 422, 503)
)
def list_audit_entries(_: Administrator, adapters: AdaptersDep, asked: Annotated[AuditQuery, Query()]) -> AuditListView:
    """List who submitted, cancelled, retried and published what, and who made and revoked keys and webhooks."""
    after = read_token(asked.page, asked.wanted)
    entries = adapters.audit.list_entries(
        asked.wanted, limit=asked.limit + 1, before=None if after is None else AuditId(after)
    )
    page, following = cut_page(entries, asked.limit, asked.wanted)
    return AuditListView(items=[AuditView.of(entry) for entry in page], next=following)
