"""Spend in the horizon: three ways to an amount, mixed, and set to the level that training days show.

A *hurdle* (will the customer buy, and then how many of his own typical amounts), a *Tweedie* forest (both at once,
for amounts that are zero or skewed) and the *purchase process* (purchases x amount of one). Each alone is worst
somewhere; their mix was within .003 of the best Gini everywhere. Training amounts are cut at a high quantile, so that
one wholesale order does not teach the trees, and what was cut off is given back to all through the level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.forest import Binned, Forest
from models.procedure import Procedure
from models.view import Outcomes, View

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SpendModels:
    """`amount`: log of (spend of a buyer / own ticket). `whole`: log of spend. `scale` is the mean spend that the
    Tweedie forest counts in; `norms` bring the three ways to a mean of 1 over the training rows; `mix` weighs them."""

    amount: Forest
    amount_start: float
    whole: Forest
    scale: float
    norms: tuple[float, float, float]
    mix: tuple[float, float, float]

    def if_buying(self, view: View) -> Floats:
        """Spend of a customer who buys, before levels."""
        return np.asarray(view.ticket * np.exp(self.amount_start + self.amount.score(view.X)), np.float64)

    def ways(self, view: View, buys: Floats) -> tuple[Floats, Floats, Floats]:
        """The three amounts; `buys` is 1 - churn probability."""
        return buys * self.if_buying(view), np.exp(self.whole.score(view.X)), view.process_spend

    def unlevelled(self, view: View, buys: Floats) -> Floats:
        """The mix, with a mean of about 1 over customers like those of training."""
        told = zip(self.mix, self.ways(view, buys), self.norms, strict=True)
        a, b, c = (share * way / norm for share, way, norm in told)
        return np.asarray(a + b + c, np.float64)


def fit_spend(
    view: View,
    spend: Floats,
    came: Outcomes,
    buys: Floats,
    *,
    binned: Binned,
    buyers: Binned,
    procedure: Procedure,
) -> SpendModels:
    """From training rows: winsorised spend, what else came, and the churn model's 1 - p at the snapshot's level.
    `buyers` holds the features of the rows with spend alone."""
    bought, day, weight = spend > 0, came.place, came.weight
    ratio = spend[bought] / view.ticket[bought]
    start = float(np.log(np.average(ratio, weights=weight[bought])))
    amount = buyers.grow(ratio, np.full(len(ratio), start), objective="gamma", trees=procedure.trees)
    scale = float(np.average(spend, weights=weight))
    daily = np.bincount(day, weight * spend) / np.bincount(day, weight)
    level = np.log(np.maximum(daily / scale, 1e-3))
    whole = binned.grow(
        spend / scale,
        level[day],
        objective="tweedie",
        trees=procedure.trees,
        tweedie_variance_power=procedure.tweedie_power,
    )
    mix = (procedure.hurdle, procedure.tweedie, procedure.process_money)
    models = SpendModels(amount, start, whole, scale, (1.0, 1.0, 1.0), mix)
    a, b, c = (max(float(np.average(way, weights=weight)), 1e-12) for way in models.ways(view, buys))
    return replace(models, norms=(a, b, c))


def day_levels(
    predicted: Floats, spend: Floats, day: NDArray[np.int64], weight: Floats | None = None
) -> dict[int, float]:
    """log of actual over predicted per training day; days on which nobody bought are left out."""
    each = np.ones(len(spend)) if weight is None else weight
    out = {}
    for d in np.unique(day):
        rows = day == d
        if spend[rows].sum() > 0:
            out[int(d)] = float(np.log((each * spend)[rows].sum() / (each * predicted)[rows].sum()))
    return out
