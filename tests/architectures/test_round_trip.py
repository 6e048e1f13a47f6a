"""Real architectures, saved by transformers, merged, loaded again: the same model as the two merged in memory."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from crossfade_core.plan import Action
from tests.architectures.accounting import assert_every_key_has_one_row
from tests.architectures.merging import LAMBDAS, Merged, merge, merge_by_command
from tests.architectures.pairs import (
    Folders,
    Models,
    assert_same_bits,
    assert_same_model,
    in_memory,
    logits,
    make_models,
    read_state,
    reload,
    save,
)
from tests.architectures.zoo import ARCHITECTURES, Architecture

SHARD_SIZES = {"llama": ("20KB", "1GB"), "gpt_neox": ("1GB", "30KB"), "phi": ("40KB", "40KB")}
"""Largest files of base and instruct; 1GB is a single file without an index."""


@dataclass(frozen=True)
class Sweep:
    """One architecture's parents, in memory and on disk, and what became of them."""

    architecture: Architecture
    models: Models
    folders: Folders
    merged: Merged


@pytest.fixture(scope="module", params=ARCHITECTURES)
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """λ = 0, 0.5 and 1 of one architecture; of Llama by the command that users type."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    models = make_models(ARCHITECTURES[name])
    folders = save(models, folder, *SHARD_SIZES.get(name, ("20KB", "50KB")))
    run = merge_by_command if name == "llama" else merge
    return Sweep(ARCHITECTURES[name], models, folders, run(*folders, folder / "out"))


def names_of(folder: Path) -> set[str]:
    return set(read_state(folder))


@pytest.mark.parametrize("lam", LAMBDAS)
def test_reloaded_output_is_the_model_merged_in_memory(sweep: Sweep, lam: float) -> None:
    reloaded = reload(sweep.merged.folders[lam], sweep.architecture)
    assert_same_model(reloaded, in_memory(sweep.models, lam), sweep.architecture.inputs())


def test_half_way_is_neither_parent(sweep: Sweep) -> None:
    inputs = sweep.architecture.inputs()
    half_way = logits(reload(sweep.merged.folders[0.5], sweep.architecture), inputs)
    assert bool(half_way.isfinite().all())
    assert not any(torch.equal(half_way, logits(parent, inputs)) for parent in sweep.models)


@pytest.mark.parametrize(("lam", "side"), [(0.0, 0), (1.0, 1)])
def test_ends_of_the_sweep_hold_the_parents_tensors_bit_for_bit(sweep: Sweep, lam: float, side: int) -> None:
    assert_same_bits(read_state(sweep.merged.folders[lam]), read_state(sweep.folders[side]))


def test_every_key_of_either_parent_has_exactly_one_row_with_a_reason(sweep: Sweep) -> None:
    assert_every_key_has_one_row(sweep.merged.plan, *sweep.folders)
    assert {row.action for row in sweep.merged.plan.rows} == {Action.INTERPOLATE}


@pytest.mark.parametrize("lam", LAMBDAS)
def test_files_hold_the_rows_of_the_plan_and_nothing_else(sweep: Sweep, lam: float) -> None:
    folder = sweep.merged.folders[lam]
    assert names_of(folder) == {row.name for row in sweep.merged.plan.rows}
    assert {path.name for path in folder.glob("*.safetensors")} == {shard.file for shard in sweep.merged.plan.shards}


@pytest.mark.parametrize("lam", LAMBDAS)
def test_config_is_the_instructs_byte_for_byte_as_nothing_in_it_is_wrong(sweep: Sweep, lam: float) -> None:
    for file in ("config.json", "generation_config.json"):
        assert (sweep.merged.folders[lam] / file).read_bytes() == (sweep.folders.instruct / file).read_bytes()
