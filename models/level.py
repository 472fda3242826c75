"""How high the forecasts stand as a whole: the level that training days show, carried to the cutoff.

Ranking customers is easier than knowing how many will leave: the level drifts and has seasons, and it is the level
that a shop sees to be wrong. Two witnesses are heard. The *recent* one: intercepts of the latest closed snapshots,
the newest counting most, moved by how last year went on from here compared with how the training snapshots went on
(the seasonal index). The *season* one: intercepts of snapshots of the same season in earlier years. In the study
either alone missed the level by .06 to .07 on the logarithm, their mean by .034.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.procedure import Procedure
from models.samples import Market
from models.schedule import Schedule

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """What each witness says and the value taken. `season` is NaN where no earlier year is known; `index` is 0 where
    last year cannot be asked."""

    value: float
    recent: float
    season: float
    index: float

    @property
    def season_known(self) -> bool:
        return bool(np.isfinite(self.season))


def level(
    plan: Schedule,
    values: dict[int, float],
    *,
    half_life: float,
    active: int,
    first_day: int,
    index: float,
    procedure: Procedure,
) -> Level:
    """The level at `plan.as_of` from one value per training day; `index` is added to what the recent days say."""
    recent = sorted(set(plan.recent) & set(values)) or sorted(values)
    age = np.array([recent[-1] - day for day in recent], float)
    weight = np.exp2(-age / half_life)
    lately = float(np.average([values[day] for day in recent], weights=weight)) + index
    season = sorted(set(plan.season) & set(values))
    if not season:
        return Level(lately, lately, float("nan"), index)
    # a year ago the log may have been too young to tell regular customers from new ones
    trust = np.array([min(1.0, max(day - first_day, 1) / (2 * active)) ** 2 for day in season])
    then = float(np.average([values[day] for day in season], weights=trust))
    share = float(trust.max()) / (1 + float(trust.max()))
    return Level((1 - share) * lately + share * then, lately, then, index)


def seasonal_index(
    market: Market,
    series: NDArray[np.int64],
    plan: Schedule,
    *,
    horizon: int,
    half_life: float,
    procedure: Procedure,
) -> float:
    """By how much, on the logarithm, the coming window should differ from the training windows, if this year goes on as
    last year did: the coming window over the one before it, a year ago, relative to the same ratio at the recent
    training days. 0 where last year holds no whole window before, or one in which mostly new customers bought."""
    if horizon > procedure.index_horizon:
        return 0.0
    coming = [
        _ratio(market, series, plan.as_of - year * procedure.year, horizon, plan.as_of)
        for year in range(1, procedure.years_back + 1)
    ]
    known = [ratio for ratio in coming if ratio is not None]
    trained = [(day, _ratio(market, series, day, horizon, plan.as_of)) for day in plan.recent]
    told = [(day, ratio) for day, ratio in trained if ratio is not None]
    if not known or not told:
        return 0.0
    weight = np.exp2(np.array([day - told[-1][0] for day, _ in told]) / half_life)
    usual = float(np.average([ratio for _, ratio in told], weights=weight))
    moved = float(np.clip(np.mean(known) - usual, -procedure.index_limit, procedure.index_limit))
    return procedure.index_share * moved


def _ratio(market: Market, series: NDArray[np.int64], day: int, horizon: int, as_of: int) -> float | None:
    """log of (day, day+H] over (day-H, day]; None where a window is not whole or an acquisition phase. Days after the
    market's last are days without a purchase."""
    first = int(market.day[0])
    lo, middle, hi = day - horizon + 1 - first, day + 1 - first, day + 1 + horizon - first
    if lo < 0 or day + horizon > as_of:
        return None
    before, after = int(series[lo:middle].sum()), int(series[middle:hi].sum())
    new, visits = int(market.firsts[lo:middle].sum()), int(market.visits[lo:middle].sum())
    if before <= 0 or after <= 0 or 2 * new > visits:
        return None
    return float(np.log(after / before))


def day_intercepts(score: Floats, y: Floats, day: NDArray[np.int64], weight: Floats | None = None) -> dict[int, float]:
    """Per training day the intercept that makes the mean of expit(score + intercept) the share of ones, with half a
    one and half a zero added so that it is finite."""
    each = np.ones(len(y)) if weight is None else weight
    return {int(d): intercept(score[day == d], y[day == d], each[day == d]) for d in np.unique(day)}


def intercept(score: Floats, y: Floats, weight: Floats | None = None) -> float:
    """The shift of some logits that matches the mean (with half a one and half a zero added). Newton with bisection.
    `weight`: the customers each row stands for."""
    each = np.ones(len(y)) if weight is None else weight
    total = float(each.sum())
    wanted = (float((each * y).sum()) + 0.5) / (total + 1)
    lo, hi = -40.0, 40.0
    b = float(np.log(wanted / (1 - wanted)) - np.average(score, weights=each))
    for _ in range(200):
        p = 1 / (1 + np.exp(-np.clip(score + b, -500, 500)))
        miss = wanted - float((each * p).sum()) / total
        lo, hi = (b, hi) if miss > 0 else (lo, b)
        step = miss / max(float((each * p * (1 - p)).sum()) / total, 1e-12)
        nxt = b + step
        b, before = (nxt if lo < nxt < hi else (lo + hi) / 2), b
        if abs(b - before) < 1e-12:
            break
    return b
