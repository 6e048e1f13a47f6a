"""A bad job gets an error that names the file, the tensor and the reason, and never leaves an output behind."""

import struct
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.checkpoints import write_checkpoint
from tests.system.serving import PAIR, Service

BF16 = b"\x80\x3f"


def checkpoint(folder: Path, *, rows: int = 4, steps: int = 7, name: str = "layer.weight") -> Path:
    tensors = {
        name: ("BF16", (rows, 2), BF16 * 2 * rows),
        "layer.steps": ("I64", (1,), struct.pack("<q", steps)),
    }
    return write_checkpoint(folder, tensors, extra_files={"config.json": b"{}"})


@pytest.fixture(scope="module")
def made(models: Path) -> Path:
    """A root with one good base and several bad instructs."""
    checkpoint(models / "base")
    checkpoint(models / "reshaped", rows=5)
    checkpoint(models / "renamed", name="other.weight")
    checkpoint(models / "recounted", steps=8)
    cut = checkpoint(models / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-3])
    garbled = checkpoint(models / "garbled") / "model.safetensors"
    garbled.write_bytes(b"\xff" * 64)
    (models / "escape").symlink_to(PAIR / "instruct")
    (models / "pickled").mkdir()
    (models / "pickled" / "pytorch_model.bin").write_bytes(b"\x80")
    return models


def refuse(service: Service, **spec: Any) -> dict[str, Any]:
    body = {"base": "local://models/base", "lambdas": [0.5], "destination": "outputs", **spec}
    answer = service.client.post("/v1/merges", json=body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code in (409, 422), answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("instruct", "code", "words"),
    [
        ("missing", "source_not_found", ["local://models/missing"]),
        ("cut", "data_truncated", ["local://models/cut", "model.safetensors", "layer.steps"]),
        ("garbled", "header_too_large", ["local://models/garbled", "model.safetensors"]),
        ("reshaped", "plan_refused", ["layer.weight", "[4, 2]", "[5, 2]", "model.safetensors"]),
        ("renamed", "plan_refused", ["layer.weight", "other.weight", "only in"]),
        ("escape", "path_outside_root", ["local://models/escape"]),
        ("pickled", "no_checkpoint", ["local://models/pickled", "safe_serialization"]),
    ],
)
def test_what_headers_tell_is_refused_before_any_work(
    service: Service, made: Path, instruct: str, code: str, words: list[str]
) -> None:
    problem = refuse(service, instruct=f"local://models/{instruct}")
    assert problem["code"] == code
    for word in words:
        assert word in problem["detail"]


@pytest.mark.parametrize(
    ("lambdas", "pointer"),
    [([1.5], "#"), ([], "#/lambdas"), ([0.5, 0.5], "#"), (["0.5"], "#/lambdas/0"), ([0.1] * 65, "#/lambdas")],
)
def test_a_sweep_out_of_range_is_refused_with_its_place(service: Service, lambdas: list[Any], pointer: str) -> None:
    problem = refuse(service, instruct="local://models/base", lambdas=lambdas)
    assert problem["code"] == "invalid_spec"
    assert any(error["pointer"].startswith(pointer) for error in problem["errors"])


def test_unknown_places_are_refused_by_name(service: Service, made: Path) -> None:
    assert refuse(service, instruct="local://nowhere/x")["code"] == "unknown_root"
    problem = refuse(service, instruct="local://models/base", destination="elsewhere")
    assert problem["code"] == "unknown_destination"
    assert "outputs" in problem["detail"]


def test_what_only_the_data_tells_fails_the_job_and_leaves_nothing(service: Service, made: Path) -> None:
    accepted = service.submit(
        base="local://models/base", instruct="local://models/recounted", lambdas=[0.25, 0.5], output_name="bad-{lambda}"
    )
    job = service.wait(accepted["id"])
    assert (job["state"], job["error"]["code"], job["error"]["blame"]) == ("FAILED", "tensors_differ", "user")
    for word in ("layer.steps", "I64", "model.safetensors"):
        assert word in job["error"]["message"]
    assert {output["state"] for output in job["outputs"]} == {"FAILED"}


def test_no_bad_job_left_anything_at_the_destination(service: Service, made: Path) -> None:
    from tests.system.serving import wait_for

    outputs = Path(service.ready["destinations"]["outputs"])
    wait_for(lambda: not any(outputs.iterdir()), 10)
