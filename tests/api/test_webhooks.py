"""Webhooks over the API: whose they are, what may be asked for, what is shown when."""

import pytest
from pydantic import ValidationError

from crossfade_core.webhooks import MAX_WEBHOOKS, Attempt
from crossfade_stores.settings import describe_invalid
from tests.api.conftest import SPEC
from tests.api.test_keys import OPERATOR, TOKEN, make_key

KEY = "a key of the service that is long enough"
URL = "https://ci.example.org/hook"


@pytest.fixture
def sending(deploy):
    return deploy(webhook_key=KEY, webhook_networks=["127.0.0.0/8"])


@pytest.fixture
def guarded(deploy):
    return deploy(webhook_key=KEY, api_token=TOKEN, api_host="0.0.0.0")


def create(deployment, headers=None, **fields):
    answer = deployment.client.post("/v1/webhooks", json={"url": URL, **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_secret_is_shown_when_it_is_made_and_at_no_other_time(sending):
    made = create(sending)
    assert made["secret"].startswith("whsec_")
    assert made["events"] == ["job.cancelled", "job.failed", "job.partially_succeeded", "job.succeeded"]
    shown = sending.client.get(f"/v1/webhooks/{made['id']}").json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert sending.client.get("/v1/webhooks").json() == {"items": [shown]}
    rotated = sending.client.post(f"/v1/webhooks/{made['id']}/rotate").json()
    assert rotated["secret"] != made["secret"]
    assert rotated["rotated_at"] is not None


def test_ending_of_a_job_is_in_the_log_of_deliveries_with_what_became_of_it(sending):
    hook = create(sending)
    job_id = sending.succeed(sending.submit()["id"])
    (told,) = sending.client.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["items"]
    assert (told["type"], told["state"], told["job_id"]) == ("job.succeeded", "PENDING", job_id)
    webhooks = sending.client.app.state.adapters.webhooks
    ((_, delivery),) = webhooks.claim_deliveries(1, 60)
    webhooks.settle_delivery(delivery, Attempt(delivery.created_at, 0.25, 503), None)
    (failed,) = sending.client.get(f"/v1/webhooks/{hook['id']}/deliveries?state=FAILED").json()["items"]
    (attempt,) = failed["attempts"]
    assert (attempt["status"], attempt["seconds"], attempt["error"]) == (503, 0.25, None)
    replayed = sending.client.post(f"/v1/webhooks/{hook['id']}/deliveries/{told['id']}/replay")
    assert replayed.status_code == 202
    assert (replayed.json()["replay_of"], replayed.json()["data"]) == (told["id"], told["data"])


def test_deliveries_come_in_pages(sending):
    hook = create(sending)
    sent = [sending.client.post(f"/v1/webhooks/{hook['id']}/test").json()["id"] for _ in range(5)]
    seen, params = [], {"limit": 2}
    while True:
        page = sending.client.get(f"/v1/webhooks/{hook['id']}/deliveries", params=params).json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        params["page"] = page["next"]
    assert sorted(seen) == sorted(sent)


def test_deleted_webhook_is_gone(sending):
    hook = create(sending)
    assert sending.client.delete(f"/v1/webhooks/{hook['id']}").status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/rotate"), ("GET", "/deliveries")):
        answer = sending.client.request(method, f"/v1/webhooks/{hook['id']}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_not_found")


def test_webhook_of_another_is_as_good_as_none(guarded):
    alice, bob = make_key(guarded, "alice"), make_key(guarded, "bob")
    hook = create(guarded, alice)
    assert guarded.client.get("/v1/webhooks", headers=bob).json()["items"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/rotate"), ("GET", "/deliveries")):
        answer = guarded.client.request(method, f"/v1/webhooks/{hook['id']}{path}", headers=bob)
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_not_found")
    assert [each["id"] for each in guarded.client.get("/v1/webhooks", headers=OPERATOR).json()["items"]] == [hook["id"]]
    assert guarded.client.get(f"/v1/webhooks/{hook['id']}", headers=OPERATOR).json()["owner"] == "alice"


def test_owner_is_told_of_own_jobs_an_administrator_of_all(guarded):
    alice, bob = make_key(guarded, "alice"), make_key(guarded, "bob")
    hooks = [create(guarded, alice), create(guarded, bob), create(guarded, OPERATOR, every_job=True)]
    job = guarded.client.post("/v1/merges", json=SPEC, headers=alice).json()
    guarded.succeed(job["id"])
    counts = [
        len(guarded.client.get(f"/v1/webhooks/{hook['id']}/deliveries", headers=OPERATOR).json()["items"])
        for hook in hooks
    ]
    assert counts == [1, 0, 1]
    answer = guarded.client.post("/v1/webhooks", json={"url": URL, "every_job": True}, headers=alice)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data", "http://ci.example.org/hook", "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/", "file:///etc/passwd", "https://user:secret@ci.example.org/", "https://10.0.0.1",
    ],
)  # fmt: skip
def test_url_that_may_not_be_sent_to_is_refused(deploy, url):
    answer = deploy(webhook_key=KEY).client.post("/v1/webhooks", json={"url": url})
    assert (answer.status_code, answer.json()["code"]) == (422, "webhook_refused")
    assert "secret" not in answer.text


@pytest.mark.parametrize("body", [{}, {"url": URL, "events": []}, {"url": URL, "events": ["unit.done"]}, {"url": 1}])
def test_senseless_webhook_is_pointed_at(sending, body):
    answer = sending.client.post("/v1/webhooks", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec")
    assert answer.json()["errors"][0]["pointer"].startswith("#/")


def test_service_without_a_key_of_its_own_says_that_it_sends_none(deployment):
    answer = deployment.client.post("/v1/webhooks", json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (422, "webhook_refused")
    assert "CROSSFADE_WEBHOOK_KEY" in answer.json()["detail"]


def test_only_so_many_are_let_in(sending):
    for _ in range(MAX_WEBHOOKS):
        create(sending)
    answer = sending.client.post("/v1/webhooks", json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (422, "webhook_refused")


def test_key_of_the_service_that_is_too_short_refuses_to_start(deploy):
    with pytest.raises(ValidationError) as refused:
        deploy(webhook_key="tiny-key")
    told = describe_invalid(refused.value)
    assert told.startswith("CROSSFADE_WEBHOOK_KEY: must hold 32 characters or more")
    assert "tiny-key" not in told
