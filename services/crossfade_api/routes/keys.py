"""Make, list and revoke API keys."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from crossfade_api.auth import Administrator
from crossfade_api.dependencies import AdaptersDep
from crossfade_api.problems import documented
from crossfade_api.views import View
from crossfade_core.json_types import NOT_TEXT, Time, repeatable
from crossfade_core.key_store import NewKey
from crossfade_core.keys import ApiKey, KeyName, Scope

router = APIRouter(prefix="/v1/keys", tags=["keys"])


class KeyRequest(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: KeyName = Field(description="Who carries it; destinations name their users by it.", examples=["release"])
    scopes: Annotated[frozenset[Scope], Field(min_length=1, json_schema_extra=repeatable)] = Field(
        default=frozenset({Scope.READ, Scope.SUBMIT, Scope.CANCEL}), description="What it may do."
    )
    max_jobs: Annotated[int, Field(ge=1, le=100_000), NOT_TEXT] | None = Field(
        default=None, description="How many of its jobs may be unfinished at a time."
    )
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000), NOT_TEXT] | None = Field(
        default=None, description="How many requests it may send; null for the server's own limit."
    )
    expires_at: Time | None = Field(default=None, description="From then on it opens nothing.")


class KeyView(View):
    """One key, without its secret."""

    name: str
    scopes: list[Scope]
    max_jobs: int | None
    requests_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> "KeyView":
        """Show one key."""
        return cls(
            name=key.name,
            scopes=sorted(key.scopes),
            max_jobs=key.max_jobs,
            requests_per_minute=key.requests_per_minute,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
        )


class NewKeyView(KeyView):
    """A key just made."""

    secret: str = Field(description="Send it as `Authorization: Bearer <secret>`. It is shown here, and never again.")


class KeyListView(View):
    """All keys, by name."""

    items: list[KeyView]


@router.post(
    "",
    status_code=201,
    operation_id="create_key",
    summary="Make a key",
    responses=documented(401, 403, 409, 413, 422, 503),
)
def create_key(asked: KeyRequest, adapters: AdaptersDep, caller: Administrator) -> NewKeyView:
    """Make a key and answer its secret, of which the server keeps a digest only."""
    new = NewKey(asked.name, asked.scopes, asked.max_jobs, asked.requests_per_minute, asked.expires_at)
    key, secret = adapters.keys.create_key(new, caller.name)
    return NewKeyView(**KeyView.of(key).model_dump(), secret=secret)


@router.get("", operation_id="list_keys", summary="List keys", responses=documented(401, 403, 503))
def list_keys(adapters: AdaptersDep, _: Administrator) -> KeyListView:
    """List all keys by name, revoked and expired ones too."""
    return KeyListView(items=[KeyView.of(key) for key in adapters.keys.list_keys()])


@router.delete(
    "/{name}", operation_id="revoke_key", summary="Revoke a key", responses=documented(401, 403, 404, 422, 503)
)
def revoke_key(
    name: Annotated[KeyName, Path(description="The key's name.")], adapters: AdaptersDep, caller: Administrator
) -> KeyView:
    """Revoke a key for good, here at once and within a second in other API processes.

    Its name is not used again, its jobs go on, its webhooks are disabled.
    """
    return KeyView.of(adapters.keys.revoke_key(name, caller.name))
