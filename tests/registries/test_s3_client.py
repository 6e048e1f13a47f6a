"""A client reaches what the configuration says and nothing else; each failure of a store has a name and a way out."""

import contextlib
import socket

import pytest
from botocore import exceptions as boto
from pydantic import SecretStr

from crossfade_core.errors import (
    OutputMoved,
    SinkDenied,
    SinkError,
    SinkRateLimited,
    SinkUnavailable,
    SourceChanged,
    SourceDenied,
    SourceError,
    SourceNotFound,
    SourceRateLimited,
    SourceUnavailable,
    StagedFileLost,
)
from crossfade_registries.s3.client import S3_ERRORS, open_s3, sink_error, source_error
from crossfade_registries.settings import Credential, S3Access
from tests.fakes.http_faults import Disconnect, Status
from tests.fakes.http_proxy import HttpProxy

KEYS = Credential(
    access_key_id="AKIAEXAMPLE", secret_access_key=SecretStr("secret-key"), session_token=SecretStr("secret-session")
)
WHERE = "s3://models/llama/model.safetensors"

MEANINGS = [
    (403, "AccessDenied", SourceDenied, SinkDenied, "refused the credential 'team'; the operator must check its keys"),
    (403, "InvalidAccessKeyId", SourceDenied, SinkDenied, "refused the credential 'team'"),
    (403, "SignatureDoesNotMatch", SourceDenied, SinkDenied, "refused the credential 'team'"),
    (403, "AllAccessDisabled", SourceDenied, SinkDenied, "refused the credential 'team'"),
    (401, "Unheard", SourceDenied, SinkDenied, "refused the credential 'team'"),
    (403, "", SourceDenied, SinkDenied, "refused the credential 'team'"),
    (400, "InvalidToken", SourceDenied, SinkDenied, "refused the credential 'team'"),
    (400, "ExpiredToken", SourceDenied, SinkDenied, "temporary keys of the credential 'team' have expired"),
    (403, "RequestTimeTooSkewed", SourceDenied, SinkDenied, "set this machine's clock"),
    (403, "InvalidObjectState", SourceError, SinkError, "the store refused the request"),
    (404, "NoSuchBucket", SourceNotFound, SinkError, "there is no such bucket; check its name and the endpoint"),
    (404, "NoSuchKey", SourceNotFound, StagedFileLost, "there is no such object|an object that this job had put there"),
    (404, "", SourceNotFound, StagedFileLost, "there is no such object|an object that this job had put there"),
    (412, "PreconditionFailed", SourceChanged, OutputMoved, "replaced while the job ran|somebody else wrote there"),
    (416, "InvalidRange", SourceChanged, OutputMoved, "replaced while the job ran|somebody else wrote there"),
    (400, "AuthorizationHeaderMalformed", SourceError, SinkError, "must check the region and the endpoint"),
    (400, "InvalidRequest", SourceError, SinkError, "the store refused the request"),
    (501, "NotImplemented", SourceError, SinkError, "the store refused the request"),
    (503, "SlowDown", SourceRateLimited, SinkRateLimited, "asks for fewer requests; try again later"),
    (429, "", SourceRateLimited, SinkRateLimited, "asks for fewer requests; try again later"),
    (500, "InternalError", SourceUnavailable, SinkUnavailable, "could not be reached or failed; try again later"),
    (502, "", SourceUnavailable, SinkUnavailable, "could not be reached or failed; try again later"),
    (503, "ServiceUnavailable", SourceUnavailable, SinkUnavailable, "could not be reached or failed; try again later"),
    (400, "RequestTimeout", SourceUnavailable, SinkUnavailable, "could not be reached or failed; try again later"),
    (409, "ConditionalRequestConflict", SourceUnavailable, SinkUnavailable, "could not be reached or failed"),
    (400, "BadDigest", SourceUnavailable, SinkUnavailable, "could not be reached or failed"),
]


@contextlib.contextmanager
def opened(endpoint_url=None, credential=KEYS, **access):
    name = None if credential is None else "team"
    client = open_s3(S3Access(endpoint_url=endpoint_url, path_style=True, credential=name, **access), credential)
    with contextlib.closing(client):
        yield client


@pytest.fixture(scope="module")
def shared_store():
    with HttpProxy("http://127.0.0.1:1") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(shared_store):
    """A client of the store, with keys."""
    with opened(shared_store.url) as client:
        yield client


@pytest.fixture
def store(shared_store):
    """A store that fails as it is told; nothing is behind it."""
    shared_store.clear()
    return shared_store


