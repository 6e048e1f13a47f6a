"""The training loop, and the two trainings that use it."""

import copy
import math
import time
from collections.abc import Iterator
from random import Random

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from infra.demo.training.batches import IGNORED, Batch, Part, base_batches, tuning_batches
from infra.demo.training.documents import base_stream
from infra.demo.training.model import build_model
from infra.demo.training.recipe import Recipe, Schedule

# Seeds of the training streams start here; an evaluation draws from seeds that no recipe reaches.
BASE_STREAM_SEED = 1_000
CHAT_STREAM_SEED = 500_000
PLAIN_STREAM_SEED = 900_000
LEARNING_RATE_FLOOR = 0.05
STEPS_PER_REPORT = 100


def train_base(recipe: Recipe, code: str) -> LlamaForCausalLM:
    """Train a model from scratch; `code` is the text that documents of kind "code" are cut from."""
    model = build_model(recipe.shape, recipe.seed)
    training = recipe.base
    stream = base_stream(training.stream_tokens, BASE_STREAM_SEED + recipe.seed, training.mix, code)
    fit(model, base_batches(stream, training, recipe.seed), training.schedule, label="base")
    return model


def train_instruct(recipe: Recipe, base: LlamaForCausalLM) -> LlamaForCausalLM:
    """Tune a copy of `base` on instructions."""
    model = copy.deepcopy(base)
    chat_rng = Random(CHAT_STREAM_SEED + recipe.seed)
    plain_rng = Random(PLAIN_STREAM_SEED + recipe.seed)
    fit(model, tuning_batches(recipe.tuning, chat_rng, plain_rng), recipe.tuning.schedule, label="instruct")
    return model


def learning_rate(step: int, schedule: Schedule) -> float:
    """Give the rate of a step counted from 0: linear warm-up, then a cosine down to a twentieth of the peak."""
    peak, warmup = schedule.peak_learning_rate, schedule.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = math.pi * (step - warmup) / max(1, schedule.steps - warmup)
    return peak * (LEARNING_RATE_FLOOR + (1 - LEARNING_RATE_FLOOR) * 0.5 * (1 + math.cos(progress)))


def fit(model: LlamaForCausalLM, batches: Iterator[Batch], schedule: Schedule, *, label: str) -> None:
    """Train `model` in place, under bfloat16 autocast with float32 weights, and print the mean loss now and then."""
    optimizer = _optimizer(model, schedule.weight_decay)
    started = time.monotonic()
    losses: list[float] = []
    model.train()
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, schedule)
        losses.append(_backward(model, next(batches)))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        if done % STEPS_PER_REPORT == 0 or done == schedule.steps:
            elapsed_seconds = time.monotonic() - started
            mean_loss = sum(losses) / len(losses)
            print(f"{label} {done}/{schedule.steps} loss {mean_loss:.4f} {elapsed_seconds:.0f} s", flush=True)
            losses.clear()


def _optimizer(model: LlamaForCausalLM, weight_decay: float) -> torch.optim.AdamW:
    """Decay the matrices, but neither norms nor the embedding."""
    decayed: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim == 2 and "embed" not in name else rest).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-8)


def _backward(model: LlamaForCausalLM, batch: Batch) -> float:
    """Add up the gradients of all parts, as if they were one, and give the mean loss per learned token."""
    learned_tokens = sum(int((labels[:, 1:] != IGNORED).sum()) for _, labels in batch)
    total = 0.0
    for part in batch:
        loss = _summed_loss(model, part) / learned_tokens
        loss.backward()
        total += loss.item()
    return total


def _summed_loss(model: LlamaForCausalLM, part: Part) -> torch.Tensor:
    ids, labels = part
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits
    flat = logits[:, :-1].reshape(-1, logits.size(-1)).float()
    return cross_entropy(flat, labels[:, 1:].reshape(-1), ignore_index=IGNORED, reduction="sum")
