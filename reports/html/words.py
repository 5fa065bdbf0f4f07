"""How the page writes numbers, durations, counts and foreign text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Controls, bidirectional overrides, invisible marks and lone surrogates: all but tab and newline."""


LONGEST = 4000
"""Most characters of any text on the page; a log or an id may be a megabyte long."""


def plain(text: str) -> str:
    r"""Text with every control, bidirectional or invisible character spelled out, such as `\x1b` or `\u202e`."""
    return _UNSAFE.sub(lambda match: _spelled(ord(match[0])), text)


def _spelled(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def number(value: float, digits: int = 3) -> str:
    """At most `digits` significant digits, without padding: `0.43`, `17`, `1.2e6`, `∞`."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    rounded = value if value == int(value) else float(f"{value:.{digits}g}")
    if rounded == int(rounded) and abs(rounded) < 1e6:
        return str(int(rounded))
    if 1e-4 <= abs(rounded) < 1e6:
        return repr(rounded)
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def duration(seconds: float) -> str:
    """Wall time in the largest two units."""
    if seconds < 10:
        return f"{number(seconds, 2)} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{whole} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 case`, `20,000 cases`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def joined(values: Iterable[str], separator: str = ", ") -> str:
    """Distinct non-empty values in order of appearance."""
    return separator.join(dict.fromkeys(value for value in values if value))


def pairs(values: Mapping[str, object], form: str = "{}={}", separator: str = ",") -> str:
    """A mapping as text, in its own order."""
    return separator.join(form.format(name, value) for name, value in values.items())


def shortened(text: str, most: int = 120) -> str:
    """The first `most` characters, and how many there are when that is not all."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def share(value: float | None) -> str:
    """A share of right answers in four places, `0.9507`; a dash when there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"


def points(drop: float) -> str:
    """A change of a share in percentage points, signed: `−93.8 points`."""
    return f"{100 * drop:+.1f} points".replace("-", "−").replace("+0.0 ", "±0.0 ").replace("−0.0 ", "±0.0 ")
