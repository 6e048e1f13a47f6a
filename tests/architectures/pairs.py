"""Pairs of checkpoints made with transformers, and what their merge must be: torch.lerp of two state dicts."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from tests.architectures.zoo import ARCHITECTURES, Architecture

State = dict[str, torch.Tensor]
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Models(NamedTuple):
    """A base and the model tuned from it, in memory."""

    base: PreTrainedModel
    instruct: PreTrainedModel


class Folders(NamedTuple):
    """The same on disk."""

    base: Path
    instruct: Path


def perturbed(model: PreTrainedModel, seed: int, std: float = 0.05) -> PreTrainedModel:
    """Return a copy of `model` with noise on every float parameter: biases and norms are no longer zeros and ones."""
    chance = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                noise = torch.randn(parameter.shape, generator=chance) * std
                parameter.copy_((parameter.float() + noise).to(parameter.dtype))
    return model


def make_models(architecture: Architecture, **options: object) -> Models:
    """Instantiate a base and tune it; equal calls give equal weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = perturbed(architecture.instantiate(**options), seed=1)
    return Models(base, perturbed(base, seed=2))


def make_untied_and_tied(architecture: Architecture, *, is_base_tied: bool) -> Models:
    """Return a base and a model tuned from it, of which one shares its head's weights with the embedding."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = perturbed(architecture.instantiate(tie_word_embeddings=is_base_tied), seed=1)
        instruct = architecture.instantiate(tie_word_embeddings=not is_base_tied)
    instruct.load_state_dict(base.state_dict())
    return Models(base, perturbed(instruct, seed=2))


def save(models: Models, folder: Path, base_shard: str = "20KB", instruct_shard: str = "50KB") -> Folders:
    """Save both as transformers does, cut into files of at most the sizes given."""
    models.base.save_pretrained(folder / "base", max_shard_size=base_shard)
    models.instruct.save_pretrained(folder / "instruct", max_shard_size=instruct_shard)
    return Folders(folder / "base", folder / "instruct")


def llama_pair(folder: Path, dtype: torch.dtype = torch.bfloat16) -> tuple[Models, Folders]:
    """Return a pair of Llamas, in memory and on disk."""
    models = make_models(ARCHITECTURES["llama"])
    models.base.to(dtype)
    models.instruct.to(dtype)
    return models, save(models, folder)


def read_state(folder: Path) -> State:
    """Return every tensor of a checkpoint's files by the name it has there."""
    found: State = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names = file.keys()
            assert not found.keys() & set(names), f"{path}: holds tensors of an earlier file"
            found |= {name: file.get_tensor(name) for name in names}
    return found


def rewrite(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Replace the checkpoint's weights by one file of `state`; config and the rest stay."""
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        path.unlink()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")


def lerp(base: torch.Tensor, instruct: torch.Tensor, lam: float, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return the merge of one tensor: in float32, rounded once to `dtype`, the base's where none is given."""
    dtype = dtype or base.dtype
    if lam in {0, 1} or torch.equal(base, instruct):
        return (instruct if lam == 1 else base).to(dtype)
    return torch.lerp(base.float(), instruct.float(), lam).to(dtype)


def lerp_state(base: State, instruct: State, lam: float) -> State:
    """Return torch.lerp of two state dicts, key by key, in the dtype they are stored in; at the ends the parents'."""
    assert base.keys() == instruct.keys()
    if lam in {0, 1}:
        return dict(instruct if lam == 1 else base)
    return {name: torch.lerp(tensor, instruct[name], lam) for name, tensor in base.items()}


def in_memory(models: Models, lam: float) -> PreTrainedModel:
    """Return the merge of two models that were never on disk."""
    model = copy.deepcopy(models.instruct)
    model.load_state_dict(lerp_state(models.base.state_dict(), models.instruct.state_dict(), lam))
    return model


def reload(folder: Path, architecture: Architecture | None = None, **options: object) -> PreTrainedModel:
    """Load a checkpoint as a user would, and see that transformers has nothing to say about its keys."""
    auto = (architecture or ARCHITECTURES["llama"]).auto
    model, info = auto.from_pretrained(folder, output_loading_info=True, **options)
    assert {what: names for what, names in info.items() if names} == {}
    return model.eval()


def assert_same_bits(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Compare two state dicts key by key, bit for bit."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        bits = BITS[tensor.element_size()]
        assert torch.equal(found[name].contiguous().view(bits), tensor.contiguous().view(bits)), name


def logits(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**_as_inputs(model, inputs)).logits


def greedy(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], tokens: int = 6) -> list[int]:
    """Return the `tokens` tokens that the model says next."""
    inputs = _as_inputs(model, inputs)
    said = model.generate(**inputs, min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False)
    return said[0, inputs["input_ids"].shape[1] :].tolist()


def assert_same_model(found: PreTrainedModel, expected: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> None:
    """Compare two models: their state bit for bit, what they think of a prompt, and how they go on."""
    assert_same_bits(found.state_dict(), expected.state_dict())
    assert torch.equal(logits(found, inputs), logits(expected, inputs))
    said = greedy(found, inputs)
    assert said == greedy(expected, inputs)
    assert len(said) == 6


def _as_inputs(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(model.dtype) if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
