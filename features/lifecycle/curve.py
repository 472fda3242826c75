"""The typical customer life curve: volume, cost to serve and profit by age of the relationship, and by cohort.

Age is counted in whole periods from a customer's first purchase day. A period counts for the customers who have
lived it to its end, so a young cohort does not pull the curve down where it has not been yet. Each customer can
then be placed: the profit of his own last whole period over what the curve has at his age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.block import EventTable, Ints
from features.history import Floats, History, ratio
from features.lifecycle.passes import histories
from features.snapshot import Store
from features.windows import Windows, to_date

SERVING_COSTS = ("service", "retention", "activation", "other")
"""Kinds of the costs table that are the cost to serve a customer; acquisition comes before the curve begins."""

Dated: TypeAlias = tuple[Ints, Ints, Ints]
"""Sums on their way: rows of a History, ages in periods, values in minor units."""


@dataclass(frozen=True)
class LifeCurve:
    """Sums by (cohort, age), int64 minor units: `lived` customers who lived the period to its end, `visits` purchase
    days, `revenue` net of returns, `goods` cost of goods, `serving` cost to serve (contacts and the costs table).

    `own` (n) is the profit of each buyer's last whole period in minor units, `age` (n) its place, in the store's order.
    `assumed` says that the cost of goods is not recorded and (1 - margin) of the revenue was taken.
    """

    period: int
    first_cohort: int
    exponent: int
    lived: Ints
    visits: Ints
    revenue: Ints
    goods: Ints
    serving: Ints
    customer_id: NDArray[np.object_]
    age: Ints
    own: Floats
    assumed: bool
    has_serving: bool

    @property
    def by_age(self) -> pd.DataFrame:
        """One row an age: customers who lived it, and per customer visits, revenue, cost to serve and profit."""
        lived = self.lived.sum(axis=0)
        table = pd.DataFrame(
            {"age": np.arange(len(lived)), "from_day": self.period * np.arange(len(lived)), "customers": lived}
        )
        money = {"revenue": self.revenue, "cost_to_serve": self.serving, "profit": self._profit()}
        table["visits"] = ratio(self.visits.sum(axis=0).astype(float), lived.astype(float))
        for name, sums in money.items():
            table[name] = ratio(sums.sum(axis=0).astype(float), lived.astype(float)) / 10**self.exponent
        if not self.has_serving:
            table["cost_to_serve"] = np.nan
        return table[table["customers"] > 0]

    @property
    def by_cohort(self) -> pd.DataFrame:
        """One row a cohort and age: cohort (first day of the period of its first purchases), customers, profit each and
        profit each so far."""
        rows = []
        profit = self._profit()
        for cohort in range(len(self.lived)):
            lived = self.lived[cohort]
            each = ratio(profit[cohort].astype(float), lived.astype(float)) / 10**self.exponent
            for age in np.flatnonzero(lived):
                start = to_date(self.first_cohort + self.period * cohort)
                rows.append((start, int(age), int(lived[age]), each[age], float(each[: age + 1].sum())))
        return pd.DataFrame(rows, columns=["cohort", "age", "customers", "profit", "profit_so_far"])

    @property
    def place(self) -> Floats:
        """Each buyer's last whole period over the curve at his age, (n): 1 is typical. NaN in the first period of a
        relationship and where the curve has no profit."""
        lived = self.lived.sum(axis=0).astype(float)
        typical = ratio(self._profit().sum(axis=0).astype(float), lived)
        here = np.where(self.age >= 0, typical[np.maximum(self.age, 0)], np.nan)
        return np.where(here > 0, self.own / np.where(here > 0, here, 1.0), np.nan)

    def _profit(self) -> Ints:
        return self.revenue - self.goods - self.serving


def draw(store: Store, as_of: int, windows: Windows, first_day: int, *, margin: float, period: int = 28) -> LifeCurve:
    """The life curve on a day: one pass over the store. `margin` stands in where no cost of goods is recorded."""
    ages = (as_of - first_day) // period + 1
    sums = np.zeros((5, ages, ages), np.int64)
    ids, age, own, costed, served = [], [], [], True, False
    for h in histories(store, [as_of], windows, at="seen"):
        lives = _Lives.of(h, first_day, period, ages)
        sums[0] += lives.lived()
        bought = h.block.tables["purchases"]
        visits, serving = lives.dated(bought, np.ones_like(bought.day)), _serving(lives)
        revenue, goods, recorded = _money(lives, margin)
        for number, values in enumerate((visits, revenue, goods, serving), start=1):
            sums[number] += lives.grid(values)
        costed, served = costed and recorded, served or h.has("costs") or h.has("campaigns", "cost")
        ids.append(h.customer_id)
        age.append(lives.last)
        own.append(lives.last_period([revenue, goods, serving]))
    empty = np.empty(0)
    return LifeCurve(
        period, first_day, store.exponent, sums[0], sums[1], sums[2], sums[3], sums[4],
        np.concatenate([np.empty(0, object), *ids]), np.concatenate([empty.astype(np.int64), *age]),
        np.concatenate([empty, *own]), not costed, served,
    )  # fmt: skip


@dataclass(frozen=True)
class _Lives:
    """The buyers of one part: first day, last whole period (-1: none yet), and dated sums as (who, age, value)."""

    h: History
    first: Ints
    last: Ints
    cohort: Ints
    period: int
    ages: int

    @classmethod
    def of(cls, h: History, first_day: int, period: int, ages: int) -> _Lives:
        first = h.first("day").astype(np.int64)
        return cls(h, first, (h.cut - first + 1) // period - 1, (first - first_day) // period, period, ages)

    def lived(self) -> Ints:
        """Customers by cohort and age who lived the age to its end."""
        reached = np.zeros((self.ages, self.ages + 1), np.int64)
        np.add.at(reached, (self.cohort, self.last + 1), 1)
        later: Ints = np.cumsum(reached[:, ::-1], axis=1)[:, ::-1][:, 1:]
        return later

    def dated(self, table: EventTable, value: Ints) -> Dated:
        """(row, age, value) of a table's events in whole periods after the first purchase."""
        row = np.full(len(self.h.block.customers), -1, np.int64)
        row[self.h.who] = np.arange(len(self.h))
        who = row[table.who]
        age = (table.day - self.first[who]) // self.period
        kept = (who >= 0) & (age >= 0) & (age <= self.last[who])
        return who[kept], age[kept], value[kept]

    def grid(self, values: Dated) -> Ints:
        who, age, value = values
        sums = np.zeros((self.ages, self.ages), np.int64)
        np.add.at(sums, (self.cohort[who], age), value)
        return sums

    def last_period(self, parts: Sequence[Dated]) -> Floats:
        """Revenue less costs of each customer's last whole period."""
        sums = np.zeros(len(self.h))
        for sign, (who, age, value) in zip((1, -1, -1), parts, strict=True):
            here = age == self.last[who]
            sums += sign * np.bincount(who[here], value[here], len(self.h))
        return np.where(self.last >= 0, sums, np.nan)


