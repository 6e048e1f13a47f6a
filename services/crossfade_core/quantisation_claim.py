"""What a config.json says of quantisation, read from JSON nobody has checked: its method and its sizes of blocks.

The files decide what is quantised; this only tells how large blocks are where their scales do not. What is not there,
or of another type than expected, counts as not said, but a block size that is none is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from crossfade_core.errors import ConfigMalformed
from crossfade_core.untrusted_json import are_whole, shown

CONFIG: Final = "config.json"
_MAX_BLOCKS: Final = 16
_MAX_SIZE: Final = 2**31
_TEXT: Final = re.compile(r"([0-9]{1,9})x([0-9]{1,9})")


@dataclass(frozen=True)
class QuantisationClaim:
    """What a config says.

    Attributes:
        is_made: Whether it speaks of quantisation at all.
        method: Its quant_method, fit to be shown.
        blocks: Every size of block it states, (rows, columns).
        is_unblocked: Whether it says that there are no blocks: `weight_block_size: null`.
    """

    is_made: bool = False
    method: str | None = None
    blocks: tuple[tuple[int, int], ...] = ()
    is_unblocked: bool = False


def read_claim(config: Mapping[str, Any] | None, *, with_blocks: bool) -> QuantisationClaim:
    """Read what a config says of quantisation.

    Args:
        config: The parsed config.json, unchecked; None where there is none.
        with_blocks: Whether sizes of blocks are wanted; else none is looked at.

    Raises:
        ConfigMalformed: A block size is not two whole numbers above 0, or more than 16 differ.
    """
    sections = list(_sections(config))
    methods = [section["quant_method"] for section in sections if isinstance(section.get("quant_method"), str)]
    blocks: dict[tuple[int, int], None] = {}
    for section in sections if with_blocks else ():
        for value in _blocks_stated(section):
            blocks[_read_block(value)] = None
    if len(blocks) > _MAX_BLOCKS:
        raise ConfigMalformed(
            f"{CONFIG}: states {len(blocks)} sizes of blocks; at most {_MAX_BLOCKS} expected: correct it", file=CONFIG
        )
    is_unblocked = any(section.get("weight_block_size", 0) is None for section in sections)
    return QuantisationClaim(bool(sections), shown(methods[0]) if methods else None, tuple(blocks), is_unblocked)


def _sections(config: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield what is said of quantisation, of the whole and of the part on text; compression_config is an old name."""
    whole = config or {}
    text = whole.get("text_config")
    for part in (whole, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            section = part.get(key)
            if isinstance(section, dict) and section:
                yield section


def _blocks_stated(section: Mapping[str, Any]) -> Iterator[object]:
    """Yield every size of block a section states, unchecked: of fp8 itself, and of compressed-tensors' groups."""
    groups = section.get("config_groups")
    schemes = groups.values() if isinstance(groups, dict) else ()
    weights = [scheme.get("weights") for scheme in schemes if isinstance(scheme, dict)]
    stated = [section.get("weight_block_size")]
    stated += [weight.get("block_structure") for weight in weights if isinstance(weight, dict)]
    yield from (value for value in stated if value is not None)


def _read_block(value: object) -> tuple[int, int]:
    text = _TEXT.fullmatch(value) if isinstance(value, str) else None
    sizes = [int(text[1]), int(text[2])] if text else value
    if not are_whole(sizes) or len(sizes) != 2 or not all(1 <= size <= _MAX_SIZE for size in sizes):
        raise ConfigMalformed(
            f"{CONFIG}: states blocks of {shown(value)}; two sizes such as [128, 128] expected: correct it", file=CONFIG
        )
    return sizes[0], sizes[1]
