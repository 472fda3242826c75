"""Has the model shown that it knows anything? Asked before its numbers are believed.

The model forecasts a cutoff whose outcome is known and which it has not seen. Both it and the base rate are moved to
the level that came, so that only telling customers apart can win, and the model's logits are shrunk by half: an opinion
that is right but too bold still knows something, and the same back-test then corrects its boldness. The mean gain in
log loss must be clear of zero and worth having.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.level import intercept
from models.procedure import Procedure

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Skill:
    """`found`: the forecasts may tell customers apart. `gain`: mean gain in log loss over the base rate, `share` of the
    base rate's log loss, `t` the gain in standard errors, `rows` customers judged, `how` the outcome was held back."""

    found: bool
    gain: float
    share: float
    t: float
    rows: int
    how: str

    def __str__(self) -> str:
        words = "skill" if self.found else "no skill"
        gain = f"log loss {self.share:.1%} below the base rate's (t = {self.t:.1f})"
        return f"{words}: {gain} on {self.rows:,} customers {self.how}" if self.rows else f"{words}: {self.how}"


def losses(p: Floats, y: Floats) -> Floats:
    """Log loss of each customer."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def judge(score: Floats, y: Floats, how: str, procedure: Procedure, weight: Floats | None = None) -> Skill:
    """The verdict on some logits and what came. `weight`: the customers each row stands for."""
    n = len(y)
    each = np.ones(n) if weight is None else weight / weight.mean()
    rate = float((each * y).mean()) if n else 0.0
    if n < 2 or rate in (0.0, 1.0):
        return Skill(False, 0.0, 0.0, 0.0, n, how)
    score = procedure.boldness * score
    levelled = 1 / (1 + np.exp(-(score + intercept(score, y, each))))
    base = losses(np.full(n, rate), y)
    gain = base - losses(levelled, y)
    mean = float((each * gain).mean())
    spread = float(np.sqrt((each**2 * (gain - mean) ** 2).sum() / (n - 1)))
    t = float(mean / (spread / np.sqrt(n))) if spread > 1e-12 else 0.0
    share = float(mean / (each * base).mean())
    found = bool(t > procedure.skill_t and share > procedure.skill_gain)
    return Skill(found, mean, share, float(t), n, how)
