"""The main job, end to end over REST on the demo pair: what was promised is on disk."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open

from crossfade_core.own_files import LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE
from crossfade_core.strength import as_float32
from tests.system.serving import PAIR, Service

LAMBDAS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.fixture(scope="module")
def job(service: Service) -> dict[str, Any]:
    accepted = service.submit(base="local://demo/base", instruct="local://demo/instruct", lambdas=LAMBDAS)
    assert accepted["state"] == "QUEUED"
    return service.wait(accepted["id"])


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    return found


def folder_of(job: dict[str, Any], lam: float) -> Path:
    (output,) = [output for output in job["outputs"] if output["lambda"] == lam]
    return Path(output["uri"].removeprefix("file://"))


def test_every_lambda_is_published(job: dict[str, Any]) -> None:
    assert job["state"] == "SUCCEEDED"
    assert [output["lambda"] for output in job["outputs"]] == LAMBDAS
    assert {output["state"] for output in job["outputs"]} == {"PUBLISHED"}


def test_progress_ends_at_the_bytes_that_were_written(job: dict[str, Any]) -> None:
    written = sum(
        file["size_bytes"]
        for output in job["outputs"]
        for file in output["files"]
        if file["name"].endswith(".safetensors")
    )
    assert job["progress"]["bytes_done"] == job["progress"]["bytes_total"] == written


def test_every_digest_is_that_of_the_file_on_disk(job: dict[str, Any]) -> None:
    for output in job["outputs"]:
        folder = folder_of(job, output["lambda"])
        assert {file["name"] for file in output["files"]} == {path.name for path in folder.iterdir()}
        for file in output["files"]:
            assert hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"]


@pytest.mark.parametrize(("lam", "parent"), [(0.0, "base"), (1.0, "instruct")])
def test_the_ends_of_the_sweep_are_the_parents_byte_for_byte(job: dict[str, Any], lam: float, parent: str) -> None:
    merged, original = tensors(folder_of(job, lam)), tensors(PAIR / parent)
    assert merged.keys() == original.keys()
    for name, tensor in original.items():
        assert torch.equal(merged[name].view(torch.int16), tensor.view(torch.int16)), name


@pytest.mark.parametrize("lam", LAMBDAS[1:-1])
def test_inside_every_element_is_the_float32_lerp_rounded_once(job: dict[str, Any], lam: float) -> None:
    base, instruct, merged = tensors(PAIR / "base"), tensors(PAIR / "instruct"), tensors(folder_of(job, lam))
    for name, tensor in merged.items():
        expected = torch.lerp(base[name].float(), instruct[name].float(), lam).bfloat16()
        assert torch.equal(tensor, expected), name
        ours, theirs = base[name].double(), instruct[name].double()
        exact = ours + (theirs - ours) * as_float32(lam)
        # One bf16 step, and what float32 loses where two large numbers cancel.
        allowed = exact.abs() * torch.finfo(torch.bfloat16).eps + (ours.abs() + theirs.abs()) * 2**-22
        assert bool(((tensor.double() - exact).abs() <= allowed).all()), name


def test_config_tokenizer_and_chat_template_are_the_instructs_byte_for_byte(job: dict[str, Any]) -> None:
    small = [path for path in (PAIR / "instruct").iterdir() if "safetensors" not in path.name]
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= {p.name for p in small}
    for path in small:
        assert (folder_of(job, 0.5) / path.name).read_bytes() == path.read_bytes()


def test_lineage_names_every_input_and_output_by_digest(job: dict[str, Any]) -> None:
    folder = folder_of(job, 0.3)
    lineage = json.loads((folder / "lineage.json").read_text())
    assert (lineage["lambda"], lineage["job"]["id"]) == (0.3, job["id"])
    assert lineage["spec_digest"] == job["spec_digest"]
    for side in ("base", "instruct"):
        files = lineage["inputs"][side]["files"]
        assert {path.name for path in (PAIR / side).glob("*.safetensors")} <= files.keys()
        for name, about in files.items():
            assert hashlib.sha256((PAIR / side / name).read_bytes()).hexdigest() == about["sha256"]
    written_after = {LINEAGE_FILE, PROVENANCE_FILE, SIGNATURE_FILE}
    assert lineage["outputs"].keys() == {path.name for path in folder.iterdir()} - written_after
    for name, about in lineage["outputs"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == about["sha256"]


def test_transformers_loads_the_half_way_output_and_generates(job: dict[str, Any]) -> None:
    folder = folder_of(job, 0.5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Copy this: cat"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    generated = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert generated.shape[1] > prompt["input_ids"].shape[1]


def test_events_tell_the_whole_story_in_order(service: Service, job: dict[str, Any]) -> None:
    with service.client.stream("GET", job["links"]["events"], headers={"accept": "text/event-stream"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        types = [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event: ")]
    told = [kind for kind in types if kind != "progress"]
    assert told[:2] == ["job.queued", "job.running"]
    assert told.count("unit.done") == len(list((PAIR / "instruct").glob("*.safetensors")))
    assert told.count("output.published") == len(LAMBDAS)
    assert told[-1] == "job.succeeded"


def test_a_second_job_of_the_same_names_is_refused_and_harms_nothing(service: Service, job: dict[str, Any]) -> None:
    before = (folder_of(job, 0.3) / "lineage.json").read_bytes()
    again = {
        "base": "local://demo/base",
        "instruct": "local://demo/instruct",
        "lambdas": [0.3],
        "destination": "outputs",
    }
    answer = service.client.post("/v1/merges", json=again)
    assert (answer.status_code, answer.json()["code"]) == (409, "output_exists")
    assert (folder_of(job, 0.3) / "lineage.json").read_bytes() == before


def test_an_overwriting_job_replaces_its_output(service: Service, job: dict[str, Any]) -> None:
    accepted = service.submit(
        base="local://demo/base",
        instruct="local://demo/instruct",
        lambdas=[0.25],
        output_name="replaced",
        out_dtype="float32",
    )
    first = service.wait(accepted["id"])
    accepted = service.submit(
        base="local://demo/base",
        instruct="local://demo/instruct",
        lambdas=[0.75],
        output_name="replaced",
        overwrite=True,
    )
    second = service.wait(accepted["id"])
    assert first["state"] == second["state"] == "SUCCEEDED"
    folder = folder_of(second, 0.75)
    assert json.loads((folder / "lineage.json").read_text())["lambda"] == 0.75
    assert not (folder.parent / ".crossfade-staging").exists()
