"""What opens the service is sent to it, and shown nowhere."""

import logging

import pytest

from crossfade_client import Client, CrossfadeError, ServiceUnreachable
from tests.client.fake_service import JOB_ID, SECRET, FakeService

TOKEN = "t0ken-of-this-test"
PASSWORD = "passw0rd-of-this-test"


def test_no_secret_is_in_a_repr_or_a_log(caplog):
    caplog.set_level(logging.DEBUG)
    with FakeService() as service:
        address = service.url.replace("//", f"//someone:{PASSWORD}@")
        for token in (TOKEN, None):
            with Client(address, token) as client:
                client.get(JOB_ID)
                shown = [repr(client), str(client), client.url, repr(client.create_key("alice"))]
        sent = [asked.headers["Authorization"] for asked in service.asked]
    assert sent[0] == f"Bearer {TOKEN}"
    assert sent[2].startswith("Basic ")
    for secret in (TOKEN, PASSWORD, SECRET):
        assert all(secret not in text for text in (*shown, caplog.text))
    assert caplog.records


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f" {TOKEN}", f"{TOKEN}é", f"{TOKEN}\x00"])
def test_a_token_that_cannot_be_sent_is_refused_without_showing_it(token):
    with pytest.raises(ServiceUnreachable, match="the token holds characters") as caught:
        Client("http://127.0.0.1:9", token)
    assert TOKEN not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("address", ["http://someone:{}@127.0.0.1:9", "http://someone:{}@127.0.0.1:x", "ftp://a:{}@b"])
def test_no_error_shows_a_password(address):
    with pytest.raises(CrossfadeError) as caught, Client(address.format(PASSWORD), TOKEN) as client:
        client.get(JOB_ID)
    shown = [caught.value.message, str(caught.value.as_record()), str(caught.value.__cause__)]
    assert all(PASSWORD not in text and TOKEN not in text for text in shown)
