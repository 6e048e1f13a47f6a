"""Planning costs in proportion to the number of tensors, whatever their names, rules and files are."""

import json
import math
import time

import pytest

from crossfade_core.checkpoint import parse_header
from crossfade_core.errors import ScheduleRefused
from crossfade_core.parents import Chain
from tests.fakes.layouts import HEADER_BYTES, make_adapter, make_checkpoint, make_layout, plan_parents

EXPERTS, PROJECTIONS = 110, ("gate_proj", "up_proj", "down_proj")
SIZE_BYTES = 64 * 32 * 2


def experts(tensors):
    """Return so many tensors of a mixture of experts, up to a layer."""
    layers = -(-tensors // (EXPERTS * len(PROJECTIONS)))
    return [
        (f"model.layers.{layer}.mlp.experts.{expert}.{projection}.weight", "BF16", (64, 32))
        for layer in range(layers)
        for expert in range(EXPERTS)
        for projection in PROJECTIONS
    ]


def checkpoint_of(tensors, files=40):
    named = [("model.embed_tokens.weight", "BF16", (64, 16)), *tensors, ("lm_head.weight", "BF16", (64, 16))]
    return make_checkpoint({f"model-{at:05d}.safetensors": named[at::files] for at in range(files)})


def seconds(act):
    fastest = math.inf
    for _ in range(2):
        begin = time.process_time()
        act()
        fastest = min(fastest, time.process_time() - begin)
    return fastest


def parse_seconds(tensors):
    """The yardstick: to read the JSON headers of two such checkpoints, which every loader must."""
    document, at = {}, 0
    for name, dtype, shape in tensors:
        document[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + SIZE_BYTES]}
        at += SIZE_BYTES
    raw = json.dumps(document).encode()
    size_bytes = 8 + len(raw) + at
    return 2 * seconds(lambda: parse_header(raw, "model.safetensors", size_bytes))


RULES = [
    *(
        {"pattern": f"model.layers.{at}.mlp.experts.*.{projection}.weight", "factor": 0.5}
        for at in range(30)
        for projection in ("up_proj", "down_proj")
    ),
    {"pattern": "model.layers.*.gate_proj.*", "gradient": [0.25, 0.75]},
    {"pattern": "*embed*", "factor": 1.0},
    {"pattern": "lm_head.*", "factor": 1.0},
    {"pattern": "*", "factor": 1.0},
]


def plan_everything(base, tuned, **fields):
    plan = plan_parents(base, tuned, **fields)
    plan.require_accepted()
    plan.summary()
    plan.exceptions()
    plan.index_json()
    return [shard.as_record() for shard in plan.shards]


def pair_of(tensors):
    base = checkpoint_of(tensors)
    return base, checkpoint_of(tensors, files=60)


def chain_of(tensors):
    base, tuned = pair_of(tensors)
    return base, Chain(tuned, base)


def adapter_of(tensors):
    base = checkpoint_of(tensors)
    factors = [
        (f"base_model.model.{name.replace('.weight', f'.{part}.weight')}", "F32", shape)
        for name, _, _ in tensors
        for part, shape in (("lora_A", (4, 32)), ("lora_B", (64, 4)))
    ]
    return base, make_adapter(factors, base)


KINDS = {"pair": pair_of, "chain": chain_of, "adapter": adapter_of}


@pytest.mark.parametrize(("kind", "count"), [("pair", 20_000), ("chain", 10_000), ("adapter", 10_000)])
def test_cost_grows_with_the_tensors_and_is_a_few_times_that_of_reading_their_headers(kind, count):
    few, many = experts(count // 4), experts(count)
    assert len(many) >= count
    parents = KINDS[kind](few), KINDS[kind](many)
    less, more = (seconds(lambda sides=sides: plan_everything(*sides)) for sides in parents)
    yardstick = parse_seconds(many)
    print(
        f"{kind}: {len(many)} tensors in {more:.2f} s, {more / less:.1f} times that of {len(few)}, "
        f"{more / yardstick:.1f} times that of reading two headers"
    )
    assert more < 10 * less
    assert more < 40 * yardstick


@pytest.mark.parametrize(
    "fields", [{"schedule": RULES}, {"skip": [f"*.{at}.mlp.nothing*" for at in range(64)]}], ids=["schedule", "skip"]
)
def test_64_patterns_cost_no_more_than_the_plan_itself(fields):
    base, chain = chain_of(experts(10_000))
    plain, patterned = (seconds(lambda asked=asked: plan_parents(base, chain, **asked)) for asked in ({}, fields))
    print(f"{patterned:.2f} s with 64 patterns, {plain:.2f} s without")
    assert patterned < 4 * plain


@pytest.mark.parametrize(
    "pattern", ["*a*a*a*a*b", "*" + "a" * 100 + "b*", "*a?" * 33 + "b"], ids=["stars", "a long run", "question marks"]
)
def test_hostile_patterns_over_hostile_names_stay_linear(pattern):
    schedule = [*({"pattern": pattern + "?" * at, "factor": 1.0} for at in range(63)), {"pattern": "*", "factor": 1.0}]

    def refuse(count):
        tensors = [(f"{'a' * 200}{at}", "BF16", (2,)) for at in range(count)]
        side = make_checkpoint(tensors)

        def act():
            with pytest.raises(ScheduleRefused, match="matches no tensor"):
                plan_parents(side, side, schedule=schedule)

        return seconds(act)

    ratio = refuse(2_000) / refuse(500)
    print(f"{ratio:.1f} times the time for four times the tensors")
    assert ratio < 10


def test_tensors_of_the_base_alone_cost_no_more_beside_many_files_than_beside_few():
    more = [(f"extra.{at}", "BF16", (2,)) for at in range(5_000)]
    shared = [(f"w.{at}", "BF16", (2,)) for at in range(2_000)]

    def spent(files):
        base = make_checkpoint([*shared, *more])
        tuned = make_checkpoint({f"model-{at:05d}.safetensors": shared[at::files] for at in range(files)})
        return seconds(lambda: plan_parents(base, tuned, policies={"one_sided": "copy"}))

    few, many = spent(2), spent(2_000)
    print(f"{many:.2f} s beside 2,000 files, {few:.2f} s beside 2")
    assert many < 4 * few


def test_wide_shapes_of_nothing_cost_nothing():
    size = 2**62
    layout = make_layout({"model.safetensors": [("w", "BF16", (0, *[size] * 63))]})
    assert layout.tensors["w"][1].end == HEADER_BYTES
    side = make_checkpoint([("w", "BF16", (0, *[size] * 63))])
    (shard,) = plan_parents(side, side).shards
    assert shard.size_bytes == len(shard.header)
