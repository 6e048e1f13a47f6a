"""From a recipe to a pair on disk: train the base, tune it, export both, reshard."""

import tempfile
from pathlib import Path

from infra.demo.training.export import export_model
from infra.demo.training.recipe import Recipe
from infra.demo.training.reshard import reshard_pair
from infra.demo.training.train import train_base, train_instruct


def make_pair(recipe: Recipe, target: Path, code: str) -> None:
    """Train a pair and write it as base/ and instruct/ into the new folder `target`.

    Args:
        recipe: what to train.
        target: the folder; it appears when training has ended.
        code: text that the base corpus's documents of kind "code" are cut from.

    Raises:
        FileExistsError: `target` exists; found before any training.
    """
    if target.exists():
        raise FileExistsError(f"the pair is written into a new folder, but {target} exists: name another or remove it")
    base = train_base(recipe, code)
    instruct = train_instruct(recipe, base)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder)
        export_model(base, whole / "base", with_chat_template=False)
        export_model(instruct, whole / "instruct", with_chat_template=True)
        reshard_pair(whole, target)