def refusal(client):
    with pytest.raises(S3_ERRORS) as caught:
        client.get_object(Bucket="models", Key="llama/model.safetensors")
    return caught.value


def answer(status, code, headers=None):
    body = f"<Error><Code>{code}</Code><Message>As\nit is</Message><Token-0>secret-session</Token-0></Error>"
    return Status(status, {"Content-Type": "application/xml", **(headers or {})}, body.encode() if code else b"")


@pytest.mark.parametrize(("status", "code", "of_source", "of_sink", "words"), MEANINGS)
def test_answer_of_a_store_has_a_name_and_a_way_out(store, client, status, code, of_source, of_sink, words):
    store.fail(answer(status, code))
    error = refusal(client)
    source = source_error(error, WHERE, file="model.safetensors")
    sink = sink_error(error, WHERE, output="out")
    assert (type(source), type(sink)) == (of_source, of_sink)
    for said in (source, sink):
        assert said.message.startswith(f"{WHERE}: ")
        assert any(option in said.message for option in words.split("|"))
        assert f"(HTTP {status} {code or status}: " in said.message
        assert said.message.isprintable()
        assert "secret" not in str(said.as_record())
    assert source.details == {"file": "model.safetensors"}
    assert sink.details == {"output": "out"}


def test_time_that_a_store_asks_for_is_told(store, client):
    store.fail(answer(503, "SlowDown", {"Retry-After": "7"}))
    assert source_error(refusal(client), WHERE).details["retry_after_seconds"] == 7


def test_client_asks_once(store, client):
    store.fail(answer(503, "SlowDown"), times=None)
    refusal(client)
    assert len(store.traffic.requests) == 1


def test_connection_that_is_refused_or_cut_is_unavailable(store, client):
    store.fail(Disconnect())
    assert isinstance(source_error(refusal(client), WHERE), SourceUnavailable)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with opened(f"http://127.0.0.1:{port}") as client:
        assert isinstance(sink_error(refusal(client), WHERE), SinkUnavailable)


def test_machine_without_keys_is_denied_by_name(store, monkeypatch, tmp_path):
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with opened(store.url, credential=None) as client:
        error = source_error(refusal(client), WHERE)
    assert isinstance(error, SourceDenied)
    assert "no keys were found for this machine's own credential" in error.message


def test_what_a_provider_of_keys_said_is_not_repeated():
    failed = boto.CredentialRetrievalError(provider="custom-process", error_msg="secret-key")
    assert "secret" not in source_error(failed, WHERE).message


def test_machines_own_keys_and_anonymous_access_are_told_apart_when_refused(store, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    store.fail(answer(403, "AccessDenied"), times=None)
    with opened(store.url, credential=None) as client:
        assert "refused this machine's own credential;" in source_error(refusal(client), WHERE).message
    with opened(store.url, credential=None, is_anonymous=True) as client:
        assert "no credential (the configuration says is_anonymous)" in source_error(refusal(client), WHERE).message


@pytest.mark.parametrize("credential", [KEYS, None])
def test_environment_and_config_files_cannot_lead_a_client_elsewhere(monkeypatch, tmp_path, credential):
    config = tmp_path / "config"
    config.write_text("[default]\nendpoint_url = http://elsewhere:1\nregion = mars-1\n")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere:2")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://elsewhere:3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "mars-2")
    with opened(credential=credential, region="eu-central-1") as client:
        assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
        assert client.meta.region_name == "eu-central-1"


def test_profile_that_is_not_there_matters_only_where_the_machines_keys_are_wanted(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with opened():
        pass
    with opened(credential=None, is_anonymous=True):
        pass
    with pytest.raises(SourceDenied, match="ProfileNotFound"), opened(credential=None):
        pass


class _SentError(Exception):
    pass


@pytest.mark.parametrize(
    ("path_style", "url"),
    [(True, "https://s3.eu-west-1.amazonaws.com/models/"), (False, "https://models.s3.eu-west-1.amazonaws.com/")],
)
def test_host_or_path_has_the_bucket_as_the_configuration_says(path_style, url):
    def stop(request, **_):
        raise _SentError(request.url)

    access = S3Access(region="eu-west-1", path_style=path_style, credential="team")
    with contextlib.closing(open_s3(access, KEYS)) as client:
        client.meta.events.register("before-send.s3", stop)
        with pytest.raises(_SentError) as sent:
            client.get_object(Bucket="models", Key="a")
    assert str(sent.value) == f"{url}a"
