"""Features as a linear model wants them: on a logarithmic scale, standardised, with absence as a column of its own.

Counts, days and money are skewed and mean something in proportions, so their (signed) logarithm enters; what lies
within -1 and 1 (shares, flags, scores) enters as it is. Absence is not zero: an absent value takes the mean and a
column says that it was absent. Features that are absent for the same customers share one such column. One-time buyers
have few facts, so what they do have (age and amounts) gets a second coefficient for them alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LIMIT = 5.0  # standard deviations: beyond, a straight line should not go on


@dataclass(frozen=True)
class Design:
    """From a feature matrix (n, k) to columns (n, m).

    `values`: the features that vary. `logs`: whether each enters on a logarithmic scale. `centre`, `scale` of each.
    `absent`: one feature per pattern of absence, and `absent_centre` its share. `crossed`: the places in `values` that
    have a second coefficient for one-time buyers.
    """

    values: tuple[int, ...]
    logs: tuple[bool, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    absent: tuple[int, ...]
    absent_centre: tuple[float, ...]
    crossed: tuple[int, ...]
    one_time_share: float

    @property
    def owners(self) -> NDArray[np.int64]:
        """The feature each column belongs to."""
        return np.array([*self.values, *self.absent, *(self.values[i] for i in self.crossed)], np.int64)

    def matrix(self, X: NDArray[np.float32], one_time: NDArray[np.bool_]) -> Floats:
        """Columns in C order; every row depends on itself alone."""
        V = np.ascontiguousarray(X[:, list(self.values)], np.float64)
        logs = np.array(self.logs, bool)
        V[:, logs] = np.sign(V[:, logs]) * np.log1p(np.abs(V[:, logs]))
        Z = (V - np.array(self.centre)) / np.array(self.scale)
        Z = np.clip(np.nan_to_num(Z, nan=0.0), -LIMIT, LIMIT)
        missing = np.isnan(X[:, list(self.absent)]) - np.array(self.absent_centre)
        return np.ascontiguousarray(np.hstack([Z, missing, Z[:, list(self.crossed)] * one_time[:, None]]))


def learn(X: NDArray[np.float32], one_time: NDArray[np.bool_]) -> Design:
    """A design for features like these. Features that are absent throughout or never vary stay out."""
    seen = ~np.isnan(X)
    values, logs, centre, scale = [], [], [], []
    for j in range(X.shape[1]):
        column = X[seen[:, j], j].astype(np.float64)
        if len(column) < 2:
            continue
        log = bool(np.abs(column).max() > 1)
        column = np.sign(column) * np.log1p(np.abs(column)) if log else column
        spread = float(column.std())
        if spread > 1e-9:
            values.append(j)
            logs.append(log)
            centre.append(float(column.mean()))
            scale.append(spread)
    absent = _patterns(seen, values)
    return Design(
        tuple(values),
        tuple(logs),
        tuple(centre),
        tuple(scale),
        absent,
        tuple(float(1 - seen[:, j].mean()) for j in absent),
        _crossed(X, seen, values, one_time),
        float(one_time.mean()),
    )


def _patterns(seen: NDArray[np.bool_], values: list[int]) -> tuple[int, ...]:
    """One feature for each distinct pattern of absence that is neither rare nor nearly total."""
    found: dict[bytes, int] = {}
    for j in values:
        if 0.005 < seen[:, j].mean() < 0.995:
            found.setdefault(np.packbits(seen[:, j]).tobytes(), j)
    return tuple(found.values())


def _crossed(
    X: NDArray[np.float32], seen: NDArray[np.bool_], values: list[int], one_time: NDArray[np.bool_]
) -> tuple[int, ...]:
    """Places of the features that tell one-time buyers apart from each other, where there are both kinds of buyer."""
    if not 0.02 < one_time.mean() < 0.98:
        return ()
    rows, mine = X[one_time], seen[one_time]
    told = [i for i, j in enumerate(values) if mine[:, j].all() and float(rows[:, j].std()) > 1e-6]
    distinct: dict[bytes, int] = {}
    for i in told:  # recency, tenure and the like are one number for a one-time buyer: cross it once
        distinct.setdefault(np.argsort(rows[:, values[i]], kind="stable").tobytes(), i)
    return tuple(distinct.values())
