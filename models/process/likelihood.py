"""What every purchase-process model shares: customers as grouped counts, and a repeatable way to the maximum.

A purchase process sees a customer as three numbers (x, t_x, T): x repeat purchase days, the age t_x at the last of them
(0 where there is none) and the age T at the cutoff, both counted from the first purchase. Many customers share the same
three, so the likelihood is a weighted sum over the distinct triples; a million customers are some hundred thousand of
them, and their gamma functions depend on some hundred distinct x. The search starts from the same point for everybody
and always from scratch: a start taken from an earlier fit would make the result depend on what was fitted before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from features.errors import BadData

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]

LOWEST, HIGHEST = (
    np.log(1e-5),
    np.log(1e5),
)  # parameters beyond are "none of it" or "everybody alike": no data tell them


@dataclass(frozen=True)
class Histories:
    """Customers as (x, t_x, T): float arrays of one length, ages in the unit of the parameters."""

    x: Floats
    tx: Floats
    T: Floats

    @classmethod
    def of(cls, x: ArrayLike, tx: ArrayLike, T: ArrayLike) -> Histories:
        return cls(*floats(x, tx, T))

    def longer(self, t: ArrayLike) -> Histories:
        """The same purchases with a silence longer by t at the end."""
        return Histories.of(self.x, self.tx, self.T + np.asarray(t, np.float64))


@dataclass(frozen=True)
class Counts:
    """Distinct (x, t_x, T) with the number of customers that share each, in ascending order.

    `frequency` x, `recency` t_x and `age` T are float arrays of one length, ages in any one unit; `weight` counts
    customers. Build it with `group`, which checks what a history cannot be.
    """

    frequency: Floats
    recency: Floats
    age: Floats
    weight: Floats

    @property
    def customers(self) -> int:
        return int(self.weight.sum())

    @property
    def mean_age(self) -> float:
        """The unit in which a search goes alike for data in days and in years."""
        return max(float(np.average(self.age, weights=self.weight)), 1e-9)

    @property
    def purchases(self) -> float:
        return float(np.sum(self.weight * self.frequency))

    def scaled(self, unit: float) -> Counts:
        """The same customers with ages counted in units of `unit`."""
        return Counts(self.frequency, self.recency / unit, self.age / unit, self.weight)


@dataclass(frozen=True)
class Estimate:
    """Where the search ended. `values` and `errors` follow `names`, in the unit of the data; an error is NaN where the
    likelihood is flat. `converged` is false where the search gave up, the likelihood is flat or a parameter ran to the
    edge of its range: the expectations still hold, the parameters by themselves mean nothing."""

    names: tuple[str, ...]
    values: tuple[float, ...]
    errors: tuple[float, ...]
    log_likelihood: float
    customers: int
    converged: bool
    evaluations: int

    def as_dict(self) -> dict[str, float]:
        """Parameters by name."""
        return dict(zip(self.names, self.values, strict=True))

    def rescaled(self, factors: Sequence[float], log_shift: float) -> Estimate:
        """The same estimate where each parameter is counted in another unit; a density changes by `log_shift`."""
        return replace(
            self,
            values=tuple(v * f for v, f in zip(self.values, factors, strict=True)),
            errors=tuple(e * f for e, f in zip(self.errors, factors, strict=True)),
            log_likelihood=self.log_likelihood + log_shift,
        )


def floats(*columns: ArrayLike) -> tuple[Floats, ...]:
    """Columns as float arrays of one length."""
    return tuple(np.broadcast_arrays(*(np.atleast_1d(np.asarray(c, np.float64)) for c in columns)))


def group(frequency: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Counts:
    """Customers as counts. Raises BadData where there is none, or where not 0 <= t_x <= T, or t_x = 0 with x > 0."""
    x, tx, T = (np.atleast_1d(np.asarray(v, np.float64)) for v in (frequency, recency, age))
    possible = np.isfinite(x + tx + T) & (x >= 0) & (tx >= 0) & (tx <= T) & ((tx > 0) == (x > 0))
    if not len(x) or not possible.all():
        raise BadData(
            "a purchase process cannot be fitted to these histories",
            allowed="at least one customer, each with x >= 0, 0 <= t_x <= T, and t_x above 0 exactly where x is",
            got=f"{len(x)} customers, {int((~possible).sum())} of them impossible",
        )
    order = np.lexsort((T, tx, x))
    x, tx, T = x[order], tx[order], T[order]
    new = np.r_[True, (np.diff(x) != 0) | (np.diff(tx) != 0) | (np.diff(T) != 0)]
    first = np.flatnonzero(new)
    return Counts(x[first], tx[first], T[first], np.diff(np.r_[first, len(x)]).astype(np.float64))


def maximise(
    objective: Objective, starts: Sequence[Sequence[float]], names: tuple[str, ...], customers: int
) -> Estimate:
    """Maximum likelihood over positive parameters, searched on their logarithms.

    `objective` takes log parameters and returns the log-likelihood and its gradient in them. `starts` are natural
    parameters; the second and later ones are tried only where those before did not converge.
    """
    searches: list[_Search] = []
    for start in starts:
        searches.append(_search(objective, np.log(np.asarray(start, np.float64)), customers))
        if searches[-1].settled:
            break
    best = max(searches, key=lambda search: (search.settled, search.log_likelihood))
    values = np.exp(best.theta)
    errors = values * np.sqrt(np.diag(_covariance(objective, best.theta)))
    return Estimate(
        names,
        tuple(map(float, values)),
        tuple(map(float, errors)),
        best.log_likelihood,
        customers,
        best.settled and bool(np.isfinite(errors).all()),
        sum(search.evaluations for search in searches),
    )


@dataclass(frozen=True)
class _Search:
    theta: Floats
    log_likelihood: float
    settled: bool
    evaluations: int


def _search(objective: Objective, start: Floats, customers: int) -> _Search:
    def loss(theta: Floats) -> tuple[float, Floats]:
        value, slope = objective(theta)
        return -value / customers, -slope / customers

    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(LOWEST, HIGHEST)] * len(start),
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8},
    )
    theta = np.asarray(found.x, np.float64)
    inside = (theta > LOWEST + 1e-6) & (theta < HIGHEST - 1e-6)
    settled = bool(inside.all() and np.abs(found.jac).max() < 1e-4)
    return _Search(theta, -float(found.fun) * customers, settled, int(found.nfev))


def _covariance(objective: Objective, theta: Floats, step: float = 1e-4) -> Floats:
    """Inverse of the observed information, from central differences of the exact gradient."""
    rows = [
        (objective(theta + shift)[1] - objective(theta - shift)[1]) / (2 * step) for shift in np.eye(len(theta)) * step
    ]
    information = -(np.array(rows) + np.array(rows).T) / 2
    if not np.isfinite(information).all() or np.linalg.eigvalsh(information).min() <= 0:
        return np.full((len(theta), len(theta)), np.nan)
    return np.asarray(np.linalg.inv(information), np.float64)


@dataclass(frozen=True)
class Levels:
    """Distinct values of one column with the place of each row among them: dear functions run once per value."""

    values: Floats
    place: NDArray[np.int64]
    weight: Floats

    @classmethod
    def of(cls, column: Floats, weight: Floats) -> Levels:
        values, place = np.unique(column, return_inverse=True)
        summed = np.bincount(place, weights=weight, minlength=len(values)).astype(np.float64)
        return cls(values, place.astype(np.int64), summed)

    def total(self, f: Floats) -> float:
        """Sum over customers of a function given at the distinct values."""
        return float(np.sum(self.weight * f))
