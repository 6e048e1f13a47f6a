"""Health and readiness."""


def test_a_complete_deployment_is_healthy_and_ready(deployment):
    assert deployment.client.get("/healthz").json() == {"status": "ok"}
    assert deployment.client.get("/readyz").json() == {"status": "ready"}


def test_without_a_broker_it_is_healthy_but_not_ready(deployment):
    deployment.queue.away = True
    assert deployment.client.get("/healthz").status_code == 200
    answer = deployment.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_without_a_schema_it_is_not_ready(deploy, tmp_path):
    deployment = deploy(database_url=f"sqlite:///{tmp_path}/empty.db")
    answer = deployment.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


def test_without_a_database_it_starts_and_says_so(deploy, tmp_path):
    deployment = deploy(database_url=f"sqlite:///{tmp_path}/absent/crossfade.db")
    assert deployment.client.get("/healthz").status_code == 200
    assert deployment.client.get("/v1/merges").json()["code"] == "store_unavailable"
