"""What a published checkpoint tells about itself is true, complete, and the same however often it is published."""

import hashlib
import json
import platform
import shutil
from importlib.metadata import version

import pytest
import yaml

from crossfade_core.spec import MergeSpec, spec_digest
from crossfade_registries.layout import plan_spec
from tests.fakes.checkpoints import LLAMA_SIZES, encode_floats, small_files, write_checkpoint
from tests.worker.deployment import facts_of


def publish(deployment, **changes):
    """Run one λ = 0.5 to its end; return the job and the folder of its output."""
    job = deployment.submit(lambdas=[0.5], output_name="x", **changes)
    deployment.deliver()
    return job, deployment.outputs / "x"


def lineage(folder):
    return json.loads((folder / "lineage.json").read_bytes())


def front_matter(folder):
    _, text, _ = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(text)


@pytest.mark.parametrize("parent", ["instruct", "base"])
def test_lineage_lists_every_file_that_went_in_with_its_digest(deployment, parent):
    job, folder = publish(deployment, tokenizer_from=parent)
    inputs = lineage(folder)["inputs"]
    assert list(inputs) == ["base", "instruct"]
    for side in inputs:
        facts = facts_of(getattr(deployment.pair, side))
        copied = small_files(side) if side == parent else ()
        planned = {"config.json", "tokenizer.json", "model.safetensors.index.json", *copied}
        read = {name: about for name, about in facts.items() if name.endswith(".safetensors") or name in planned}
        assert inputs[side] == {
            "uri": getattr(job.spec, side),
            "files": read,
            "licence": None,
            "signature": None,
        }


def test_lineage_lists_every_file_that_came_out_but_itself_and_those_signed_after_it(deployment):
    _, folder = publish(deployment)
    facts = facts_of(folder)
    for later in ("lineage.json", "provenance.intoto.jsonl", "model.sig"):
        del facts[later]
    assert lineage(folder)["outputs"] == facts


def test_lineage_holds_what_was_asked_with_its_digest(deployment):
    job, folder = publish(deployment, labels={"team": "größer"}, out_dtype="float32")
    told = lineage(folder)
    spec = MergeSpec.model_validate(told["spec"])
    assert spec == job.spec
    assert told["spec_digest"] == spec_digest(spec) == job.spec_digest
    assert told["lambda"] == 0.5
    assert told["job"] == {"id": job.id, "created_at": job.created_at.isoformat()}
    assert told["schema"] == "crossfade.lineage/3"


def test_lineage_holds_the_plan_in_numbers(deployment):
    job, folder = publish(deployment)
    plan = plan_spec(job.spec, deployment.open_source).plan
    assert lineage(folder)["plan"] == {**plan.summary(), "exceptions": plan.exceptions(), "config_changes": {}}
    written = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert plan.write_bytes_per_output == written


def test_lineage_tells_what_lambda_really_did_to_every_tensor(deployment):
    job, folder = publish(deployment)
    told = lineage(folder)["statistics"]
    (output,) = deployment.store.list_outputs(job.id)
    assert output.statistics == {name: value for name, value in told.items() if name != "tensors"}
    assert told["method"] == "exact"
    assert told["realised"] == pytest.approx(0.5, abs=0.02)
    assert (told["warnings"], told["overflowed"], told["base_non_finite"]) == ([], 0, [0, 0])
    assert {tensor["tensor"] for tensor in told["tensors"]} == set(LLAMA_SIZES)
    assert all(tensor["requested"] == 0.5 for tensor in told["tensors"])


def test_a_stray_strength_is_told_in_lineage_card_and_event(deployment):
    weights = {"w": ("BF16", (64, 64), encode_floats("BF16", [1.0] * 4096))}
    tuned = {"w": ("BF16", (64, 64), encode_floats("BF16", [1.0078125] * 4096))}  # one ulp on: no step lies between
    for folder, tensors in zip(deployment.pair, (weights, tuned), strict=True):
        shutil.rmtree(folder)
        write_checkpoint(folder, tensors, extra_files=small_files(folder.name))
    job = deployment.submit(lambdas=[0.25], output_name="x")
    deployment.deliver()
    (warning,) = lineage(deployment.outputs / "x")["statistics"]["warnings"]
    assert warning.startswith("λ = 0.25 was realised as 0: bfloat16 rounds small steps away")
    assert f"**Warning:** {warning}." in (deployment.outputs / "x" / "README.md").read_text()
    (event,) = [event for event in deployment.store.list_events(job.id) if event.type == "output.published"]
    assert (event.data["realised"], event.data["warnings"]) == (0.0, [warning])


def test_lineage_names_what_computed_the_weights(deployment):
    _, folder = publish(deployment)
    assert lineage(folder)["software"] == [
        {
            "crossfade": version("crossfade"),
            "torch": version("torch"),
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
    ]


def test_lineage_names_no_path_of_this_machine(deployment, tmp_path):
    _, folder = publish(deployment)
    for file in ("lineage.json", "README.md"):
        assert str(tmp_path) not in (folder / file).read_text()


def test_publishing_at_another_time_gives_the_same_bytes(deployment):
    job = deployment.merged(lambdas=[0.5], output_name="x")
    deployment.store.away = {"publish_output"}
    with pytest.raises(Exception, match="did not answer"):
        deployment.publish(job.id)
    first = facts_of(deployment.outputs / "x")
    deployment.clock.advance(3600)
    deployment.store.away = set()
    deployment.publish(job.id)
    (output,) = deployment.store.list_outputs(job.id)
    assert output.files == first == facts_of(deployment.outputs / "x")


def test_card_begins_with_front_matter_the_hub_understands(deployment):
    _, folder = publish(deployment)
    assert front_matter(folder) == {
        "base_model": ["base", "instruct"],
        "base_model_relation": "merge",
        "license": "unknown",
        "library_name": "transformers",
        "tags": ["merge", "crossfade", "partial-adaptation"],
    }


@pytest.mark.parametrize("name", ["my model (v2)", "模型 😀", 'a"b: [c] #d', "- yes", "null"])
def test_card_names_models_as_they_are_called(deployment, name):
    deployment.pair.instruct.rename(deployment.models / name)
    _, folder = publish(deployment, instruct=f"local://models/{name}")
    shown = name.replace("[", r"\[").replace("]", r"\]")
    assert f"# {shown} at λ = 0.5\n" in (folder / "README.md").read_text()


def test_digests_are_those_of_the_bytes_that_were_read(deployment):
    job = deployment.merged(lambdas=[0.5], output_name="x")
    (unit, *_) = deployment.store.list_units(job.id)
    file = unit.shard["file"]
    digest = hashlib.sha256((deployment.pair.instruct / file).read_bytes()).hexdigest()
    assert unit.result["inputs"]["instruct"] == {file: digest}
