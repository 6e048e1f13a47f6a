"""Read λ lists as people write them: `0:1:0.1`, `0,0.25,1`, or both. What a sweep may hold is for the spec to say."""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal, DecimalException

_MOST_STEPS = 10_000
"""Against a mistyped step filling the memory; how many λ a job takes is `crossfade_core.spec.MAX_LAMBDAS`."""


def parse_lambdas(texts: Sequence[str]) -> list[float]:
    """Read the values of every `--lambda` option, in the order given.

    Ranges are counted in decimal, so that 0:1:0.1 holds 0.3 and not 0.30000000000000004.

    Args:
        texts: Each a list of numbers and `START:STOP:STEP` ranges joined by commas. A range holds STOP when STOP lies
            a whole number of steps from START.

    Raises:
        ValueError: A part is neither a finite number nor a range that leads from START to STOP.
    """
    return [lam for text in texts for part in text.split(",") for lam in _expand(part.strip())]


def _expand(part: str) -> Iterator[float]:
    pieces = part.split(":")
    if len(pieces) == 1:
        yield float(_number(part, part))
        return
    if len(pieces) != 3:
        raise ValueError(f"{part!r} is neither a number nor a range START:STOP:STEP")
    start, stop, step = (_number(piece, part) for piece in pieces)
    for count in range(_steps(start, stop, step, part) + 1):
        yield float(start + count * step)


def _steps(start: Decimal, stop: Decimal, step: Decimal, part: str) -> int:
    if step == 0 or (stop - start) * step < 0:
        raise ValueError(f"{part!r}: a step of {step} does not lead from {start} to {stop}")
    try:
        steps = int((stop - start) // step)
    except DecimalException as error:
        raise ValueError(f"{part!r}: the step is too small for the range") from error
    if steps > _MOST_STEPS:
        raise ValueError(f"{part!r}: {steps} steps; choose a larger step")
    return steps


def _number(text: str, part: str) -> Decimal:
    found = repr(text) if text == part else f"{text!r} in {part!r}"
    try:
        number = Decimal(text)
    except DecimalException as error:
        raise ValueError(f"{found} is no number") from error
    if not math.isfinite(number):
        raise ValueError(f"{found} is not finite")
    return number
