"""Make, list, rotate, test and delete webhooks; read and repeat what was delivered."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from crossfade_api.auth import Reader
from crossfade_api.dependencies import Adapters, AdaptersDep
from crossfade_api.page_tokens import PageToken, cut_page, read_token
from crossfade_api.problems import documented
from crossfade_api.webhook_views import (
    DeliveryListView,
    DeliveryView,
    NewWebhookView,
    WebhookListView,
    WebhookRequest,
    WebhookView,
)
from crossfade_core.errors import ScopeMissing, WebhookNotFound
from crossfade_core.keys import Caller, Scope
from crossfade_core.webhooks import DeliveryId, DeliveryState, NewWebhook, Webhook, WebhookId

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


class DeliveriesQuery(BaseModel):
    """Which deliveries to list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: DeliveryState | None = Field(default=None, description="Only deliveries in this state.")
    limit: int = Field(default=50, ge=1, le=200, description="Deliveries on a page.")
    page: PageToken | None = Field(default=None, description="`next` of the page before, with the same filters.")


def own_webhook(
    webhook_id: Annotated[WebhookId, Path(description="The webhook's id.", pattern=r"^[A-Za-z0-9-]{1,40}$")],
    caller: Reader,
    adapters: AdaptersDep,
) -> Webhook:
    """Return the webhook of the path if it is the caller's; an administrator's are all.

    Raises:
        WebhookNotFound: There is none, or it is somebody else's: the caller is not told which.
    """
    webhook = adapters.webhooks.get_webhook(webhook_id)
    if webhook.owner != caller.name and not caller.is_admin:
        raise WebhookNotFound(f"there is no webhook {webhook_id}; GET /v1/webhooks lists those there are")
    return webhook


OwnWebhook = Annotated[Webhook, Depends(own_webhook)]


@router.post(
    "",
    status_code=201,
    operation_id="create_webhook",
    summary="Make a webhook",
    responses=documented(401, 403, 413, 422, 503),
)
def create_webhook(asked: WebhookRequest, caller: Reader, adapters: AdaptersDep) -> NewWebhookView:
    """Make a webhook: each event asked for is POSTed there, signed after Standard Webhooks, until it is taken or a day.

    Of the caller's own jobs; of everybody's with `every_job`. A message says which job and what happened; what came of
    it the job itself tells.
    """
    _check_right(asked, caller)
    adapters.secrets.check_url(asked.url)
    webhook = adapters.webhooks.create_webhook(NewWebhook(caller.name, asked.url, asked.events, asked.every_job))
    return _with_secret(webhook, adapters)


@router.get("", operation_id="list_webhooks", summary="List webhooks", responses=documented(401, 403, 503))
def list_webhooks(caller: Reader, adapters: AdaptersDep) -> WebhookListView:
    """List the caller's webhooks, oldest first; an administrator's list holds everybody's."""
    found = adapters.webhooks.list_webhooks(None if caller.is_admin else caller.name)
    return WebhookListView(items=[WebhookView.of(webhook) for webhook in found])


@router.get(
    "/{webhook_id}",
    operation_id="get_webhook",
    summary="Show one webhook",
    responses=documented(401, 403, 404, 422, 503),
)
def get_webhook(webhook: OwnWebhook) -> WebhookView:
    """Show a webhook, without its secret."""
    return WebhookView.of(webhook)


@router.delete(
    "/{webhook_id}",
    status_code=204,
    operation_id="delete_webhook",
    summary="Delete a webhook",
    responses=documented(401, 403, 404, 422, 503),
)
def delete_webhook(webhook: OwnWebhook, caller: Reader, adapters: AdaptersDep) -> Response:
    """Delete a webhook with the log of its deliveries; what is on its way may still arrive."""
    adapters.webhooks.delete_webhook(webhook.id, caller.name)
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/rotate",
    operation_id="rotate_webhook",
    summary="Give a webhook a new secret",
    responses=documented(401, 403, 404, 422, 503),
)
def rotate_webhook(webhook: OwnWebhook, caller: Reader, adapters: AdaptersDep) -> NewWebhookView:
    """Give a webhook a new secret; for a day messages are signed with both. A disabled one is enabled again."""
    adapters.secrets.check_url(webhook.url)  # better refused before the secret of today is on its way out
    return _with_secret(adapters.webhooks.rotate_webhook(webhook.id, caller.name), adapters)


@router.post(
    "/{webhook_id}/test",
    status_code=202,
    operation_id="test_webhook",
    summary="Send a test message",
    responses=documented(401, 403, 404, 422, 503),
)
def test_webhook(webhook: OwnWebhook, adapters: AdaptersDep) -> DeliveryView:
    """Send a message of type `webhook.test`."""
    return DeliveryView.of(adapters.webhooks.test_webhook(webhook.id))


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="list_deliveries",
    summary="List what was delivered",
    responses=documented(401, 403, 404, 422, 503),
)
def list_deliveries(
    webhook: OwnWebhook, adapters: AdaptersDep, asked: Annotated[DeliveriesQuery, Query()]
) -> DeliveryListView:
    """List the deliveries of the last 30 days, newest first, each with every attempt."""
    wanted = (webhook.id, asked.state)
    after = read_token(asked.page, wanted)
    found = adapters.webhooks.list_deliveries(
        webhook.id, asked.state, limit=asked.limit + 1, before=None if after is None else DeliveryId(after)
    )
    page, following = cut_page(found, asked.limit, wanted)
    return DeliveryListView(items=[DeliveryView.of(delivery) for delivery in page], next=following)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    operation_id="replay_delivery",
    summary="Deliver a message again",
    responses=documented(401, 403, 404, 422, 503),
)
def replay_delivery(
    webhook: OwnWebhook,
    delivery_id: Annotated[DeliveryId, Path(description="The delivery's id.", pattern=r"^[A-Za-z0-9-]{1,40}$")],
    adapters: AdaptersDep,
) -> DeliveryView:
    """Deliver what a message said again, as a new one, whatever became of the first."""
    return DeliveryView.of(adapters.webhooks.replay_delivery(webhook.id, delivery_id))


def _check_right(asked: WebhookRequest, caller: Caller) -> None:
    if asked.every_job and not caller.is_admin:
        raise ScopeMissing(
            f"key {caller.name!r} may not be told of everybody's jobs, which needs admin; leave out every_job",
            scope=Scope.ADMIN,
        )


def _with_secret(webhook: Webhook, adapters: Adapters) -> NewWebhookView:
    shown = WebhookView.of(webhook).model_dump()
    return NewWebhookView(**shown, secret=adapters.secrets.secret_of(webhook))
