"""A tensor that one parent alone has is refused by name, or copied where the policy says so."""

import copy
import json

import pytest
import torch

from crossfade_core.errors import Reported
from crossfade_core.plan import Action
from tests.architectures.accounting import assert_every_key_has_one_row
from tests.architectures.merging import LAMBDAS, merge
from tests.architectures.pairs import (
    Models,
    assert_same_bits,
    assert_same_model,
    lerp_state,
    llama_pair,
    make_models,
    perturbed,
    read_state,
    reload,
    rewrite,
    save,
)
from tests.architectures.zoo import ARCHITECTURES, text_inputs

COPY = {"one_sided": "copy"}
BUFFER = "model.layers.0.self_attn.rotary_emb.inv_freq"
"""As older transformers saved it; newer ones compute it, and pass over it when loading."""


@pytest.mark.parametrize("side", [0, 1], ids=["base", "instruct"])
def test_buffer_of_one_parent_is_refused_by_name_and_kept_by_policy(tmp_path, side):
    _, folders = llama_pair(tmp_path)
    plain = read_state(folders[side])
    buffer = torch.arange(4, dtype=torch.float32)
    rewrite(folders[side], {**plain, BUFFER: buffer})
    with pytest.raises(Reported, match="one_sided") as caught:
        merge(*folders, tmp_path / "out")
    assert [refusal["tensor"] for refusal in caught.value.record["details"]["refusals"]] == [BUFFER]
    merged = merge(*folders, tmp_path / "out", policies=COPY)
    assert_every_key_has_one_row(merged.plan, *folders)
    (row,) = [row for row in merged.plan.rows if row.name == BUFFER]
    assert row.action is (Action.COPY_BASE, Action.COPY_INSTRUCT)[side]
    for lam in LAMBDAS:
        assert_same_bits({BUFFER: read_state(merged.folders[lam])[BUFFER]}, {BUFFER: buffer})
        reload(merged.folders[lam])


def test_biases_that_only_the_instruct_has_are_copied_and_the_output_uses_them(tmp_path):
    base = make_models(ARCHITECTURES["llama"]).base
    instruct = ARCHITECTURES["llama"].instantiate(attention_bias=True)
    instruct.load_state_dict(base.state_dict(), strict=False)
    models = Models(base, perturbed(instruct, seed=2))
    merged = merge(*save(models, tmp_path), tmp_path / "out", policies=COPY)
    theirs = models.instruct.state_dict()
    biases = {name: tensor for name, tensor in theirs.items() if name.endswith("_proj.bias")}
    assert len(biases) == 8
    shared = {name: tensor for name, tensor in theirs.items() if name not in biases}
    expected = copy.deepcopy(models.instruct)
    for lam in LAMBDAS:
        expected.load_state_dict({**lerp_state(base.state_dict(), shared, lam), **biases})
        assert json.loads((merged.folders[lam] / "config.json").read_text())["attention_bias"] is True
        assert_same_model(reload(merged.folders[lam]), expected, text_inputs())
