"""Write texts and numbers so that every reader of YAML reads them back: as JSON has them, where both agree. Pure."""

import json
import re
from typing import Final

_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


def text(words: str) -> str:
    """Return a text in double quotes; what does not show is escaped, YAML 1.1's ends of lines (U+0085, U+2028) too."""
    return _UNPRINTABLE.sub(_escaped, json.dumps(words, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    sign = match[0]
    if sign.isprintable():
        return sign
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def number(value: float) -> str:
    """Return the shortest text that reads back as `value`; with a point, without which 1e-05 is a text in YAML 1.1."""
    digits, exponent, power = repr(value).partition("e")
    return f"{digits if '.' in digits else digits + '.0'}{exponent}{power}"
