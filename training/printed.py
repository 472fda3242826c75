"""How results are printed: columns that line up, numbers with as many digits as they deserve, differences in words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from training.metrics import METRICS, Estimate

_DIGITS = {"mae": 2, "level": 3, "total": 3, "slope": 3, "lift": 2, "coverage": 3, "gain": 3}


def width(text: str) -> int:
    """Columns that a text takes on a terminal: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def aligned(head: Sequence[str], body: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """A table as lines: the first column to the left, all others to the right; the head is the first line."""
    rows = [list(head), *(list(row) for row in body)]
    wide = [max(width(row[k]) for row in rows) for k in range(len(head))]
    return [(indent + "  ".join(_cell(text, wide[k], k == 0) for k, text in enumerate(row))).rstrip() for row in rows]


def _cell(text: str, wide: int, left: bool) -> str:
    pad = " " * (wide - width(text))
    return text + pad if left else pad + text


def number(metric: str, value: float) -> str:
    """A metric's value; a dash where it is missing."""
    return "–" if not np.isfinite(value) else f"{value:.{_DIGITS.get(metric, 4)}f}"


def interval(metric: str, found: Estimate) -> str:
    """A value and its interval."""
    if not np.isfinite(found.lower):
        return number(metric, found.value)
    return f"{number(metric, found.value)} ({number(metric, found.lower)} to {number(metric, found.upper)})"


def difference(metric: str, found: Estimate) -> str:
    """A signed difference with its interval."""
    digits = _DIGITS.get(metric, 4)
    if not np.isfinite(found.value):
        return "–"
    return f"{found.value:+.{digits}f} ({found.lower:+.{digits}f} to {found.upper:+.{digits}f})"


def verdict(metric: str, found: Estimate) -> str:
    """Whether the first of two is better, as far as the interval of their difference can say."""
    if not np.isfinite(found.lower) or METRICS[metric].better == 0:
        return ""
    if found.lower <= 0 <= found.upper:
        return "cannot be told apart"
    return "better" if found.value * METRICS[metric].better > 0 else "worse"
