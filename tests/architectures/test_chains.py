"""A chain adds what tuning did to another model: M = base + λ·(A − B); skipped tensors stay as the base has them."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from crossfade_core.plan import Action
from tests.architectures.accounting import assert_every_key_has_one_row
from tests.architectures.merging import LAMBDAS, Merged, merge
from tests.architectures.pairs import State, assert_same_bits, greedy, make_models, perturbed, read_state, reload
from tests.architectures.zoo import ARCHITECTURES, text_inputs

SKIP = ["*embed_tokens*", "lm_head*"]


class Chain(NamedTuple):
    base: State
    a: State
    b: State
    folders: list[Path]
    merged: Merged

    @property
    def skipped(self) -> set[str]:
        return {"model.embed_tokens.weight", "lm_head.weight"}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """B is the model that A was tuned from; the base was trained on from B, elsewhere."""
    folder = tmp_path_factory.mktemp("chain")
    b, a = make_models(ARCHITECTURES["llama"])
    folders = []
    for name, model, size in (("base", perturbed(b, seed=3), "20KB"), ("a", a, "40KB"), ("b", b, "1GB")):
        model.save_pretrained(folder / name, max_shard_size=size)
        folders.append(folder / name)
    base, tuned, reference = folders
    merged = merge(base, tuned, folder / "out", reference=reference, skip=SKIP)
    return Chain(*map(read_state, folders), folders, merged)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_every_element_is_the_base_plus_the_difference_within_rounding(chain: Chain, lam: float) -> None:
    found = read_state(chain.merged.folders[lam])
    assert found.keys() == chain.base.keys()
    for name in chain.base.keys() - chain.skipped:
        base, a, b = (state[name].double() for state in (chain.base, chain.a, chain.b))
        exact = base + lam * (a - b)
        # Half a bf16 step, and what float32 loses on the way.
        allowed = exact.abs() * torch.finfo(torch.bfloat16).eps / 2 + (base.abs() + a.abs() + b.abs()) * 2**-22
        assert bool(((found[name].double() - exact).abs() <= allowed).all()), name


@pytest.mark.parametrize("lam", LAMBDAS)
def test_skipped_tensors_are_the_bases_bit_for_bit(chain: Chain, lam: float) -> None:
    found = read_state(chain.merged.folders[lam])
    assert_same_bits({name: found[name] for name in chain.skipped}, {name: chain.base[name] for name in chain.skipped})


def test_lambda_zero_is_the_base_bit_for_bit(chain: Chain) -> None:
    assert_same_bits(read_state(chain.merged.folders[0.0]), chain.base)


def test_output_carries_the_bases_config_and_generates(chain: Chain) -> None:
    for folder in chain.merged.folders.values():
        assert (folder / "config.json").read_bytes() == (chain.folders[0] / "config.json").read_bytes()
        assert len(greedy(reload(folder), text_inputs())) == 6


def test_every_key_of_the_three_has_one_row_and_the_skipped_say_so(chain: Chain) -> None:
    assert_every_key_has_one_row(chain.merged.plan, *chain.folders)
    actions = {row.name: row.action for row in chain.merged.plan.rows}
    assert {name for name, action in actions.items() if action is Action.COPY_BASE} == chain.skipped
    assert {action for name, action in actions.items() if name not in chain.skipped} == {Action.INTERPOLATE}
    skipped = [row for row in chain.merged.plan.rows if row.name in chain.skipped]
    assert all("skip" in row.reason for row in skipped)


def test_base_may_have_another_vocabulary_where_embedding_and_head_are_skipped(tmp_path) -> None:
    b, a = make_models(ARCHITECTURES["llama"])
    base = perturbed(b, seed=3)
    base.resize_token_embeddings(128, mean_resizing=False)
    for name, model in (("base", base), ("a", a), ("b", b)):
        model.save_pretrained(tmp_path / name, max_shard_size="30KB")
    merged = merge(tmp_path / "base", tmp_path / "a", tmp_path / "out", reference=tmp_path / "b", skip=SKIP)
    assert_every_key_has_one_row(merged.plan, *(tmp_path / name for name in ("base", "a", "b")))
    for lam in LAMBDAS:
        reloaded = reload(merged.folders[lam])
        assert reloaded.config.vocab_size == 128
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(reloaded.state_dict()[name], base.state_dict()[name])
        assert len(greedy(reloaded, text_inputs())) == 6


def test_difference_of_a_model_from_the_base_itself_is_the_plain_merge(tmp_path) -> None:
    models = make_models(ARCHITECTURES["llama"])
    for name, model in zip(("base", "instruct"), models, strict=True):
        model.to(torch.float32).save_pretrained(tmp_path / name)
    plain = merge(tmp_path / "base", tmp_path / "instruct", tmp_path / "plain", lambdas=[0.5])
    chain = merge(
        tmp_path / "base", tmp_path / "instruct", tmp_path / "chain", reference=tmp_path / "base", lambdas=[0.5]
    )
    found, expected = read_state(chain.folders[0.5]), read_state(plain.folders[0.5])
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7)
