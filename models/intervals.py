"""The interval of spend: a lump of probability at zero and a distribution of amounts above it.

A customer leaves with probability p; otherwise the amount follows eleven conditional quantiles. An interval of 90 %
is the shortest that holds so much: where leaving alone is likelier than 5 % it starts at zero, since cutting zero off
would cut off too much, and ends where 90 % lie below. Its nominal level is the mean of .90 and the level that would
have covered 90 % of the back-test: the first alone covers too much, the second alone imports that season's shock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from models.forest import Binned, Forest
from models.procedure import Procedure

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Amounts:
    """Quantiles of log(spend of a buyer / own ticket): one forest and one start per probability."""

    probabilities: tuple[float, ...]
    forests: tuple[Forest, ...]
    starts: tuple[float, ...]

    def quantiles(self, X: NDArray[np.float32]) -> Floats:
        """(n, q), ascending in each row."""
        columns = [s + forest.score(X) for s, forest in zip(self.starts, self.forests, strict=True)]
        return np.sort(np.column_stack(columns), axis=1)


def fit_amounts(ratio: Floats, buyers: Binned, procedure: Procedure) -> Amounts:
    """From buyers' spend over own ticket."""
    target = np.log(ratio)
    starts = [float(np.quantile(target, q)) for q in procedure.quantiles]
    forests = [
        buyers.grow(
            target,
            np.full(len(target), start),
            objective="quantile",
            alpha=q,
            trees=procedure.quantile_trees,
            learning_rate=2 * procedure.learning_rate,
        )
        for q, start in zip(procedure.quantiles, starts, strict=True)
    ]
    return Amounts(procedure.quantiles, tuple(forests), tuple(starts))


def amount_at(logs: Floats, probabilities: tuple[float, ...], share: Floats) -> Floats:
    """exp of the conditional log quantile at each row's `share`, by straight lines between the known ones on the normal
    scale, and beyond them along the outermost line."""
    known = ndtri(np.array(probabilities))
    z = ndtri(np.clip(share, 1e-4, 1 - 1e-4))
    left = np.clip(np.searchsorted(known, z) - 1, 0, len(known) - 2)
    rows = np.arange(len(z))
    a, b = logs[rows, left], logs[rows, left + 1]
    line = a + (b - a) * (z - known[left]) / (known[left + 1] - known[left])
    return np.asarray(np.exp(line), np.float64)


def below(logs: Floats, probabilities: tuple[float, ...], amount: Floats) -> Floats:
    """P(a buyer's amount < `amount`) per row: the inverse of `amount_at`."""
    known = ndtri(np.array(probabilities))
    wanted = np.log(np.maximum(amount, 1e-300))
    left = np.clip((logs < wanted[:, None]).sum(axis=1) - 1, 0, len(known) - 2)
    rows = np.arange(len(wanted))
    a, b = logs[rows, left], logs[rows, left + 1]
    z = known[left] + (wanted - a) * (known[left + 1] - known[left]) / np.maximum(b - a, 1e-9)
    return np.asarray(np.where(amount > 0, ndtr(np.clip(z, -8, 8)), 0.0), np.float64)


def interval(p: Floats, logs: Floats, probabilities: tuple[float, ...], level: float) -> tuple[Floats, Floats]:
    """Lower and upper end that hold a share `level` of the outcomes. `p` is the probability of zero."""
    tail = (1 - level) / 2
    buys = np.maximum(1 - p, 1e-9)
    opens_at_zero = p >= tail
    lower = np.where(opens_at_zero, 0.0, amount_at(logs, probabilities, (tail - p) / buys))
    top = np.where(opens_at_zero, level, 1 - tail)
    upper = np.where(p >= top, 0.0, amount_at(logs, probabilities, (top - p) / buys))
    return lower, upper


def conformal(p: Floats, logs: Floats, probabilities: tuple[float, ...], spend: Floats, wanted: float) -> float:
    """The nominal level whose intervals would have held a share `wanted` of these outcomes."""
    levels = np.linspace(0.70, 0.995, 60)
    covered = []
    for level in levels:
        lower, upper = interval(p, logs, probabilities, float(level))
        covered.append(float(((spend >= lower - 1e-9) & (spend <= upper + 1e-9)).mean()))
    enough = np.flatnonzero(np.maximum.accumulate(covered) >= wanted)
    return float(levels[enough[0]]) if len(enough) else float(levels[-1])
