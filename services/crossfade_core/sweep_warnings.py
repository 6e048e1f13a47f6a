"""What a user should know of an output before trusting it, in words, with the cures. Never ends a job."""

from collections.abc import Collection, Sequence
from typing import Final

from crossfade_core.spec import Rounding
from crossfade_core.statistics import OutputFigures, TensorFigures

MAX_STRAY: Final = 0.02
"""How far the realised strength of an output may lie from the requested one without a warning."""

_COARSE_DTYPES: Final = {"BF16": "bfloat16", "F16": "float16"}
"""Output dtypes that small steps may vanish in, and what the spec calls them."""


def warnings(
    output: OutputFigures, tensors: Sequence[TensorFigures], *, rounding: Rounding, out_dtypes: Collection[str]
) -> list[str]:
    """Say what is to be said of an output; nothing where there is nothing to say.

    Args:
        output: The output's figures.
        tensors: Its tensors' figures.
        rounding: As the spec has it.
        out_dtypes: dtypes of the output's tensors, as safetensors calls them.
    """
    coarse = [name for dtype, name in _COARSE_DTYPES.items() if dtype in out_dtypes]
    found = [
        _stray(output, tensors, rounding, coarse),
        _non_finite("base", output.base_non_finite, [(sum(each.base_non_finite), each.tensor) for each in tensors]),
        _non_finite(
            "instruct", output.instruct_non_finite, [(sum(each.instruct_non_finite), each.tensor) for each in tensors]
        ),
        _overflow(output, tensors, coarse),
    ]
    if output.left_out:
        found.append(f"the figures leave out {output.left_out} tensor(s) in which not every value is finite")
    return [text for text in found if text]


def _stray(output: OutputFigures, tensors: Sequence[TensorFigures], rounding: Rounding, coarse: list[str]) -> str:
    if output.realised is None or abs(output.realised - output.requested) <= MAX_STRAY:
        return ""
    mean = " on average" if len({tensor.requested for tensor in tensors}) > 1 else ""
    told = f"λ = {output.requested:.6g}{mean} was realised as {round(output.realised, 3):g}"
    if not coarse:
        return f"{told}; `crossfade inspect --tensors 10` names the tensors that stray most"
    stochastic = "" if rounding == "stochastic" else "rounding: stochastic or "
    verb = "rounds" if len(coarse) == 1 else "round"
    return f"{told}: {' and '.join(coarse)} {verb} small steps away; use {stochastic}out_dtype: float32"


def _non_finite(parent: str, counts: tuple[int, int], by_tensor: list[tuple[int, str]]) -> str:
    nan, inf = counts
    if not nan + inf:
        return ""
    return (
        f"the {parent} holds {nan} NaN and {inf} infinite values, most of them in {max(by_tensor)[1]}, which "
        "policies.non_finite: keep let through; repair the checkpoint to be rid of them"
    )


def _overflow(output: OutputFigures, tensors: Sequence[TensorFigures], coarse: list[str]) -> str:
    if not output.overflowed:
        return ""
    most = max(tensors, key=lambda tensor: tensor.overflowed).tensor
    cure = "out_dtype: bfloat16 or float32" if "float16" in coarse else "a smaller λ"
    return (
        f"{output.overflowed} results were too large for the output's dtype and became infinite, most of them in "
        f"{most}, which policies.overflow: keep let through; use {cure}"
    )
