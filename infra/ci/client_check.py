"""What `infra/ci/client_alone.sh` runs where only the client is installed. Usage: client_check.py READY_JSON."""

import base64
import hmac
import json
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from crossfade_client import Client, CrossfadeError, JobView, Progress, Receiver, Reported, ServiceUnreachable

ELSEWHERE = ("torch", "numpy", "safetensors", "fastapi", "sqlalchemy", "celery", "redis", "boto3", "typer", "rich")
KEY = b"a key of a check, of 32 bytes..."


def main() -> None:
    """Check what is not there, then every part of the client that a release script uses."""
    found = [name for name in ELSEWHERE if find_spec(name)]
    if found:
        raise SystemExit(f"pip install .[client] must not bring {found}; see the extra `client` in pyproject.toml")
    ready = json.loads(Path(sys.argv[1]).read_text())
    job = merge(ready["url"])
    check_refusals(ready["url"])
    check_webhook(job.id)
    print(f"the client alone made {[output.name for output in job.outputs]}, and no part of the service is installed")


def merge(url: str) -> JobView:
    """Submit a job, wait for it, read its events and its outputs' digests."""
    spec = {
        "base": "local://demo/base",
        "instruct": "local://demo/instruct",
        "lambdas": [0.3, 0.7],
        "destination": "outputs",
        "labels": {"made-by": "client_check"},
    }
    shown: list[Progress] = []
    with Client(url, patience_seconds=30) as client:
        job = client.submit(spec, idempotency_key="client-check")
        job = client.wait(job.id, timeout_seconds=300, on_progress=shown.append).require_success()
        assert shown[-1].bytes_done == shown[-1].bytes_total > 0
        assert [event.type for event in client.events(job.id) if event.id][-1] == "job.succeeded"
        assert [each.id for each in client.jobs(labels={"made-by": "client_check"})] == [job.id]
    assert all(file.sha256 for output in job.outputs for file in output.files)
    return job


def check_refusals(url: str) -> None:
    """Meet a service that refuses and one that is not there."""
    refused = error_of(url)
    assert isinstance(refused, Reported), refused
    assert (refused.code, refused.blame, refused.retryable) == ("job_not_found", "user", False), refused.as_record()
    away = error_of("http://127.0.0.1:9")
    assert isinstance(away, ServiceUnreachable), away
    assert away.retryable


def error_of(url: str) -> CrossfadeError:
    """Ask for a job that does not exist and return the error."""
    with Client(url) as client:
        try:
            client.get("job-00000000000000000000000000000000")
        except CrossfadeError as error:
            return error
    raise SystemExit(f"{url} has a job that does not exist")


def check_webhook(job_id: str) -> None:
    """Receive a signed message."""
    body = json.dumps(
        {"type": "job.succeeded", "timestamp": "2026-01-01T00:00:00Z", "data": {"job_id": job_id}}
    ).encode()
    sent_at = str(int(time.time()))
    signature = base64.b64encode(hmac.digest(KEY, f"msg_1.{sent_at}.".encode() + body, "sha256")).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": sent_at, "webhook-signature": f"v1,{signature}"}
    with Receiver("whsec_" + base64.b64encode(KEY).decode()) as receiver:
        request = urllib.request.Request(receiver.url, body, headers, method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            assert answer.status == 204
        assert receiver.wait_for(job_id, timeout_seconds=30).id == "msg_1"


if __name__ == "__main__":
    main()
