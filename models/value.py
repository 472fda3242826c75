"""What a customer is worth, by the simple formulas that people use, beside the modelled CLV.

The formulas are short; what goes wrong with them is units and division by a churn rate of zero. So every rate here is
per period (a horizon of H days), a rate of one customer is shrunk towards everybody's before anything is divided by it,
and what is not known gives NaN. `by_group` puts the formulas side by side for segments, channels and cohorts; `tiers`,
`pareto`, `potential_high`, `what_if` and `equity_change` are the uses the value is put to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from features.block import Ints
from features.history import Floats

YEAR = 365.25
Objects: TypeAlias = NDArray[np.object_]


def _array(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float64)


def _over(above: ArrayLike, below: ArrayLike) -> Floats:
    """above / below, NaN where below is not above 0."""
    a, b = np.broadcast_arrays(_array(above), _array(below))
    quotient: Floats = np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
    return quotient


# -- the formulas ------------------------------------------------------------------------------------------------------


def simple_clv(average_purchase: ArrayLike, purchases: ArrayLike, churn: ArrayLike) -> Floats:
    """CLV = average purchase value x purchase frequency / churn rate, in the money of the average purchase.

    `purchases` and `churn` are per one and the same period: 20 a purchase x 3 purchases a quarter / .25 churning a
    quarter = 240. It is revenue, not profit; times the margin it is profit. NaN where the churn rate is 0 or unknown: a
    customer who never leaves has no finite value by this formula.
    """
    return _over(_array(average_purchase) * _array(purchases), churn)


def clv_profit(value: ArrayLike, acquisition: ArrayLike, retention: ArrayLike) -> Floats:
    """CLV as profit = value - acquisition cost - retention cost. NaN where any of them is not known."""
    return _array(value) - _array(acquisition) - _array(retention)


def clv_total(historic: ArrayLike, expected: ArrayLike) -> Floats:
    """CLV as everything of the relationship = what has been + what is expected."""
    return _array(historic) + _array(expected)


def clv_six(
    *,
    conversion: ArrayLike,
    order_value: ArrayLike,
    orders: ArrayLike,
    life: ArrayLike,
    margin: ArrayLike,
    maintenance: ArrayLike,
    acquisition: ArrayLike,
    activation: ArrayLike,
) -> Floats:
    """CLV of a prospect from six inputs: conversion x (order value x orders a period x periods of life x margin -
    maintenance) - acquisition - activation.

    `maintenance` is per converted customer over the whole life; `acquisition` and `activation` are per prospect.
    With a conversion of .2, orders of 50, 2 a period over 5 periods at a margin of .4 and 30 of maintenance, 8 of
    acquisition and 4 of activation: .2 x (200 - 30) - 12 = 22."""
    earned = _array(order_value) * _array(orders) * _array(life) * _array(margin)
    worth: Floats = _array(conversion) * (earned - _array(maintenance)) - _array(acquisition) - _array(activation)
    return worth


def geometric_clv(margin: ArrayLike, retention: ArrayLike, discount: ArrayLike) -> Floats:
    """Present value of a margin per period, paid at each period's end while the customer stays:
    margin x retention / (1 + discount - retention); Gupta and Lehmann, J. Interactive Marketing 17 (2003). Rates per
    period; NaN where retention is not below 1 + discount."""
    return _over(_array(margin) * _array(retention), 1 + _array(discount) - _array(retention))


def shrunk(events: ArrayLike, exposure: ArrayLike, rate: float, weight: float) -> Floats:
    """A customer's own rate drawn towards everybody's: (events + weight x rate) / (exposure + weight), the mean of a
    Gamma posterior whose prior is worth `weight` periods."""
    value: Floats = (_array(events) + weight * rate) / (_array(exposure) + weight)
    return value


def life_in_periods(churn: ArrayLike) -> Floats:
    """Expected periods of life, 1 / churn; NaN where nobody churns."""
    return _over(1.0, churn)


# -- groups ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Customers:
    """What the formulas need of each customer, arrays (n). Money in major units.

    `purchases`, `paid`: purchase days and money in the last closed period; `at_risk`, `churned`: flags of that
    period (NaN churned where not at risk); `life_purchases`, `life_paid` in all; `acquisition`, `retention` cost in
    all and `profit` (NaN where not known); `expected`: modelled CLV (NaN without a model)."""

    at_risk: Floats
    churned: Floats
    purchases: Floats
    paid: Floats
    life_purchases: Floats
    life_paid: Floats
    acquisition: Floats
    retention: Floats
    profit: Floats
    expected: Floats

    def __len__(self) -> int:
        return len(self.paid)

    def take(self, mask: NDArray[np.bool_]) -> Customers:
        return Customers(**{name: values[mask] for name, values in vars(self).items()})


def formulas(c: Customers, margin: float) -> dict[str, float]:
    """All formulas for one group, per customer of the group. Frequency and churn are of the customers at risk at the
    beginning of the last closed period; a group nobody of which was at risk has NaN there."""
    at_risk = c.at_risk > 0
    n = int(at_risk.sum())
    churn = float(np.nanmean(c.churned[at_risk])) if n else np.nan
    purchases = float(c.purchases[at_risk].mean()) if n else np.nan
    apv = float(_over(c.paid[at_risk].sum(), c.purchases[at_risk].sum()))
    clv = float(simple_clv(apv, purchases, churn))
    return {
        "customers": float(len(c)),
        "at_risk": float(n),
        "average_purchase": apv,
        "purchases": purchases,
        "churn": churn,
        "life": float(life_in_periods(churn)),
        "clv_simple": clv,
        "clv_simple_margin": margin * clv,
        "clv_profit": float(clv_profit(margin * clv, _mean(c.acquisition), _mean(c.retention))),
        "historic": _mean(c.profit),
        "clv_model": _mean(c.expected),
        "clv_total": float(clv_total(_mean(c.profit), _mean(c.expected))),
        "acquisition": _mean(c.acquisition),
    }


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def by_group(group: Objects, c: Customers, margin: float) -> pd.DataFrame:
    """The formulas for each group (segment, channel, cohort) and for all, one row each; None is its own group."""
    names = sorted({name for name in group if name is not None})
    rows = [{"group": "all", **formulas(c, margin)}]
    for name in [*names, None]:
        mask = np.asarray([one is None for one in group]) if name is None else np.asarray(group == name, bool)
        if mask.any():
            rows.append({"group": "unknown" if name is None else str(name), **formulas(c.take(mask), margin)})
    return pd.DataFrame(rows)


def payback(cash: pd.DataFrame, cac: float) -> float:
    """The period at whose end a cohort's profit so far covers what acquiring a customer cost: `cash` has `age` and
    `profit_so_far` per customer, ascending. NaN where it never does or the cost is not known."""
    covered = cash[cash["profit_so_far"] >= cac] if not np.isnan(cac) else cash.iloc[:0]
    return float(covered["age"].iloc[0]) + 1 if len(covered) else float("nan")


# -- tiers and contribution --------------------------------------------------------------------------------------------

LOW, MID, HIGH = "low", "mid", "high"


def tiers(value: Floats, *, mid: float = 0.5, high: float = 0.8) -> Objects:
    """High, mid and low value by quantile among those with a value above 0; low too where it is not, None where
    unknown.

    Of 10 values 1..10 the quantiles .5 and .8 are 5.5 and 8.2: 9 and 10 are high, 6 to 8 mid, the rest low. Equal
    values share a tier."""
    named = np.full(len(value), None, object)
    some = value[value > 0]
    edges = np.quantile(some, [mid, high]) if len(some) else np.array([np.inf, np.inf])
    named[~np.isnan(value)] = LOW
    named[value >= edges[0]] = MID
    named[value >= edges[1]] = HIGH
    return named


@dataclass(frozen=True)
class Pareto:
    """How value divides over customers. `share_of_customers` and `share_of_value` run from 0 to 1, best customers first
    (above 1 in between where some cost more than they bring); `gini` of those with a value above 0; `top_fifth` their
    share of the sum."""

    share_of_customers: Floats
    share_of_value: Floats
    gini: float
    top_fifth: float


def pareto(value: Floats, points: int = 101) -> Pareto:
    """The contribution curve of a value per customer; NaN are left out, and all is NaN where nothing sums up to
    more than 0. For 1, 1, 2, 6 the best quarter has .6; Gini is (2 (1x1 + 2x1 + 3x2 + 4x6) / 4 - 5 x 10 / 4) / 10 =
    .4."""
    known = np.sort(value[~np.isnan(value)])[::-1]
    total = float(known.sum())
    at = np.linspace(0.0, 1.0, points)
    if not len(known) or total <= 0:
        return Pareto(at, np.full(points, np.nan), np.nan, np.nan)
    running = np.concatenate([[0.0], np.cumsum(known)]) / total
    curve = np.interp(at * len(known), np.arange(len(known) + 1), running)
    some = known[known > 0][::-1]
    rank = np.arange(1, len(some) + 1)
    gini = float(2 * (rank * some).sum() / (len(some) * some.sum()) - (len(some) + 1) / len(some))
    return Pareto(at, curve, gini, float(np.interp(0.2 * len(known), np.arange(len(known) + 1), running)))


def contribution(value: Floats) -> pd.DataFrame:
    """Each customer's share of the sum, rank (1 is best; equal values share the better rank) and the share of all down
    to him; NaN where the value is."""
    total = np.nansum(value)
    order = np.argsort(-np.nan_to_num(value, nan=-np.inf), kind="stable")
    rank = pd.Series(value).rank(method="min", ascending=False).to_numpy()
    running = np.empty(len(value))
    running[order] = np.cumsum(np.nan_to_num(value[order]))
    with np.errstate(invalid="ignore", divide="ignore"):
        share, down = value / total, running / total
    return pd.DataFrame({"share": share, "rank": rank, "share_down_to": np.where(np.isnan(value), np.nan, down)})


def potential_high(now: Floats, expected: Floats, edge: float) -> NDArray[np.bool_]:
    """Who is not of high value yet and is expected to be: `now` below the edge, `expected` (the same measure of the
    coming window) at or above it."""
    with np.errstate(invalid="ignore"):
        return np.asarray((now < edge) & (expected >= edge))


# -- uses --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """The mean customer for a what-if, per period: price paid, units bought, cost of a unit, retention, discount,
    and what acquiring one costs."""

    price: float
    units: float
    unit_cost: float
    retention: float
    discount: float
    acquisition: float

    @property
    def clv(self) -> float:
        """Present value of the margin stream less acquisition."""
        margin = (self.price - self.unit_cost) * self.units
        return float(geometric_clv(margin, self.retention, self.discount)) - self.acquisition


def what_if(
    base: Base,
    *,
    price: float = 0.0,
    elasticity: float = -1.0,
    retention: float = 0.0,
    unit_cost: float = 0.0,
    acquisition: float = 0.0,
) -> Base:
    """The mean customer after relative changes of price, unit cost and acquisition cost and an absolute one of
    retention.

    Units follow the price by a constant elasticity: units x (1 + price)^elasticity. The elasticity is an assumption
    of the reader's; a log without price experiments does not hold it."""
    return Base(
        price=base.price * (1 + price),
        units=base.units * (1 + price) ** elasticity,
        unit_cost=base.unit_cost * (1 + unit_cost),
        retention=min(max(base.retention + retention, 0.0), 1.0),
        discount=base.discount,
        acquisition=base.acquisition * (1 + acquisition),
    )


