"""Messages as the service sends them, signed by the reference library of Standard Webhooks (PyPI: standardwebhooks)."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook, hmac_data

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
MESSAGE_ID = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"


def body_of(**changes: Any) -> bytes:
    """Return a message's body, that of a job that succeeded unless changed."""
    message = {
        "type": "job.succeeded",
        "timestamp": "2026-11-22T02:59:58.123456Z",
        "data": {
            "job_id": "job-1",
            "sequence": 12,
            "state": "SUCCEEDED",
            "labels": {"team": "eval"},
            "links": {"self": "/v1/merges/job-1"},
        },
    }
    return json.dumps({**message, **changes}, separators=(",", ":")).encode()


BODY = body_of()


def signed(body: bytes, sent_at: datetime, message_id: str = MESSAGE_ID) -> dict[str, str]:
    """Return the headers of a message."""
    signature = Webhook(SECRET).sign(message_id, sent_at, body.decode())
    return _headers(message_id, str(int(sent_at.timestamp())), signature)


def signed_by_hand(body: bytes, sent_at: str) -> dict[str, str]:
    """Return the headers of what that library does not sign: other times than dates, other bodies than UTF-8."""
    digest = hmac_data(KEY, b".".join((MESSAGE_ID.encode(), sent_at.encode(), body)))
    return _headers(MESSAGE_ID, sent_at, "v1," + base64.b64encode(digest).decode())


def _headers(message_id: str, sent_at: str, signature: str) -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": sent_at, "webhook-signature": signature}


def send(url: str, body: bytes = BODY, message_id: str = MESSAGE_ID) -> httpx.Response:
    """Send a message now."""
    headers = signed(body, datetime.now(UTC), message_id)
    return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=60)
