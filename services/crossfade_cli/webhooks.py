"""What the commands of `crossfade webhooks` do."""

import math
from collections.abc import Sequence

import typer

from crossfade_cli.printing import plain, print_json, print_line
from crossfade_cli.tables import print_deliveries, print_webhooks
from crossfade_client.client import Client
from crossfade_client.webhook_receiver import Receiver
from crossfade_client.webhook_views import DeliveryView, NewWebhookView
from crossfade_client.webhooks import WebhookMessage
from crossfade_core.errors import ProcessFailed, Reported, WebhookUnverified


def create(client: Client, url: str, *, events: Sequence[str] | None, every_job: bool, as_json: bool) -> None:
    """Make a webhook; print its secret alone on standard output.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    _show_secret(client.webhooks.create(url, events=events or None, every_job=every_job), as_json=as_json)


def rotate(client: Client, webhook_id: str, *, as_json: bool) -> None:
    """Give a webhook a new secret; print that alone on standard output.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    _show_secret(client.webhooks.rotate(webhook_id), as_json=as_json)


def list_all(client: Client, *, as_json: bool) -> None:
    """Print the webhooks.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    found = client.webhooks.list()
    if as_json:
        print_json(found.as_json())
    else:
        print_webhooks(found.items)


def delete(client: Client, webhook_id: str, *, as_json: bool) -> None:
    """Delete a webhook.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    client.webhooks.delete(webhook_id)
    if as_json:
        print_json({"deleted": webhook_id})
    else:
        typer.echo(f"webhook {webhook_id} is deleted")


def test(client: Client, webhook_id: str, *, as_json: bool) -> None:
    """Have a test message sent.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    _show_sent(client.webhooks.test(webhook_id), webhook_id, as_json=as_json)


def replay(client: Client, webhook_id: str, delivery_id: str, *, as_json: bool) -> None:
    """Have a message delivered again.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    _show_sent(client.webhooks.replay(webhook_id, delivery_id), webhook_id, as_json=as_json)


def deliveries(
    client: Client, webhook_id: str, *, state: str | None, limit: int, page: str | None, as_json: bool
) -> None:
    """Print a page of what was delivered, newest first.

    Raises:
        CrossfadeError: The service is away or refused.
    """
    found = client.webhooks.deliveries(webhook_id, state=state and state.upper(), limit=limit, page=page)
    if as_json:
        print_json(found.as_json())
        return
    print_deliveries(found.items)
    if found.next:
        print_line(f"there are more: --page {found.next}")


def listen(
    secret: str, *, host: str, port: int, job_id: str | None, count: int | None, timeout_seconds: float | None
) -> None:
    """Print every verified message, of one job or of all, until that job ends or there were `count`.

    Raises:
        CrossfadeError: The job did not succeed; the time is over; the secret is malformed; nothing can listen there.
    """
    try:
        receiver = Receiver(secret, host=host, port=port, on_refusal=_tell)
    except OSError as error:
        raise ProcessFailed(f"cannot listen at {host}:{port}: {error}; choose another --port or --host") from error
    with receiver:
        print_line(f"listening at {receiver.url}")
        printed = 0
        for message in receiver.messages(timeout_seconds):
            if job_id not in (None, message.job_id):
                continue
            print_json(message.as_json())
            printed += 1
            if job_id is not None and message.is_ending:
                _require_success(message)
                return
            if printed >= (count or math.inf):
                return


def _show_secret(webhook: NewWebhookView, *, as_json: bool) -> None:
    if as_json:
        print_json(webhook.as_json())
        return
    print_line(f"webhook {webhook.id}: {', '.join(webhook.events)}; its secret, shown this once:")
    typer.echo(webhook.secret)


def _show_sent(delivery: DeliveryView, webhook_id: str, *, as_json: bool) -> None:
    if as_json:
        print_json(delivery.as_json())
    else:
        typer.echo(f"{delivery.id} is on its way; see: crossfade webhooks deliveries {webhook_id}")


def _tell(error: WebhookUnverified) -> None:
    print_line(plain(f"refused: {error.message}"))


def _require_success(message: WebhookMessage) -> None:
    if message.type != "job.succeeded":
        code = message.type.removeprefix("job.")
        raise Reported(f"job {message.job_id} ended {code.upper()}", {"code": code})