def what_ifs(base: Base, elasticities: Sequence[float] = (-0.5, -1.0, -2.0)) -> pd.DataFrame:
    """A table of one change at a time: what, by how much, CLV, and the difference to now."""
    cases: list[tuple[str, Base]] = [
        (f"price +5 %, elasticity {e:g}", what_if(base, price=0.05, elasticity=e)) for e in elasticities
    ]
    cases += [
        ("retention +1 point", what_if(base, retention=0.01)),
        ("retention +5 points", what_if(base, retention=0.05)),
        ("unit cost -5 %", what_if(base, unit_cost=-0.05)),
        ("acquisition cost -10 %", what_if(base, acquisition=-0.10)),
    ]
    rows = [(name, case.clv, case.clv - base.clv) for name, case in [("as it is", base), *cases]]
    return pd.DataFrame(rows, columns=["case", "clv", "difference"])


@dataclass(frozen=True)
class EquityChange:
    """Customer equity (the sum of CLV) from one day to another, and where the difference comes from: customers who
    came, who fell out, and those on both days whose value rose or fell. before + came - gone + rose - fell = after."""

    before: float
    came: float
    gone: float
    rose: float
    fell: float
    after: float


def equity_change(before: Mapping[str, float], after: Mapping[str, float]) -> EquityChange:
    """From CLV by customer on two days."""
    moved = [after[who] - before[who] for who in before.keys() & after.keys()]
    return EquityChange(
        before=sum(before.values()),
        came=sum(value for who, value in after.items() if who not in before),
        gone=sum(value for who, value in before.items() if who not in after),
        rose=sum(change for change in moved if change > 0),
        fell=-sum(change for change in moved if change < 0),
        after=sum(after.values()),
    )


