"""The audit log over the API: who did what, for administrators alone, page by page."""

import pytest

from tests.api.conftest import SPEC
from tests.api.test_keys import OPERATOR, TOKEN, make_key


@pytest.fixture
def guarded(deploy):
    return deploy(api_token=TOKEN, api_host="0.0.0.0", webhook_key="a key of the service that is long enough")


def entries(deployment, **params):
    answer = deployment.client.get("/v1/audit", params=params, headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_who_submitted_cancelled_retried_and_published_is_told(guarded):
    alice, bob = make_key(guarded, "alice"), make_key(guarded, "bob")
    job = guarded.client.post("/v1/merges", json=SPEC, headers=alice).json()
    other = guarded.client.post("/v1/merges", json={**SPEC, "fresh": True}, headers=alice).json()
    guarded.client.post(other["links"]["cancel"], headers=bob)
    guarded.succeed(job["id"])
    told = [(entry["actor"], entry["action"], entry["subject"]) for entry in entries(guarded)]
    assert sorted(told) == sorted(
        [
            ("operator", "key.created", "alice"),
            ("operator", "key.created", "bob"),
            ("alice", "merge.submitted", job["id"]),
            ("alice", "merge.submitted", other["id"]),
            ("bob", "merge.cancelled", other["id"]),
            ("alice", "output.published", job["id"]),
            ("alice", "output.published", job["id"]),
        ]
    )
    published = entries(guarded, action="output.published", subject=job["id"])
    uris = {output["uri"] for output in guarded.client.get(job["links"]["self"], headers=alice).json()["outputs"]}
    assert {entry["data"]["uri"] for entry in published} == uris
    assert guarded.client.get(other["links"]["self"], headers=alice).json()["cancel_requested_at"] is not None


def test_only_an_administrator_reads_it(guarded):
    answer = guarded.client.get("/v1/audit", headers=make_key(guarded, "alice"))
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


def test_entries_come_in_pages_and_by_time(guarded):
    for name in ("a", "b", "c", "d", "e"):
        make_key(guarded, name)
    seen, params = [], {"limit": 2, "action": "key.created"}
    while True:
        page = guarded.client.get("/v1/audit", params=params, headers=OPERATOR).json()
        seen += page["items"]
        if page["next"] is None:
            break
        params["page"] = page["next"]
    assert sorted(entry["subject"] for entry in seen) == ["a", "b", "c", "d", "e"]
    newest = max(entry["at"] for entry in seen)
    assert {entry["at"] for entry in entries(guarded, since=newest)} == {newest}
    assert len(entries(guarded, until=newest)) == 4


def test_no_secret_is_in_it(guarded):
    secret = make_key(guarded, "alice")["authorization"].removeprefix("Bearer ")
    hook = guarded.client.post("/v1/webhooks", json={"url": "https://ci.example.org/"}, headers=OPERATOR).json()
    told = str(entries(guarded))
    assert hook["id"] in told
    assert secret not in told
    assert hook["secret"] not in told
