"""The commands of `crossfade webhooks` and their options, as `crossfade_cli.commands` has those of the rest."""

import os
from typing import Annotated

import typer

DEFAULT_VARIABLE = "CROSSFADE_WEBHOOK_SECRET"


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
