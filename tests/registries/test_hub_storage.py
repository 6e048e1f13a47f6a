"""Ranges come through the proxies that the environment names; what an error says is understood as the Hub's."""

import pytest
from huggingface_hub.errors import HfHubHTTPError
from urllib3.exceptions import HTTPError

from crossfade_registries.hub.storage import Storage
from tests.fakes.http_faults import Status
from tests.fakes.hub import Hub
from tests.registries.hub_reading import CONTENT, REPO, SHARD
from tests.registries.plain_origin import PlainOrigin

NONE = frozenset[int]()


@pytest.fixture
def storage():
    storage = Storage("crossfade/test", 60)
    yield storage
    storage.close()


@pytest.fixture
def proxy(monkeypatch):
    with PlainOrigin() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        yield proxy


def test_proxy_of_the_environment_is_used(proxy, storage):
    proxy.kept["http://storage.test/blob"] = CONTENT
    with storage.get("http://storage.test/blob", {"range": "bytes=0-", "connection": "close"}, NONE) as answer:
        assert answer.read() == CONTENT
    ((method, target, headers),) = proxy.heard
    assert (method, target) == ("GET", "http://storage.test/blob")
    assert {name.lower(): value for name, value in headers}.items() >= {
        "user-agent": "crossfade/test",
        "range": "bytes=0-",
    }.items()


def test_host_without_proxy_is_asked_itself(proxy, storage, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with PlainOrigin() as origin, storage.get(f"{origin.url}/zeros/3", {"connection": "close"}, NONE) as answer:
        assert answer.read() == bytes(3)
    assert proxy.heard == []


def test_error_is_the_hub_clients_own_with_what_was_said(storage, tmp_path):
    with Hub(tmp_path / "hub") as hub:
        hub.add_repo(REPO)
        hub.push(REPO, {SHARD: CONTENT})
        hub.fail(Status(429, {"Retry-After": "7"}))
        with (
            pytest.raises(HfHubHTTPError) as raised,
            storage.get(f"{hub.url}/{REPO}/resolve/main/{SHARD}", {"authorization": "Bearer hf_x"}, NONE),
        ):
            pass
    assert raised.value.response.status_code == 429
    assert raised.value.response.headers["retry-after"] == "7"
    assert "authorization" in raised.value.response.request.headers


def test_status_that_the_caller_understands_is_no_error(storage, tmp_path):
    with Hub(tmp_path / "hub") as hub, storage.get(f"{hub.url}/none", {}, frozenset({404})) as answer:
        assert answer.status == 404


def test_nobody_there_is_urllib3s_error(storage):
    with pytest.raises(HTTPError), storage.get("http://127.0.0.1:1/blob", {}, NONE):
        pass
