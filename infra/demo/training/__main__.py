"""Train the demo pair again: `python -m infra.demo.training OUT`, from the project's root."""

import argparse
from pathlib import Path

import torch

from infra.demo.training.documents import standard_library_code
from infra.demo.training.pair import make_pair
from infra.demo.training.recipe import Recipe


def main() -> None:
    """Train with the shipped pair's recipe and write the result."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.demo.training",
        description="Train the demo pair from scratch: about 15 minutes on two CPU cores.",
    )
    parser.add_argument("out", type=Path, help="new folder to write base/ and instruct/ into")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; another number gives other roundings")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        make_pair(Recipe(), arguments.out, standard_library_code())
    except FileExistsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
