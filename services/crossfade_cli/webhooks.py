"""What the commands of `crossfade webhooks` do."""

import math

from crossfade_cli.printing import plain, print_json, print_line
from crossfade_client.webhook_receiver import Receiver
from crossfade_client.webhooks import WebhookMessage
from crossfade_core.errors import ProcessFailed, Reported, WebhookUnverified


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


def _tell(error: WebhookUnverified) -> None:
    print_line(plain(f"refused: {error.message}"))


def _require_success(message: WebhookMessage) -> None:
    if message.type != "job.succeeded":
        code = message.type.removeprefix("job.")
        raise Reported(f"job {message.job_id} ended {code.upper()}", {"code": code})
