"""Chains, adapters and policies go through the whole flow: planned, streamed, published, told in the lineage."""

import json
import math

import pytest

from crossfade_core.job import JobState
from tests.fakes.checkpoints import encode_file, encode_floats, random_pair, write_checkpoint
from tests.worker.deployment import facts_of

CHAIN = {"delta_of": ["local://models/instruct", "local://models/other/base"], "skip": ["*embed_tokens*", "lm_head*"]}


def lineage(deployment, name):
    return json.loads((deployment.outputs / name / "lineage.json").read_bytes())


def test_chain_is_published_with_the_digests_of_all_three(deployment):
    random_pair(deployment.models / "other", seed=7)
    job = deployment.submit(instruct=CHAIN, lambdas=[0.5], output_name="chained")
    deployment.deliver()
    assert deployment.states(job) == (JobState.SUCCEEDED, ["PUBLISHED"])
    record = lineage(deployment, "chained")
    folders = {"base": "base", "instruct": "instruct", "reference": "other/base"}
    for role, folder in folders.items():
        weights = {name: facts for name, facts in facts_of(deployment.models / folder).items() if "safetensors" in name}
        weights.pop("model.safetensors.index.json", None)
        assert {name: record["inputs"][role]["files"][name] for name in weights} == weights
    assert record["formula"] == "M(λ) = base + λ·(A − B)"
    skipped = {row["tensor"] for row in record["plan"]["exceptions"] if row["action"] == "copy_base"}
    assert skipped == {"model.embed_tokens.weight", "lm_head.weight"}
    config = (deployment.outputs / "chained" / "config.json").read_bytes()
    assert config == (deployment.models / "base" / "config.json").read_bytes()


def adapter(rank=4):
    """A LoRA adapter of the pair's first query projection, as PEFT saves it."""
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    values = [math.sin(number) / 50 for number in range(16 * rank)]
    tensors = {
        f"{prefix}.lora_A.weight": ("F32", (rank, 16), encode_floats("F32", values)),
        f"{prefix}.lora_B.weight": ("F32", (16, rank), encode_floats("F32", values)),
    }
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    return {"adapter_model.safetensors": encode_file(tensors), "adapter_config.json": json.dumps(config).encode()}


def test_adapter_is_published_with_the_bases_config_and_its_own_digests(deployment):
    folder = deployment.models / "adapter"
    folder.mkdir()
    for name, content in adapter().items():
        (folder / name).write_bytes(content)
    job = deployment.submit(instruct="local://models/adapter", lambdas=[0.0, 1.0], output_name="adapted-{lambda}")
    deployment.deliver()
    assert deployment.states(job) == (JobState.SUCCEEDED, ["PUBLISHED", "PUBLISHED"])
    record = lineage(deployment, "adapted-1.0")
    assert record["inputs"]["instruct"]["files"] == facts_of(folder)
    touched = [tensor["tensor"] for tensor in record["statistics"]["tensors"]]
    assert touched == ["model.layers.0.self_attn.q_proj.weight"]
    assert record["statistics"]["tensors"][0]["realised"] == pytest.approx(1, abs=0.01)
    weights = {name: facts["sha256"] for name, facts in facts_of(deployment.outputs / "adapted-0.0").items()}
    base = facts_of(deployment.models / "base")
    assert weights["config.json"] == base["config.json"]["sha256"]


def test_number_that_is_none_fails_the_job_and_names_the_tensor(deployment):
    weights = encode_floats("F32", [0.0, math.nan])
    sizes = {"model.norm.weight": ("F32", (2,), weights)}
    write_checkpoint(deployment.models / "broken", sizes)
    fields = {"base": "local://models/broken", "instruct": "local://models/broken", "lambdas": [0.5]}
    job = deployment.submit(**fields)
    deployment.deliver()
    assert deployment.states(job) == (JobState.FAILED, ["FAILED"])
    error = deployment.job(job).error
    assert (error["code"], error["blame"], error["details"]["tensor"]) == ("non_finite", "user", "model.norm.weight")
    assert not deployment.is_staging()
    kept = deployment.submit(**fields, policies={"non_finite": "keep"})
    deployment.deliver()
    assert deployment.states(kept) == (JobState.SUCCEEDED, ["PUBLISHED"])
    (output,) = deployment.store.list_outputs(kept.id)
    assert "NaN" in " ".join(output.statistics["warnings"])


def test_what_a_lambda_really_did_is_kept_with_its_output(deployment):
    job = deployment.submit(lambdas=[0.1, 1.0], output_name="told-{lambda}")
    deployment.deliver()
    for output in deployment.store.list_outputs(job.id):
        told = lineage(deployment, output.name)["statistics"]
        assert output.statistics["realised"] == told["realised"]
        assert told["method"] == "exact"
        assert len(told["tensors"]) == 12
    assert output.statistics["realised"] == pytest.approx(1)
