"""What a key opens: calls by scope, destinations by name, as many unfinished jobs as it may have."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.api.conftest import SPEC

TOKEN = "correct-horse"
OPERATOR = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def guarded(deploy, environment):
    path = environment["destinations"]["outputs"]["path"]
    places = {
        "outputs": {"kind": "local", "path": path},
        "releases": {"kind": "local", "path": path, "users": ["release", "ci-*"]},
        "nobody": {"kind": "local", "path": path, "users": []},
    }
    return deploy(api_token=TOKEN, api_host="0.0.0.0", destinations=places)


def make_key(deployment, name, **fields):
    answer = deployment.client.post("/v1/keys", json={"name": name, **fields}, headers=OPERATOR)
    assert answer.status_code == 201, answer.text
    return {"authorization": f"Bearer {answer.json()['secret']}"}


def ask(deployment, method, path, headers, **body):
    answer = deployment.client.request(method, path, headers=headers, **({"json": body} if body else {}))
    return answer.status_code, answer.json().get("code")


def test_key_does_what_its_scopes_say_and_no_more(guarded):
    reader = make_key(guarded, "reader", scopes=["read"])
    assert ask(guarded, "GET", "/v1/merges", reader) == (200, None)
    assert ask(guarded, "POST", "/v1/merges", reader, **SPEC) == (403, "scope_missing")
    submitter = make_key(guarded, "submitter", scopes=["submit"])
    answer = guarded.client.post("/v1/merges", json=SPEC, headers=submitter)
    assert (answer.status_code, answer.json()["submitted_by"]) == (202, "submitter")
    path = answer.json()["links"]["self"]
    assert ask(guarded, "GET", path, submitter) == (403, "scope_missing")
    assert ask(guarded, "GET", f"{path}/events", submitter) == (403, "scope_missing")
    assert ask(guarded, "POST", f"{path}/cancel", reader) == (403, "scope_missing")
    assert ask(guarded, "POST", f"{path}/retry", reader) == (403, "scope_missing")
    canceller = make_key(guarded, "canceller", scopes=["cancel"])
    assert ask(guarded, "POST", f"{path}/cancel", canceller) == (202, None)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/keys"), ("GET", "/v1/keys"), ("DELETE", "/v1/keys/a")])
def test_only_administrators_manage_keys(guarded, method, path):
    usual = make_key(guarded, "usual")
    assert ask(guarded, method, path, usual, name="a") == (403, "scope_missing")
    admin = make_key(guarded, "admin", scopes=["admin"])
    assert ask(guarded, "POST", "/v1/keys", admin, name="a") == (201, None)


def test_revoked_or_expired_key_is_no_key(guarded):
    soon = (datetime.now(UTC) + timedelta(seconds=-1)).isoformat()
    for headers in (make_key(guarded, "old", expires_at=soon), make_key(guarded, "lost")):
        guarded.client.delete("/v1/keys/lost", headers=OPERATOR)
        assert ask(guarded, "GET", "/v1/merges", headers) == (401, "unauthorized")


def test_keys_are_listed_without_their_secrets(guarded):
    secret = make_key(guarded, "alice", max_jobs=2, requests_per_minute=30)["authorization"].removeprefix("Bearer ")
    answer = guarded.client.get("/v1/keys", headers=OPERATOR)
    (key,) = answer.json()["items"]
    assert (key["name"], key["max_jobs"], key["scopes"]) == ("alice", 2, ["cancel", "read", "submit"])
    assert key["requests_per_minute"] == 30
    assert secret not in answer.text
    assert secret.split("_")[1] not in answer.text


def test_destination_is_for_the_users_its_configuration_names(guarded):
    for name, status in (("release", 202), ("ci-nightly", 202), ("alice", 403)):
        key = make_key(guarded, name)
        body = {**SPEC, "destination": "releases", "output_name": name + "-{lambda}"}
        code = None if status == 202 else "destination_not_allowed"
        assert ask(guarded, "POST", "/v1/merges", key, **body) == (status, code)
    problem = guarded.client.post("/v1/merges", json={**SPEC, "destination": "releases"}, headers=key).json()
    assert problem["detail"] == "key 'alice' may not publish to 'releases'; it may to outputs"
    made_up = guarded.client.post("/v1/merges", json={**SPEC, "destination": "made-up"}, headers=key).json()
    assert made_up["detail"] == "key 'alice' may not publish to 'made-up'; it may to outputs"
    assert ask(guarded, "POST", "/v1/merges", OPERATOR, **{**SPEC, "destination": "nobody"}) == (202, None)


def test_who_may_not_publish_there_is_told_nothing_of_what_stands_there(guarded):
    (guarded.outputs / "instruct-pad-0.5").mkdir()
    body = {**SPEC, "destination": "releases", "base": "local://models/nothing"}
    assert ask(guarded, "POST", "/v1/merges", make_key(guarded, "alice"), **body) == (403, "destination_not_allowed")


def test_key_with_a_full_queue_is_asked_to_come_back(guarded):
    key = make_key(guarded, "alice", max_jobs=1)
    first = guarded.client.post("/v1/merges", json=SPEC, headers=key).json()
    body = {**SPEC, "output_name": "other-{lambda}"}
    answer = guarded.client.post("/v1/merges", json=body, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_limit_reached")
    assert int(answer.headers["retry-after"]) > 0
    assert guarded.client.post(first["links"]["cancel"], headers=key).json()["state"] == "CANCELLED"
    assert ask(guarded, "POST", "/v1/merges", key, **body) == (202, None)


def test_where_no_token_is_set_this_machine_needs_no_key_and_a_key_still_counts(deployment):
    made = deployment.client.post("/v1/keys", json={"name": "reader", "scopes": ["read"]}).json()
    key = {"authorization": f"Bearer {made['secret']}"}
    assert ask(deployment, "GET", "/v1/merges", key) == (200, None)
    assert ask(deployment, "POST", "/v1/merges", key, **SPEC) == (403, "scope_missing")
    assert ask(deployment, "GET", "/v1/merges", {"authorization": f"{key['authorization'][:-1]}~"}) == (200, None)
    deployment.client.delete("/v1/keys/reader")
    assert ask(deployment, "GET", "/v1/merges", key) == (401, "unauthorized")
    assert ask(deployment, "GET", "/v1/merges", {"authorization": "Bearer of-another-server"}) == (200, None)
    assert deployment.submit()["submitted_by"] == "local"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": "no spaces"}, "#/name"),
        ({"name": "a", "scopes": []}, "#/scopes"),
        ({"name": "a", "scopes": ["root"]}, "#/scopes/0"),
        ({"name": "a", "max_jobs": 0}, "#/max_jobs"),
        ({"name": "a", "requests_per_minute": 0}, "#/requests_per_minute"),
        ({"name": "a", "expires_at": "2026-01-01T00:00:00"}, "#/expires_at"),
    ],
)
def test_key_that_makes_no_sense_is_refused_with_the_field(deployment, fields, pointer):
    answer = deployment.client.post("/v1/keys", json=fields)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
