"""The recipe of the shipped pair, as data: model, base training, tuning."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModelShape:
    """The Llama architecture's sizes; one million parameters as they stand here."""

    hidden_size: int = 128
    layers: int = 5
    mlp_size: int = 352
    heads: int = 4
    kv_heads: int = 2
    max_positions: int = 256


@dataclass(frozen=True)
class Schedule:
    """How many steps are taken, and the learning rate over them: linear warm-up, then cosine decay."""

    steps: int
    peak_learning_rate: float
    warmup_steps: int
    weight_decay: float = 0.05


@dataclass(frozen=True)
class BaseTraining:
    """Next-token training on windows cut from one long stream of documents.

    Mappings and word patterns are common in the mix; word classes and transformations are rare, which is what leaves
    tuning something to gain on few-shot items.
    """

    schedule: Schedule = Schedule(steps=2200, peak_learning_rate=3e-3, warmup_steps=100)
    batch: int = 32
    window_tokens: int = 192
    stream_tokens: int = 10_461_760
    mix: Mapping[str, int] = field(
        default_factory=lambda: {
            "mapping": 30,
            "word_classes": 6,
            "transformations": 6,
            "sentences": 14,
            "category_list": 8,
            "arithmetic": 6,
            "sequence": 12,
            "code": 18,
        }
    )


@dataclass(frozen=True)
class Tuning:
    """Training on the answers of chat items, with a share of plain few-shot text.

    55 of 64 items are instructions, 9 are plain text; without that share few-shot accuracy has no interior peak.
    """

    schedule: Schedule = Schedule(steps=1000, peak_learning_rate=1.3e-3, warmup_steps=50)
    chat_items: int = 55
    plain_items: int = 9
    plain_tokens: int = 160
    plain_mix: Mapping[str, int] = field(default_factory=lambda: {"word_classes": 1, "transformations": 1})


@dataclass(frozen=True)
class Recipe:
    """Everything that training needs beside the text of the standard library."""

    seed: int = 0
    shape: ModelShape = ModelShape()
    base: BaseTraining = field(default_factory=BaseTraining)
    tuning: Tuning = field(default_factory=Tuning)
