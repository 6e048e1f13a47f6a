"""A job goes from its message to checkpoints on disk, and the store says exactly what is there."""

import json

import pytest
import torch
from safetensors.torch import load_file

from crossfade_core.errors import QueueUnavailable
from crossfade_core.job import OutputState, Phase
from crossfade_core.messages import PLAN, PUBLISH, UNIT
from crossfade_core.own_files import OWN_FILES
from tests.worker.deployment import LEASE_SECONDS

SMALL_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]


def tensors(folder):
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def test_sweep_is_planned_merged_and_published(deployment):
    job = deployment.submit()
    deployment.deliver()
    assert deployment.states(job) == ("SUCCEEDED", ["PUBLISHED"] * 3)
    assert deployment.job(job).phase is Phase.DONE
    assert deployment.visible() == ["instruct-pad-0.0", "instruct-pad-0.5", "instruct-pad-1.0"]
    assert not deployment.is_staging()


def test_store_lists_every_file_with_the_digest_it_has_on_disk(deployment):
    job = deployment.submit()
    deployment.deliver()
    for output in deployment.store.list_outputs(job.id):
        assert output.files == deployment.digests(output)
        assert output.uri == (deployment.outputs / output.name).as_uri()


def test_tensors_are_the_parents_interpolated(deployment):
    deployment.submit()
    deployment.deliver()
    base, instruct = tensors(deployment.pair.base), tensors(deployment.pair.instruct)
    for lam in (0.0, 0.5, 1.0):
        made = tensors(deployment.outputs / f"instruct-pad-{lam}")
        assert made.keys() == base.keys()
        assert all(torch.equal(made[name], torch.lerp(base[name], instruct[name], lam)) for name in made)


def test_index_leads_to_every_tensor(deployment):
    deployment.submit(lambdas=[0.5])
    deployment.deliver()
    folder = deployment.outputs / "instruct-pad-0.5"
    index = json.loads((folder / "model.safetensors.index.json").read_bytes())
    held = {name: path.name for path in folder.glob("*.safetensors") for name in load_file(path)}
    assert index["weight_map"] == held
    sizes = [tensor.nbytes for tensor in tensors(folder).values()]
    assert index["metadata"]["total_size"] == sum(sizes)


@pytest.mark.parametrize("parent", ["instruct", "base"])
def test_config_tokenizer_and_template_are_the_chosen_parents_byte_for_byte(deployment, parent):
    deployment.submit(lambdas=[0.5], tokenizer_from=parent, output_name="x")
    deployment.deliver()
    chosen, other = (getattr(deployment.pair, side) for side in (parent, {"base": "instruct"}.get(parent, "base")))
    for file in SMALL_FILES:
        copied = (deployment.outputs / "x" / file).read_bytes()
        assert copied == (chosen / file).read_bytes() != (other / file).read_bytes()


def test_code_and_pickles_of_a_parent_do_not_travel_along(deployment):
    for file in ("modeling_custom.py", "pytorch_model.bin", "README.md"):
        (deployment.pair.instruct / file).write_bytes(b"print('no')")
    deployment.submit(lambdas=[0.5], output_name="x")
    deployment.deliver()
    written = {path.name for path in (deployment.outputs / "x").iterdir()}
    weights = {path.name for path in deployment.pair.instruct.glob("*.safetensors")}
    assert written == weights | {*SMALL_FILES, "model.safetensors.index.json", *OWN_FILES}
    assert b"print" not in (deployment.outputs / "x/README.md").read_bytes()


def test_messages_carry_ids_of_what_is_stored_and_go_out_once(deployment):
    job = deployment.submit()
    assert deployment.drop_messages() == [(PLAN, job.id)]
    deployment.plan(job.id)
    units = deployment.store.list_units(job.id)
    assert deployment.drop_messages() == [(UNIT, unit.id) for unit in units]
    for unit in units:
        deployment.run_unit(unit.id)
    assert deployment.drop_messages() == [(PUBLISH, job.id)]


def test_progress_adds_up_to_every_byte_of_every_output(deployment):
    job = deployment.merged()
    progress = deployment.store.progress(job.id)
    deployment.publish(job.id)
    written = sum(path.stat().st_size for path in deployment.outputs.glob("*/*.safetensors"))
    assert progress.bytes_done == progress.bytes_total == written
    assert progress.units_done == progress.units_total == 3


def test_history_tells_the_whole_story_in_order(deployment):
    job = deployment.submit(lambdas=[0.5])
    deployment.deliver()
    events = [event.type for event in deployment.store.list_events(job.id)]
    assert events == [
        "job.queued",
        "job.running",
        "job.phase",
        *["unit.started", "unit.done"] * 3,
        "job.phase",
        "output.published",
        "job.succeeded",
    ]


def test_jobs_side_by_side_do_not_disturb_each_other(deployment):
    jobs = [deployment.submit(lambdas=[0.5], output_name=f"job-{number}") for number in range(3)]
    deployment.deliver()
    assert [deployment.states(job) for job in jobs] == [("SUCCEEDED", ["PUBLISHED"])] * 3
    assert deployment.visible() == ["job-0", "job-1", "job-2"]
    assert not deployment.is_staging()


def test_worker_runs_a_more_urgent_unit_first_and_sends_the_others_message_again(deployment):
    large, units = deployment.planned(lambdas=[0.5], output_name="large")
    small, small_units = deployment.planned(lambdas=[0.5], output_name="small")
    assert deployment.store.claim_unit(units[0].id, "merge-2", LEASE_SECONDS)
    deployment.run_unit(units[1].id)
    assert deployment.queue.sent == [(UNIT, units[1].id)]
    assert [unit.state for unit in deployment.store.list_units(small.id)] == ["DONE", "PENDING", "PENDING"]
    assert [unit.state for unit in deployment.store.list_units(large.id)] == ["RUNNING", "PENDING", "PENDING"]
    for unit in small_units:
        deployment.queue.send(UNIT, unit.id)
    deployment.deliver()
    assert deployment.job(small).state == "SUCCEEDED"
    assert [unit.state for unit in deployment.store.list_units(large.id)] == ["RUNNING", "DONE", "PENDING"]


def test_no_urgent_unit_is_claimed_and_left_where_the_broker_is_away(deployment):
    _, units = deployment.planned(lambdas=[0.5], output_name="large")
    small, _ = deployment.planned(lambdas=[0.5], output_name="small")
    assert deployment.store.claim_unit(units[0].id, "merge-2", LEASE_SECONDS)
    deployment.queue.away = True
    with pytest.raises(QueueUnavailable):
        deployment.run_unit(units[1].id)
    assert {unit.state for unit in deployment.store.list_units(small.id)} == {"PENDING"}


def test_overwrite_replaces_the_earlier_output(deployment):
    deployment.submit(lambdas=[0.25], output_name="x")
    deployment.deliver()
    job = deployment.submit(lambdas=[0.75], output_name="x", overwrite=True)
    deployment.deliver()
    (output,) = deployment.store.list_outputs(job.id)
    assert output.state is OutputState.PUBLISHED
    assert output.files == deployment.digests(output)
    assert json.loads((deployment.outputs / "x/lineage.json").read_bytes())["lambda"] == 0.75