def levers(purchases: Floats, paid: Floats, target_purchases: float, target_ticket: float) -> pd.DataFrame:
    """How far each customer is from a target in frequency and in ticket: the gap in money, divided over the two levers.

    gap = target purchases x target ticket - paid = frequency part + ticket part, where the frequency part is
    (target purchases - purchases) x the mean of both tickets and the ticket part the rest: the usual symmetric
    division. A customer without a purchase has no ticket, and the whole gap is frequency."""
    ticket = _over(paid, purchases)
    usual = np.where(np.isnan(ticket), target_ticket, (ticket + target_ticket) / 2)
    gap = target_purchases * target_ticket - _array(paid)
    by_frequency = (target_purchases - _array(purchases)) * usual
    return pd.DataFrame({"gap": gap, "frequency": by_frequency, "ticket": gap - by_frequency})


def invest_by_stage(stage: Objects, value: Floats, at_risk: Floats, profit: Floats) -> pd.DataFrame:
    """Where the money is and where it is in danger, by stage: customers, profit so far, value (CLV or trailing
    spend), value at risk, and each stage's share of the value at risk: the first division of a budget that is not
    spread evenly."""
    table = pd.DataFrame({"stage": stage, "customers": 1, "profit": profit, "value": value, "value_at_risk": at_risk})
    sums = table.groupby("stage", sort=True).sum(min_count=1).reset_index()
    total = sums["value_at_risk"].sum(min_count=1)
    return sums.assign(budget_share=sums["value_at_risk"] / total if total else np.nan)


def by_cohort(first_day: Ints) -> Objects:
    """The quarter of each first purchase day, "2024Q1"; None without one (day below 0)."""
    month = first_day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    names = [f"{1970 + m // 12}Q{m % 12 // 3 + 1}" for m in range(int(month.max(initial=0)) + 1)]
    return np.array([names[m] if d >= 0 else None for m, d in zip(month, first_day, strict=True)], object)
