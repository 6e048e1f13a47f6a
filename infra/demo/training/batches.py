"""What the two trainings are fed: endless batches, each a list of parts that share one optimizer step."""

from collections.abc import Iterator
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from infra.demo.training.chat import chat_item
from infra.demo.training.documents import DOCUMENTS
from infra.demo.training.recipe import BaseTraining, Tuning
from infra.demo.training.tokenizer import END_OF_TEXT, PAD, encode, prompt_ids, turn_ids

IGNORED = -100
Part = tuple[torch.Tensor, torch.Tensor]
"""Token ids and labels, both int64 of [sequences, tokens]; a label of `IGNORED` costs nothing."""
Batch = list[Part]
Sequence = tuple[list[int], int]
"""Token ids, and how many of the first are given and not learned."""


def base_batches(stream: NDArray[np.int16], training: BaseTraining, seed: int) -> Iterator[Batch]:
    """Cut windows at random places of the stream."""
    tokens = torch.from_numpy(stream.astype(np.int64))
    generator = torch.Generator().manual_seed(seed)
    window = torch.arange(training.window_tokens)
    while True:
        starts = torch.randint(0, len(tokens) - training.window_tokens, (training.batch, 1), generator=generator)
        windows = tokens[starts + window]
        yield [(windows, windows)]


def tuning_batches(tuning: Tuning, chat_rng: Random, plain_rng: Random) -> Iterator[Batch]:
    """Draw instructions from one generator and plain few-shot text from the other."""
    while True:
        yield [
            _padded([_chat_sequence(chat_rng) for _ in range(tuning.chat_items)]),
            _padded([_plain_sequence(plain_rng, tuning) for _ in range(tuning.plain_items)]),
        ]


def _chat_sequence(rng: Random) -> Sequence:
    item = chat_item(rng)
    return turn_ids(item.question, item.answer), len(prompt_ids(item.question))


def _plain_sequence(rng: Random, tuning: Tuning) -> Sequence:
    name = rng.choices(list(tuning.plain_mix), list(tuning.plain_mix.values()))[0]
    return [END_OF_TEXT, *encode(DOCUMENTS[name](rng))][: tuning.plain_tokens], 1


def _padded(sequences: list[Sequence]) -> Part:
    width = max(len(ids) for ids, _ in sequences)
    ids_rows = [ids + [PAD] * (width - len(ids)) for ids, _ in sequences]
    label_rows = [[IGNORED] * given + ids[given:] + [IGNORED] * (width - len(ids)) for ids, given in sequences]
    return torch.tensor(ids_rows), torch.tensor(label_rows)
