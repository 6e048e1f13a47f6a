"""How a Celery process is set up: for long work, the right use case behind each name, and no torch on control."""

import json
import os
import signal
import subprocess
import sys

import pytest

from crossfade_core.messages import PLAN, PUBLISH, UNIT
from crossfade_signing.key_pairs import make_key_pair
from crossfade_worker import tasks
from crossfade_worker.celery_app import app
from crossfade_worker.runtime import runtime, signer

DAY_SECONDS = 24 * 3600

CONTROL_PROGRAM = """
import sys
import crossfade_worker.tasks
from crossfade_worker.runtime import runtime, signer

process = runtime()
print(type(process.plan_merge).__name__, type(process.publish).__name__, type(process.sweep).__name__)
assert not [name for name in ("torch", "numpy", "safetensors", "crossfade_engine") if name in sys.modules]
"""


@pytest.fixture
def environment(tmp_path, deployment):
    """The environment of a worker of the deployment, whose broker is not there."""
    return {
        "CROSSFADE_DATABASE_URL": f"sqlite:///{tmp_path}/crossfade.db",
        "CROSSFADE_BROKER_URL": f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0",
        "CROSSFADE_ROOTS": json.dumps({"models": str(deployment.models)}),
        "CROSSFADE_DESTINATIONS": json.dumps({"outputs": {"path": str(deployment.outputs)}}),
        "CROSSFADE_THREADS": "1",
        "CROSSFADE_DEVICE": "cpu",
    }


@pytest.fixture
def in_process(environment, monkeypatch):
    """Let this process be that worker."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for cached in (runtime, signer):
        cached.cache_clear()
    yield
    for cached in (runtime, signer):
        cached.cache_clear()


def test_messages_are_acknowledged_when_the_work_is_done_and_taken_one_at_a_time():
    assert app.conf.task_acks_late
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.worker_disable_prefetch


def test_a_lost_broker_does_not_cancel_work():
    assert app.conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert app.conf.broker_connection_max_retries is None
    assert app.conf.broker_connection_retry_on_startup


def test_messages_are_json_and_have_no_results():
    assert app.conf.task_serializer == "json"
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_ignore_result
    assert app.conf.result_backend is None


def test_messages_are_not_delivered_again_within_a_day():
    assert app.conf.broker_transport_options["visibility_timeout"] == DAY_SECONDS
    assert app.conf.visibility_timeout == DAY_SECONDS


def test_every_message_has_its_task():
    assert {name for name in app.tasks if not name.startswith("celery.")} == {PLAN, UNIT, PUBLISH}


def test_tasks_hand_over_to_their_use_cases_and_survive_what_these_raise(deployment, in_process):
    job = deployment.submit()
    tasks.plan(job.id)  # the broker is away: units are stored, no message goes out, and that is no error
    assert deployment.job(job).plan_summary is not None
    for unit in deployment.store.list_units(job.id):
        tasks.unit(unit.id)
    tasks.publish(job.id)
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)


def test_task_of_an_unknown_job_is_no_error(in_process):
    for task in (tasks.plan, tasks.publish):
        task("job-unknown")
    tasks.unit("unit-unknown")


def test_control_process_never_loads_torch_and_connects_to_nothing_by_itself(environment, tmp_path):
    absent = {"CROSSFADE_DATABASE_URL": f"sqlite:///{tmp_path}/absent.db"}
    run = subprocess.run(
        [sys.executable, "-c", CONTROL_PROGRAM],
        env={**os.environ, **environment, **absent},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert (run.returncode, run.stdout) == (0, "PlanMerge Publish Sweep\n"), run.stderr
    assert not (tmp_path / "absent.db").exists()


def test_import_reads_no_settings_and_starting_without_them_says_which_are_missing():
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
    command = [sys.executable, "-m", "celery", "-A", "crossfade_worker.celery_app", "worker", "-Q", "control"]
    run = subprocess.run(command, env=bare, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("the worker cannot start: CROSSFADE_DATABASE_URL: Field required; CROSSFADE_BROKER_URL")
    assert "Traceback" not in run.stderr


def start_merge_worker(environment):
    """Start one that is to end at once; return its exit status and last word."""
    return start_worker("merge", environment)


def start_worker(queue, environment):
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "crossfade_worker.celery_app", "worker", "-Q", queue],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return ended.returncode, ended.stderr.strip().splitlines()[-1]


def test_merge_worker_that_cannot_load_torch_takes_no_unit_and_says_so(environment, tmp_path):
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "torch.py").write_text("raise ImportError('libtorch.so: cannot map memory')")
    said = "the worker cannot start: torch does not load: ImportError: libtorch.so: cannot map memory"
    assert start_merge_worker({**environment, "PYTHONPATH": str(tmp_path / "shadow")}) == (1, said)


def test_merge_worker_without_the_device_it_is_to_use_takes_no_unit_and_says_so(environment):
    said = (
        "the worker cannot start: device cuda: torch sees no GPU here; install a CUDA build of torch or use device cpu"
    )
    hidden = {"CUDA_VISIBLE_DEVICES": ""}  # where there is a GPU
    assert start_merge_worker({**environment, **hidden, "CROSSFADE_DEVICE": "cuda"}) == (1, said)


@pytest.fixture
def key_file(tmp_path):
    make_key_pair(tmp_path / "signing.key", tmp_path / "signing.pub")
    return tmp_path / "signing.key"


def test_worker_that_merges_refuses_to_hold_a_signing_key(environment, key_file):
    status, said = start_merge_worker({**environment, "CROSSFADE_SIGNING_KEY_FILE": str(key_file)})
    assert (status, said[:41]) == (1, "the worker cannot start: it merges, and w")
    status, said = start_merge_worker({**environment, "CROSSFADE_SIGNING_KEY": key_file.read_text()})
    assert (status, said[:41]) == (1, "the worker cannot start: it merges, and w")
    assert key_file.read_text().splitlines()[1] not in said


def test_control_worker_whose_key_is_none_says_so_and_does_not_start(environment, key_file):
    key_file.chmod(0o644)
    said = start_worker("control", {**environment, "CROSSFADE_SIGNING_KEY_FILE": str(key_file)})
    assert said[0] == 1
    assert said[1].startswith(f"the worker cannot start: {key_file}: mode 0644 lets others read")


def test_key_is_what_the_settings_say_and_is_read_once(in_process, key_file, monkeypatch):
    assert signer() is None
    signer.cache_clear()
    monkeypatch.setenv("CROSSFADE_SIGNING_KEY_FILE", str(key_file))
    expected = key_file.with_suffix(".pub").read_bytes()
    assert signer().public_pem == expected
    key_file.unlink()
    assert signer().public_pem == expected


def test_worker_whose_engine_fails_hands_the_unit_back_and_stops(in_process, monkeypatch):
    stopped, sent = [], []

    def fail(*_):
        raise RuntimeError("no device")

    monkeypatch.setattr("crossfade_engine.merge_shard.open_resources", fail)
    monkeypatch.setattr(runtime().queue, "send", lambda *message: sent.append(message))
    monkeypatch.setattr(os, "kill", lambda *call: stopped.append(call))
    tasks.unit("unit-1")
    assert sent == [(UNIT, "unit-1")]
    assert stopped == [(os.getppid(), signal.SIGTERM)]
