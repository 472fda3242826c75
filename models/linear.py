"""Ridge logistic regression with one intercept per snapshot.

The intercepts take up the level of each snapshot, so that the coefficients compare customers of one day with each
other and never a December with a June. They are not shrunk; the coefficients are, by a normal prior on standardised
columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.design import Design, Floats


@dataclass(frozen=True)
class Linear:
    """A design, a coefficient for each of its columns, and the columns' means over the training rows, from which
    contributions are counted."""

    design: Design
    coefficients: tuple[float, ...]
    usual: tuple[float, ...]

    def score(self, X: NDArray[np.float32], one_time: NDArray[np.bool_]) -> Floats:
        """The logit less the snapshot's intercept, per row. No BLAS: a row's sum must not depend on its neighbours."""
        return np.asarray((self.design.matrix(X, one_time) * np.array(self.coefficients)).sum(axis=1), np.float64)

    def terms(self, X: NDArray[np.float32], one_time: NDArray[np.bool_]) -> Floats:
        """The same told apart by feature: (n, k), less what is usual. A feature has the sum of its columns (its value,
        its absence, its second coefficient for one-time buyers); one that never entered has 0."""
        parts = (self.design.matrix(X, one_time) - np.array(self.usual)) * np.array(self.coefficients)
        out = np.zeros(X.shape)
        for column, owner in enumerate(self.design.owners):
            out[:, owner] += parts[:, column]
        return out

    @property
    def usual_score(self) -> float:
        """The score of a row whose columns are all at their means."""
        return float((np.array(self.usual) * np.array(self.coefficients)).sum())


def fit(
    Z: Floats, y: Floats, day: NDArray[np.int64], ridge: float, weight: Floats | None = None
) -> tuple[Floats, Floats]:
    """Coefficients and one intercept per day 0..D-1, by Newton's method on the penalised likelihood.

    `Z` (n, m), `y` 0 or 1, `day` the snapshot's place, `weight` the customers a row stands for (1 each). The intercepts
    carry a trace of prior too (half a churner and half a stayer), which keeps them finite where a snapshot has only one
    kind.
    """
    days, m = int(day.max()) + 1, Z.shape[1]
    each = np.ones(len(y)) if weight is None else weight
    count = np.bincount(day, weights=each, minlength=days)
    share = (np.bincount(day, weights=each * y, minlength=days) + 0.5) / (count + 1)
    start = np.log(share / (1 - share))
    w, b = np.zeros(m), start.copy()
    now = _objective(Z, y, day, w, b, ridge=ridge, each=each)
    for _ in range(50):
        p = expit((Z * w).sum(axis=1) + b[day])
        information, error = each * p * (1 - p), each * (y - p)
        slope = np.r_[(Z * error[:, None]).sum(axis=0) - ridge * w, np.bincount(day, error, days) + 0.5 - expit(b)]
        step = np.linalg.solve(_information(Z, information, day, b, ridge), slope)
        for halvings in range(30):  # far from the maximum a whole Newton step may overshoot
            part = step * 0.5**halvings
            then = _objective(Z, y, day, w + part[:m], b + part[m:], ridge=ridge, each=each)
            if then >= now:
                break
        else:
            break
        w, b, gained, now = w + part[:m], b + part[m:], then - now, then
        if gained < 1e-9 * len(y) and np.abs(part).max() < 1e-6:
            break
    return w, b


def _objective(
    Z: Floats, y: Floats, day: NDArray[np.int64], w: Floats, b: Floats, *, ridge: float, each: Floats
) -> float:
    """The penalised log-likelihood."""
    score = (Z * w).sum(axis=1) + b[day]
    likelihood = float((each * (y * score - np.logaddexp(0.0, score))).sum())
    return likelihood - 0.5 * ridge * float((w * w).sum()) + float((0.5 * b - np.logaddexp(0.0, b)).sum())


def _information(Z: Floats, weight: Floats, day: NDArray[np.int64], b: Floats, ridge: float) -> Floats:
    m, days = Z.shape[1], len(b)
    weighted = Z * weight[:, None]
    out = np.zeros((m + days, m + days))
    out[:m, :m] = Z.T @ weighted + ridge * np.eye(m)
    for d in range(days):
        out[:m, m + d] = out[m + d, :m] = weighted[day == d].sum(axis=0)
    q = expit(b)
    out[range(m, m + days), range(m, m + days)] = np.bincount(day, weight, days) + q * (1 - q)
    return out
