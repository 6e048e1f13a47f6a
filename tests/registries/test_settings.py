"""The operator's words about registries make sense or are refused; secrets show nowhere."""

import pytest
from pydantic import ValidationError

from crossfade_registries.settings import Credential, HubDestination, LocalDestination, RegistrySettings, S3Destination

KEYS = {"access_key_id": "AKIA", "secret_access_key": "s3cr3t-key"}
TOKEN = {"token": "hf_s3cr3t"}
HUB = {"kind": "hub", "namespace": "acme", "credential": "hub"}


def settings(**fields) -> RegistrySettings:
    return RegistrySettings.model_validate({"credentials": {"hub": TOKEN, "store": KEYS}, **fields})


def refused(match: str, **fields) -> None:
    with pytest.raises(ValidationError, match=match):
        settings(**fields)


def test_each_kind_of_destination_is_read_as_such_and_local_needs_no_kind():
    found = settings(
        destinations={
            "here": {"path": "/srv/out"},
            "store": {"kind": "s3", "bucket": "models", "prefix": "/pads/", "credential": "store"},
            "hub": HUB,
        }
    ).destinations
    assert [type(found[name]) for name in ("here", "store", "hub")] == [LocalDestination, S3Destination, HubDestination]
    assert found["store"].prefix == "pads"
    assert found["hub"].visibility == "private"


@pytest.mark.parametrize(
    ("match", "destination"),
    [
        ("kind must be local, s3 or hub", {"kind": "ftp", "path": "/srv"}),
        ("absolute", {"path": "relative"}),
        ("Extra inputs", {**HUB, "path": "/srv"}),
        ("Field required", {"kind": "hub", "namespace": "acme"}),
        ("there is no credential 'other'", {**HUB, "credential": "other"}),
        ("credential 'store' must be a token", {**HUB, "credential": "store"}),
        ("credential 'hub' must be a pair of keys", {"kind": "s3", "bucket": "models", "credential": "hub"}),
        ("String should match pattern", {**HUB, "namespace": "../x"}),
        ("plain names", {"kind": "s3", "bucket": "models", "prefix": "a/../b"}),
        ("URL without user", {"kind": "s3", "bucket": "models", "endpoint_url": "http://key:secret@host"}),
        ("URL without user", {**HUB, "endpoint": "file:///etc"}),
        ("greater than or equal to 5242880", {"kind": "s3", "bucket": "models", "part_bytes": 1 << 20}),
    ],
)
def test_destination_that_makes_no_sense_is_refused(match, destination):
    refused(match, destinations={"place": destination})


@pytest.mark.parametrize(
    "credential",
    [{}, {**TOKEN, **KEYS}, {"access_key_id": "AKIA"}, {"secret_access_key": "x"}, {**TOKEN, "session_token": "x"}],
)
def test_credential_is_a_token_or_a_pair_of_keys(credential):
    refused("give ", credentials={"hub": TOKEN, "store": KEYS, "odd": credential})


def test_source_places_name_credentials_that_fit():
    refused("buckets.weights: there is no credential 'nobody'", buckets={"weights": {"credential": "nobody"}})
    refused("hub: credential 'store' must be a token", hub={"credential": "store"})


def test_no_secret_shows_in_any_text_of_the_settings_or_of_their_refusal():
    found = settings()
    with pytest.raises(ValidationError) as caught:
        settings(credentials={"odd": {**TOKEN, **KEYS}})
    for text in (repr(found), str(found), found.model_dump_json(), repr(Credential.model_validate(KEYS))):
        assert "s3cr3t" not in text
    assert "s3cr3t" not in str(caught.value.errors(include_input=False))
