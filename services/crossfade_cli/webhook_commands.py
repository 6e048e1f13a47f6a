"""The commands of `crossfade webhooks` and their options, as `crossfade_cli.commands` has those of the rest."""

import os
from typing import Annotated

import typer

from crossfade_cli.options import DEFAULT_URL, Json, Page, Url, connect

DEFAULT_VARIABLE = "CROSSFADE_WEBHOOK_SECRET"


_WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id.")]


def create(
    target: Annotated[str, typer.Argument(metavar="URL", help="Where messages are to be sent: https://….")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="Such as job.failed; several times for several. [default: every end of a job]"),
    ] = None,
    every_job: Annotated[bool, typer.Option("--every-job", help="Of everybody's jobs; for administrators.")] = False,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Make a webhook and print its secret, which is shown this once."""
    from crossfade_cli import webhooks

    with connect(url) as client:
        webhooks.create(client, target, events=event, every_job=every_job, as_json=as_json)


def list_webhooks(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List your webhooks; as an administrator, everybody's."""
    from crossfade_cli import webhooks

    with connect(url) as client:
        webhooks.list_all(client, as_json=as_json)


def rotate(webhook_id: _WebhookId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Give a webhook a new secret; for a day messages are signed with both."""
    from crossfade_cli import webhooks

    with connect(url) as client:
        webhooks.rotate(client, webhook_id, as_json=as_json)


def delete(webhook_id: _WebhookId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Delete a webhook with the log of its deliveries."""
    from crossfade_cli import webhooks

    with connect(url) as client:
        webhooks.delete(client, webhook_id, as_json=as_json)


def send_test(webhook_id: _WebhookId, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Have a test message sent."""
    from crossfade_cli import webhooks

    with connect(url) as client:
        webhooks.test(client, webhook_id, as_json=as_json)


def deliveries(  # noqa: PLR0917 (to typer an option is an argument)
    webhook_id: _WebhookId,
    state: Annotated[str | None, typer.Option(help="Only those that are pending, delivered or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    page: Page = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List what was delivered, newest first, and how."""
    from crossfade_cli import webhooks

    with connect(url) as client:
        webhooks.deliveries(client, webhook_id, state=state, limit=limit, page=page, as_json=as_json)


def replay(
    webhook_id: _WebhookId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="The delivery's id.")],
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Have a message delivered again."""
    from crossfade_cli import webhooks

    with connect(url) as client:
        webhooks.replay(client, webhook_id, delivery_id, as_json=as_json)


def listen(  # noqa: PLR0917 (to typer an option is an argument)
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 picks a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen at; another machine reaches 0.0.0.0.")] = "127.0.0.1",
    secret_env: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable that holds the webhook's secret.")
    ] = DEFAULT_VARIABLE,
    job: Annotated[
        str | None, typer.Option(metavar="ID", help="Only messages of this job; ends with it, with 1 if it failed.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many messages.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Give up, with 1, after so long.")
    ] = None,
) -> None:
    """Receive webhooks: print each message whose signature is right as a line of JSON."""
    from crossfade_cli import webhooks

    secret = os.environ.get(secret_env)
    if not secret:
        raise typer.BadParameter(f"the environment variable {secret_env} holds no secret", param_hint="--secret-env")
    webhooks.listen(secret, host=host, port=port, job_id=job, count=count, timeout_seconds=timeout)
