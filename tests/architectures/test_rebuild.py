"""Outputs of every kind of merge are made again bit for bit: adapters, chains, fp8 parents."""

import pytest

from tests.architectures.merging import merge
from tests.architectures.pairs import make_models, perturbed, save
from tests.architectures.quantising import FORMATS, quantise
from tests.architectures.test_adapters import ADAPTERS, make_base, save_adapter
from tests.architectures.zoo import ARCHITECTURES
from tests.worker.rebuilds import assert_reproduced, flip, rebuild

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Setting `save_embedding_layers` to `True`:UserWarning",
)


@pytest.mark.parametrize("kind", ["plain", "dora", "embedding"])
def test_output_of_an_adapter_is_reproduced_and_a_changed_adapter_is_named(tmp_path, kind):
    adapter = save_adapter(tmp_path, make_base("llama", tmp_path), **ADAPTERS[kind])
    merged = merge(tmp_path / "base", adapter, tmp_path / "out")
    for folder in merged.folders.values():
        assert_reproduced(folder, threads=1)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        content = (adapter / file).read_bytes()
        (adapter / file).write_bytes(content.replace(b'"lora_alpha": 1', b'"lora_alpha": 2'))
        if file.endswith(".safetensors"):
            flip(adapter / file)
        found = rebuild(merged.folders[0.5])
        assert (found["cause"], f"{file}, of the instruct" in found["message"]) == ("input", True)
        (adapter / file).write_bytes(content)
    assert_reproduced(merged.folders[0.5])


def test_output_of_a_chain_is_reproduced_and_a_changed_reference_is_named(tmp_path):
    b, a = make_models(ARCHITECTURES["llama"])
    for name, model, size in (("base", perturbed(b, seed=3), "20KB"), ("a", a, "40KB"), ("b", b, "1GB")):
        model.save_pretrained(tmp_path / name, max_shard_size=size)
    merged = merge(
        tmp_path / "base",
        tmp_path / "a",
        tmp_path / "out",
        reference=tmp_path / "b",
        skip=["*embed_tokens*"],
        rounding="stochastic",
    )
    for folder in merged.folders.values():
        assert_reproduced(folder, threads=3)
    flip(tmp_path / "b/model.safetensors")
    assert "b/model.safetensors, of the reference, is not" in rebuild(merged.folders[0.5])["message"]


@pytest.mark.parametrize("kind", FORMATS)
def test_output_of_fp8_parents_is_reproduced(tmp_path, kind):
    folders = save(make_models(ARCHITECTURES["llama"], hidden_size=192, intermediate_size=320), tmp_path)
    for folder in folders:
        quantise(folder, kind)
    for folder in merge(*folders, tmp_path / "out").folders.values():
        assert_reproduced(folder)
