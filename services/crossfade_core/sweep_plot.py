"""Draw the sweep: strength asked for against strength realised, as an SVG without scripts. Pure: figures in, bytes out.

It paints its own ground, a light and a dark one, so that it can be read on any page it is shown on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias
from xml.sax.saxutils import escape

SweepPoint: TypeAlias = tuple[float, float | None, float | None]
"""λ, realised λ̂ and relative delta norm of one output; None where there was nothing to divide by."""

_WIDTH: Final = 420
_HEIGHT: Final = 400
_LEFT: Final = 72
_TOP: Final = 16
_SIDE: Final = 328
"""Of the square that is plotted into: both axes have one scale, so that the diagonal is one."""
_INTERVALS: Final = 5
_HAIR: Final = 1e-9
"""What a quotient may miss a whole number by: 0.6 / 0.2 is not 3."""
_NARROWEST: Final = 1e-30
_FARTHEST: Final = 1e100
"""A realised strength beyond it is no dot: the tuning was next to nothing, and the axes would show nothing else."""
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.ground { fill: #ffffff } .grid { stroke: #d8dee4 } .diagonal { stroke: #57606a; stroke-dasharray: 5 4 }
.dot { fill: #57606a } .this { fill: #bc4c00 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .ground { fill: #0d1117 } .grid { stroke: #30363d } .diagonal { stroke: #9198a1 }
.dot { fill: #9198a1 } .this { fill: #f0883e }
}
"""


def sweep_svg(sweep: Sequence[SweepPoint], lam: float) -> bytes:
    """Return `sweep.svg`: a dot for every output that has a realised strength; that of `lam` is larger, and on top.

    Args:
        sweep: Every output of the job.
        lam: Whose file it is.
    """
    dots = [(asked, found) for asked, found, _ in sweep if found is not None and abs(found) < _FARTHEST]
    scale = _Scale.over([0.0, *(asked for asked, _, _ in sweep), *(found for _, found in dots)])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-labelledby="title desc">',
        '<title id="title">Realised strength of every output of the sweep</title>',
        f'<desc id="desc">{escape(_description(dots, lam))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}"/>',
        *(line for value in scale.ticks for line in _tick(scale, value)),
        _line("diagonal", (scale.x(scale.low), scale.y(scale.low)), (scale.x(scale.high), scale.y(scale.high))),
        f'<text x="{_LEFT + _SIDE // 2}" y="{_HEIGHT - 10}" text-anchor="middle">λ asked for</text>',
        f'<text transform="translate(16 {_TOP + _SIDE // 2}) rotate(-90)" text-anchor="middle">realised λ̂</text>',
        *(_dot(scale, asked, found) for asked, found in dots if asked != lam),
        *(_dot(scale, asked, found, is_this=True) for asked, found in dots if asked == lam),
        "</svg>",
    ]
    return ("\n".join(lines) + "\n").encode()


@dataclass(frozen=True)
class _Scale:
    """Where values lie: from the `first` to the `last` whole multiple of `step`, which are the ticks."""

    step: float
    first: int
    last: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Self:
        low, high = min(values), max(values)
        if high - low < _NARROWEST:
            high = low + 1
        step = _next_round((high - low) / _INTERVALS)
        return cls(step, math.floor(low / step + _HAIR), math.ceil(high / step - _HAIR))

    @property
    def low(self) -> float:
        return self.first * self.step

    @property
    def high(self) -> float:
        return self.last * self.step

    @property
    def ticks(self) -> list[float]:
        return [number * self.step for number in range(self.first, self.last + 1)]

    def x(self, value: float) -> float:
        return _LEFT + _SIDE * self._share(value)

    def y(self, value: float) -> float:
        return _TOP + _SIDE * (1 - self._share(value))

    def _share(self, value: float) -> float:
        return (value / self.step - self.first) / (self.last - self.first)


def _next_round(step: float) -> float:
    """Return the least of 1, 2, 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * digit for digit in (1, 2, 5, 10, 20) if power * digit >= step * (1 - _HAIR))


def _description(dots: Sequence[tuple[float, float]], lam: float) -> str:
    found = dict(dots).get(lam)
    this = "has none that can be told" if found is None else f"realised {found:g}"
    listed = "; ".join(f"{asked:g}: {realised:g}" for asked, realised in dots)
    return (
        f"The output of λ = {lam:g} {this}. On the dashed diagonal what was realised is what was asked for. "
        f"λ asked for, and what was realised: {listed or 'none'}."
    )


def _tick(scale: _Scale, value: float) -> list[str]:
    x, y, text = scale.x(value), scale.y(value), f"{value:.6g}"
    return [
        _line("grid", (x, _TOP), (x, _TOP + _SIDE)),
        _line("grid", (_LEFT, y), (_LEFT + _SIDE, y)),
        f'<text class="x" x="{x:.2f}" y="{_TOP + _SIDE + 18}" text-anchor="middle">{text}</text>',
        f'<text class="y" x="{_LEFT - 8}" y="{y + 4:.2f}" text-anchor="end">{text}</text>',
    ]


def _line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<line class="{kind}" x1="{start[0]:.2f}" y1="{start[1]:.2f}" x2="{end[0]:.2f}" y2="{end[1]:.2f}"/>'


def _dot(scale: _Scale, asked: float, found: float, *, is_this: bool = False) -> str:
    kind, radius = ("this", 6) if is_this else ("dot", 3.5)
    return f'<circle class="{kind}" cx="{scale.x(asked):.2f}" cy="{scale.y(found):.2f}" r="{radius}"/>'
