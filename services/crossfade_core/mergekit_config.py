"""Write the configuration with which mergekit makes the same merge, and say in it what it cannot express. Pure.

M(λ) = base + λ·(instruct − base) is mergekit's task arithmetic with weight λ, computed in float32 and not normalised; a
chain's A has weight λ and its B −λ, each a difference to the base. Sources: mergekit 0.1.5, `config.py`, `common.py`,
`merge_methods/generalized_task_arithmetic.py`; arXiv 2212.04089.

It names no `tokenizer_source`, though the tokenizer may be the instruct's: mergekit would then cut every embedding to
the tokenizer's length (`tokenizer/embed.py`), where many models, the demo pair among them, pad theirs. Without it the
tensors are the same, and the comments say whose files to copy.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from crossfade_core.lineage import Lineage
from crossfade_core.mergekit_limits import is_adapter, limits
from crossfade_core.mergekit_weights import Weight, weights
from crossfade_core.source_ref import HubRef, LocalRef, parse_source
from crossfade_core.spec import Role
from crossfade_core.yaml_text import number, text

_OUT_DTYPES: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


def mergekit_config(lineage: Lineage) -> bytes:
    """Return `mergekit_config.yml`: comments of what it leaves out, then one merge for `mergekit-yaml`."""
    found = weights(lineage)
    lines = [
        *(f"# {line}" for line in limits(lineage, found)),
        'merge_method: "task_arithmetic"',
        f"base_model: {_model(lineage, 'base')}",
        "models:",
        *_models(lineage, found or (Weight(lineage.lam),)),
        "parameters:",
        "  normalize: false",
        "  lambda: 1.0",
        'dtype: "float32"',
        f"out_dtype: {text(_out_dtype(lineage))}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _models(lineage: Lineage, found: tuple[Weight, ...]) -> Iterator[str]:
    """Yield the models with their weights; one that is the base itself differs from it by nothing, and is left out."""
    signs: Mapping[Role, int] = {"instruct": 1, "reference": -1}
    for role, sign in signs.items():
        if role not in lineage.sources or lineage.sources[role] == lineage.sources["base"]:
            continue
        yield f"  - model: {_model(lineage, role)}"
        yield "    parameters:"
        if len(found) == 1:
            yield f"      weight: {number(sign * found[0].strength)}"
            continue
        yield "      weight:"
        for weight in found:
            yield f"        - value: {number(sign * weight.strength)}"
            if weight.filter is not None:
                yield f"          filter: {text(weight.filter)}"


def _model(lineage: Lineage, role: Role) -> str:
    """Name a model: `PATH`, `PATH@REVISION`, `MODEL+ADAPTER`; as a mapping where a path could be misread as those."""
    if role != "instruct" or not is_adapter(lineage):
        path = _path(lineage.sources[role])
        return text("@".join(path.values())) if _is_plain(path) else f"{{model: {_mapping(path)}}}"
    model, adapter = (_path(lineage.sources[side]) for side in ("base", "instruct"))
    if _is_plain(model) and _is_plain(adapter):
        return text("+".join("@".join(path.values()) for path in (model, adapter)))
    return f"{{model: {_mapping(model)}, lora: {_mapping(adapter)}}}"


def _path(uri: str) -> dict[str, str]:
    ref = parse_source(uri)
    if isinstance(ref, HubRef):
        return {"path": ref.repo, "revision": ref.revision}
    return {"path": ref.path if isinstance(ref, LocalRef) else ref.prefix}


def _is_plain(path: Mapping[str, str]) -> bool:
    return not any(sign in part for part in path.values() for sign in "@+")


def _mapping(path: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{name}: {text(part)}' for name, part in path.items())}}}"


def _out_dtype(lineage: Lineage) -> str:
    """Return the dtype that was asked for; for `auto` the one that most of the output's tensors have."""
    if lineage.spec.out_dtype != "auto":
        return lineage.spec.out_dtype
    counts: Mapping[str, int] = lineage.plan.get("out_dtypes", {})
    floats = {dtype: count for dtype, count in counts.items() if dtype in _OUT_DTYPES}
    return _OUT_DTYPES[max(floats, key=lambda dtype: floats[dtype])] if floats else "float32"
