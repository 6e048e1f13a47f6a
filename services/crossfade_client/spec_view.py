"""A job's spec as the service answers it: what `crossfade_core.spec` says, without its rules.

A newer service may allow more than this client knows of; it is to show such a job, not to judge it.
"""

from pydantic import Field

from crossfade_client.answer import View


class DeltaView(View):
    """An instruct side that is a difference: A and B, and the tensors left as the base has them."""

    delta_of: tuple[str, str]
    skip: tuple[str, ...] = ()


class RuleView(View):
    """Tensors of these names have the strength factor·λ, or one along a gradient over layers."""

    pattern: str
    factor: float | None = None
    gradient: tuple[float, ...] | None = None


class PoliciesView(View):
    """What becomes of what does not simply interpolate."""

    one_sided: str = "refuse"
    other_shape: str = "refuse"
    extra_rows: str = "refuse"
    tokens: str = "refuse"
    integers: str = "equal"
    non_finite: str = "refuse"
    overflow: str = "refuse"


class SpecView(View):
    """What was asked for; fields as in `crossfade_core.spec.MergeSpec`, the service's defaults filled in."""

    base: str
    instruct: str | DeltaView
    lambdas: tuple[float, ...]
    destination: str
    allow_extrapolation: bool = False
    out_dtype: str = "auto"
    output_name: str = "{instruct}-pad-{lambda}"
    overwrite: bool = False
    labels: dict[str, str] = Field(default_factory=dict)
    tokenizer_from: str | None = None
    schedule: tuple[RuleView, ...] = ()
    policies: PoliciesView = PoliciesView()
    rounding: str = "nearest"
    seed: int = 0
    statistics: str = "exact"
    priority: int = 0
    deadline_seconds: float | None = None
    fresh: bool = False
