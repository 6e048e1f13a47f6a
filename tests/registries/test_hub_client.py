"""A client of a Hub acts for the account it was given and nobody else; what it raises is named, with a way out."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from hf_xet import XetAuthenticationError
from huggingface_hub import constants, get_session, get_token
from pydantic import SecretStr

from crossfade_core.errors import (
    OutputMoved,
    SinkDenied,
    SinkError,
    SinkRateLimited,
    SinkUnavailable,
    SourceDenied,
    SourceError,
    SourceGated,
    SourceNotFound,
    SourceRateLimited,
    SourceUnavailable,
)
from crossfade_registries.hub.client import HUB_ERRORS, open_hub, sink_error, source_error
from crossfade_registries.hub.errors import retry_after_seconds
from tests.fakes.http_faults import Status
from tests.fakes.hub import Hub
from tests.registries.hub_reading import opened, read

WHERE = "hf://acme/model@main"


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub") as hub:
        hub.add_token("hf_stranger", "stranger")
        hub.add_repo("acme/public")
        hub.add_repo("acme/private", private=True)
        hub.add_repo("acme/gated", gated=True)
        for name in ("public", "gated"):
            hub.push(f"acme/{name}", {"config.json": b"{}"})
        yield hub


def raised(hub: Hub, *, repo: str = "acme/public", revision: str = "main", token: str | None = None) -> Exception:
    api = open_hub(hub.url, None if token is None else SecretStr(token))
    with pytest.raises(HUB_ERRORS) as caught:
        api.model_info(repo, revision=revision)
    return caught.value


def test_token_of_the_machine_is_never_sent(hub, monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("hf_file")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert get_token() == "hf_file"
    monkeypatch.setenv("HF_TOKEN", "hf_machine")
    assert get_token() == "hf_machine"
    with opened(hub, repo="acme/public") as source:
        read(source, "config.json")
    assert len(hub.requests) == 3
    assert not any(asked.has_token for asked in hub.requests)


def test_sessions_of_the_client_do_not_wait_for_ever():
    open_hub("http://127.0.0.1:1", None)
    assert None not in (get_session().timeout.connect, get_session().timeout.read, get_session().timeout.write)


@pytest.mark.parametrize("repo", ["acme/private", "acme/absent"])
def test_private_repository_and_missing_one_are_told_of_alike(hub, repo):
    anonymous = source_error(raised(hub, repo=repo), WHERE)
    known = source_error(raised(hub, repo=repo, token="hf_stranger"), WHERE)
    for error in (anonymous, known):
        assert type(error) is SourceNotFound
        assert error.message.startswith(
            f"{WHERE}: no such repository, or a private one, which looks the same; check its name"
        )
    assert "let the server's configuration name a credential" in anonymous.message
    assert "see that the account of the configured credential has the right" in known.message


def test_missing_revision_is_not_found(hub):
    error = source_error(raised(hub, revision="absent"), WHERE, source=WHERE)
    assert type(error) is SourceNotFound
    assert "has no such branch, tag or commit" in error.message
    assert error.details == {"source": WHERE}


def test_wrong_token_is_denied_and_not_repeated(hub):
    error = source_error(raised(hub, token="hf_wrong"), WHERE)
    assert type(error) is SourceDenied
    assert not error.retryable
    assert "answered 401 (Invalid credentials in Authorization header): the token of the configured" in error.message
    assert "hf_wrong" not in str(error.as_record())


@pytest.mark.parametrize(
    ("token", "then"), [("hf_stranger", ""), (None, ", then let the server's configuration name a credential")]
)
def test_gated_repository_says_where_to_ask(hub, token, then):
    with opened(hub, repo="acme/gated", token=token) as source, pytest.raises(SourceGated) as caught:
        read(source, "config.json")
    assert (
        f"/config.json: the repository is gated; ask for access at {hub.url}/acme/gated{then}" in caught.value.message
    )


def test_granted_gate_is_open(hub):
    hub.grant("acme/gated", "stranger")
    with opened(hub, repo="acme/gated", token="hf_stranger") as source:
        assert read(source, "config.json") == b"{}"


@pytest.mark.parametrize(
    ("status", "source", "sink"),
    [
        (400, SourceError, SinkError),
        (401, SourceDenied, SinkDenied),
        (403, SourceDenied, SinkDenied),
        (404, SourceNotFound, SinkError),
        (408, SourceUnavailable, SinkUnavailable),
        (409, SourceError, SinkError),
        (412, SourceError, OutputMoved),
        (429, SourceRateLimited, SinkRateLimited),
        (500, SourceUnavailable, SinkUnavailable),
        (503, SourceUnavailable, SinkUnavailable),
    ],
)
def test_status_has_its_error(hub, status, source, sink):
    hub.fail(Status(status, {"X-Error-Message": "said so"}))
    error = raised(hub)
    assert type(source_error(error, WHERE)) is source
    assert type(sink_error(error, WHERE)) is sink
    assert f"{WHERE}: the Hub answered {status} (said so)" in source_error(error, WHERE).message


def test_message_repeats_no_markup_no_token_and_no_signature(hub):
    hub.fail(Status(403, {"X-Error-Message": "hf_abc may not get https://store/x?X-Signature=5ecret\tnow"}))
    hub.fail(Status(403, body=b"<Error><AWSAccessKeyId>5ecret</AWSAccessKeyId></Error>"))
    first, second = (source_error(raised(hub), WHERE).message for _ in range(2))
    assert "answered 403 (… may not get https://store/x… now)" in first
    assert "answered 403;" in second


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"RateLimit": '"api";r=0;t=55'}, 55),
        ({"RateLimit": '"api";r=10;t=55'}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_wait_is_as_long_as_the_hub_says(hub, headers, seconds):
    hub.fail(Status(429, headers))
    assert source_error(raised(hub), WHERE).details.get("retry_after_seconds") == seconds


def test_wait_until_a_date_is_how_long_that_is():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < (retry_after_seconds(httpx2.Headers({"Retry-After": date})) or 0) <= 60
    assert retry_after_seconds(httpx2.Headers({"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"})) == 0


def test_hub_that_is_away_is_unavailable():
    api = open_hub("http://127.0.0.1:1", None)
    with pytest.raises(HUB_ERRORS) as caught:
        api.model_info("acme/model")
    error = source_error(caught.value, WHERE)
    assert type(error) is SourceUnavailable
    assert "cannot be reached: [Errno 111] Connection refused; check the endpoint" in error.message


@pytest.mark.parametrize(
    "kind",
    [each for each in vars(httpx2).values() if isinstance(each, type) and issubclass(each, httpx2.TransportError)],
)
def test_every_failure_of_the_transport_can_be_tried_again(kind):
    assert issubclass(kind, HUB_ERRORS)
    assert source_error(kind("broken"), WHERE).retryable
    assert sink_error(kind("broken"), WHERE).retryable


def test_storage_that_refuses_the_credential_is_denied():
    assert type(sink_error(XetAuthenticationError("expired"), WHERE)) is SinkDenied
    assert issubclass(XetAuthenticationError, HUB_ERRORS)