def _money(lives: _Lives, margin: float) -> tuple[Dated, Dated, bool]:
    """Revenue net of returns, cost of goods, and whether that cost is recorded."""
    tables = lives.h.block.tables
    bought = tables["purchases"]
    revenue = [lives.dated(bought, bought.measures["amount"])]
    if "returns" in tables:
        revenue.append(lives.dated(tables["returns"], -tables["returns"].measures["amount"]))
    joined = _joined(revenue)
    known = bought.measures.get("cost_known")
    recorded = known is not None and bool(known.all())
    if recorded:
        goods = lives.dated(bought, bought.measures["cost"])
    else:
        goods = (joined[0], joined[1], np.rint(joined[2] * (1 - margin)).astype(np.int64))
    return joined, goods, recorded


def _serving(lives: _Lives) -> Dated:
    parts = [lives.dated(_NOTHING, _NOTHING.day)]
    tables = lives.h.block.tables
    if "campaigns" in tables and "cost" in tables["campaigns"].measures:
        parts.append(lives.dated(tables["campaigns"], tables["campaigns"].measures["cost"]))
    if "costs" in tables:
        words = tables["costs"].words["kind"]
        serves = np.append(np.isin(words.words.astype(str), SERVING_COSTS), False)[words.code]
        parts.append(lives.dated(tables["costs"], tables["costs"].measures["amount"] * serves))
    return _joined(parts)


_NOTHING = EventTable(np.empty(0, np.int64), np.empty(0, np.int64))


def _joined(parts: Sequence[Dated]) -> Dated:
    who, age, value = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    return who, age, value
