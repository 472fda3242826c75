"""The shop's figures week by week, each with its interval, and whether a change is more than noise.

A figure is a ratio of two counted things (or one count), and both are kept: `sums` are exact whole-number sums over
customers at the end of each week, from one pass over the store, for all customers and for each segment of one word.
A week whose window opens before a table's records is absent, not zero; a figure whose table the shop does not keep
names it.

Changes are tested on pooled weeks against the weeks before (and a year before, where there is one). Weekly counts
vary more than coin tosses do, so the error is widened by the dispersion of the weeks themselves (quasi-binomial:
Pearson's chi square per degree of freedom, at least 1). Figures that look back a whole horizon overlap from week to
week; of these the latest is compared with the one a horizon earlier, which shares no day with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from features.history import Floats, History
from features.lifecycle.passes import histories
from features.store import HistoryStore
from features.windows import Windows, to_date
from models.satisfaction import Z90, wilson

Objects: TypeAlias = NDArray[np.object_]
Counter: TypeAlias = Callable[[History], Floats]
WEEK = 7
ALL = "all"


@dataclass(frozen=True)
class Kpi:
    """One figure: `above` / `below` are counters (no `below`: a plain count). `kind` share: a part of a whole,
    interval by Wilson; mean: interval by Poisson's error of the numerator; count. `overlaps`: looks back a horizon."""

    name: str
    row: str
    label: Mapping[str, str]
    above: str
    below: str | None
    kind: Literal["share", "mean", "count", "money"]
    tables: tuple[str, ...] = ("purchases",)
    overlaps: bool = False


LABELS = {
    "active": ("active customers", "活跃客户数"),
    "growth_rate": ("growth of active customers in the week", "客户增长率"),
    "new": ("new customers", "新客户数"),
    "reactivated": ("customers who came back", "回流客户数"),
    "lost": ("customers who lapsed", "流失客户数"),
    "csat": ("mean satisfaction of the week's answers (0 to 1)", "客户满意度（0到1）"),
    "lead_conversion": ("leads of a horizon ago who bought", "潜在客户转化率"),
    "second_purchase": ("first-time buyers of a horizon ago with a second purchase", "首购后二次购买率"),
    "churn_rate": ("at risk a horizon ago and silent since", "客户流失率"),
    "revenue_churn": ("their share of the spend before", "收入流失率"),
    "response_rate": ("surveys answered per invitation", "客户反馈率"),
    "complaint_rate": ("complaints per order", "投诉率"),
    "return_rate": ("returned per paid, by value", "退货率（按金额）"),
    "return_rate_orders": ("returns per order", "退货率（按订单）"),
    "repurchase_rate": ("buyers of the horizon with two purchase days or more", "重复购买率"),
    "click_rate": ("clicks per contact", "点击率"),
    "open_rate": ("messages opened per contact", "打开率"),
    "visits": ("visits to the site", "网站访问量"),
    "views_per_visit": ("products viewed per visit", "每次访问浏览商品数"),
    "cart_rate": ("carts per view", "加购率"),
    "visit_conversion": ("orders per visit", "访问转化率"),
    "revenue": ("revenue", "销售额"),
    "order_value": ("paid per order", "客单价"),
    "orders": ("orders", "订单数"),
    "referrals": ("customers brought by customers", "推荐新客数"),
    "contact_cost": ("cost of contacts", "联系成本"),
}


def _kpi(row: str, name: str, kind: Any, above: str, below: str | None, *tables: str) -> Kpi:
    overlaps = name in (
        "active",
        "churn_rate",
        "revenue_churn",
        "second_purchase",
        "lead_conversion",
        "repurchase_rate",
    )
    label = dict(zip(("en", "zh-CN"), LABELS[name], strict=True))
    return Kpi(name, row, label, above, below, kind, tables or ("purchases",), overlaps)


KPIS = (
    _kpi("7.1", "active", "count", "active", None),
    _kpi("7.1", "growth_rate", "mean", "grown", "active_before"),
    _kpi("7.1", "new", "count", "new", None),
    _kpi("7.1", "reactivated", "count", "reactivated", None),
    _kpi("7.1", "lost", "count", "lost", None),
    _kpi("7.2", "csat", "mean", "score", "answers", "surveys"),
    _kpi("7.4", "lead_conversion", "share", "leads_bought", "leads", "customers"),
    _kpi("7.4", "second_purchase", "share", "second", "firsts_due"),
    _kpi("7.5", "churn_rate", "share", "churned", "at_risk"),
    _kpi("7.5", "revenue_churn", "mean", "spend_churned", "spend_at_risk"),
    _kpi("7.6", "response_rate", "mean", "answers", "invitations", "surveys", "invitations"),
    _kpi("7.7", "complaint_rate", "mean", "complaints", "orders", "complaints"),
    _kpi("7.8", "return_rate", "mean", "returned", "revenue", "returns"),
    _kpi("7.8", "return_rate_orders", "mean", "returns", "orders", "returns"),
    _kpi("7.9", "repurchase_rate", "share", "repeated", "buyers"),
    _kpi("7.12", "click_rate", "mean", "clicked", "contacts", "campaigns", "campaigns_clicked"),
    _kpi("7.12", "open_rate", "mean", "opened", "contacts", "campaigns", "campaigns_opened"),
    _kpi("7.12", "visits", "count", "visits", None, "events"),
    _kpi("7.12", "views_per_visit", "mean", "views", "visits", "events"),
    _kpi("7.12", "cart_rate", "mean", "carts", "views", "events"),
    _kpi("7.4", "visit_conversion", "mean", "orders", "visits", "events"),
    _kpi("7.14", "revenue", "money", "revenue", None),
    _kpi("7.14", "order_value", "money", "revenue", "orders"),
    _kpi("7.15", "orders", "count", "orders", None),
    _kpi("4.7", "referrals", "count", "referrals", None, "referrals"),
    _kpi("7.11", "contact_cost", "money", "contact_cost", None, "campaigns"),
)


# -- counting ----------------------------------------------------------------------------------------------------------


def _counters(windows: Windows) -> dict[str, Counter]:
    """What is counted of each customer at the end of a week, by name."""
    H, A = windows.horizon, windows.active

    def week(table: str, measure: str | None = None) -> Counter:
        return lambda h: h.count(WEEK, table=table) if measure is None else h.total(measure, WEEK, table=table)

    def active(h: History) -> Floats:
        return _flag(h.days_since() < A)

    def before(h: History) -> Floats:
        return active(h.later(-WEEK))

    def came_back(h: History) -> Floats:
        return _flag((h.count(WEEK) > 0) & (h.later(-WEEK).days_since() >= A))

    def lost(h: History) -> Floats:
        return np.asarray(before(h) * (1 - active(h)))

    def at_risk(h: History) -> Floats:
        return active(h.later(-H))

    def churned(h: History) -> Floats:
        return _flag((h.later(-H).days_since() < A) & (h.count(H) == 0))

    def spent_before(h: History) -> Floats:
        return at_risk(h) * np.nan_to_num(h.later(-H).total("amount", H))

    def firsts_due(h: History) -> Floats:
        first = h.days_since_first()
        return _flag((first >= H) & (first < H + WEEK))

    def leads(h: History) -> Floats:
        joined = h.days_since_first("customers")
        bought_before = h.days_since_first() > joined
        return np.where(np.isnan(joined), np.nan, (joined >= H) & (joined < H + WEEK) & ~bought_before)

    return {
        "active": active, "active_before": before, "grown": lambda h: active(h) - before(h),
        "new": lambda h: _flag(h.days_since_first() < WEEK), "reactivated": came_back, "lost": lost,
        "orders": week("purchases", "orders"), "revenue": week("purchases", "amount"),
        "returned": week("returns", "amount"), "returns": week("returns"), "complaints": week("complaints"),
        "answers": week("surveys", "score_known"), "score": lambda h: h.total("score", WEEK, table="surveys") / 1e6,
        "invitations": week("invitations"), "contacts": _contacts,
        "opened": week("campaigns_opened"), "clicked": week("campaigns_clicked"),
        "contact_cost": week("campaigns", "cost"), "visits": week("events", "visit"), "views": week("events", "view"),
        "carts": week("events", "cart"), "referrals": week("referrals"), "at_risk": at_risk, "churned": churned,
        "spend_at_risk": spent_before, "spend_churned": lambda h: spent_before(h) * (h.count(H) == 0),
        "buyers": lambda h: _flag(h.count(H) > 0), "repeated": lambda h: _flag(h.count(H) > 1),
        "firsts_due": firsts_due, "second": lambda h: firsts_due(h) * (h.first("gap", table="gaps") <= H),
        "leads": leads, "leads_bought": lambda h: leads(h) * (h.count() > 0),
    }  # fmt: skip


def _flag(mask: NDArray[np.bool_]) -> Floats:
    return mask.astype(np.float64)


def _contacts(h: History) -> Floats:
    """Contacts that were made; those of a control group were not."""
    return h.count(WEEK, table="campaigns") - np.nan_to_num(h.total("control", WEEK, table="campaigns"))


TABLES = (
    "purchases", "returns", "complaints", "surveys", "invitations", "campaigns", "campaigns_opened",
    "campaigns_clicked", "events", "referrals", "customers",
)  # fmt: skip
"""The tables that are counted; who has a row in none of them counts nowhere."""

MONEY = ("revenue", "returned", "contact_cost", "spend_at_risk", "spend_churned")


@dataclass(frozen=True)
class Weekly:
    """`sums[name]` (groups, weeks): counted things at each week's end; NaN where nothing was on record yet.
    `groups`: ALL first, then the segments. `weeks` are day numbers, ascending. `tables` are the shop's."""

    windows: Windows
    weeks: NDArray[np.int64]
    groups: tuple[str, ...]
    sums: Mapping[str, Floats]
    tables: tuple[str, ...]

    def values(self, kpi: Kpi) -> tuple[Floats, Floats, Floats]:
        """Value and 90 % interval, (groups, weeks) each."""
        above = self.sums[kpi.above]
        if kpi.below is None:
            half = np.full(above.shape, np.nan) if kpi.kind == "money" else Z90 * np.sqrt(np.abs(above))
            return above, np.maximum(above - half, 0.0), above + half
        below = self.sums[kpi.below]
        whole = np.where(below > 0, below, np.nan)
        value = above / whole
        if kpi.kind == "share":
            pairs = [_wilson(k, n) for k, n in zip(above.ravel(), whole.ravel(), strict=True)]
            low, high = np.array(pairs).T.reshape(2, *above.shape)
            return value, low, high
        counted = kpi.above not in MONEY and kpi.above != "score"
        half = Z90 * np.sqrt(np.abs(above)) / whole if counted else np.full(above.shape, np.nan)
        return value, value - half, value + half

    def table(self) -> pd.DataFrame:
        """Tidy: week (its last day), group, kpi, value, low, high, above, below; money in major units."""
        pieces = []
        for kpi in self.present():
            value, low, high = self.values(kpi)
            below = self.sums[kpi.below] if kpi.below else np.full(value.shape, np.nan)
            for g, group in enumerate(self.groups):
                pieces.append(
                    pd.DataFrame(
                        {
                            "week": self.weeks.astype("datetime64[D]").astype("datetime64[s]"), "group": group,
                            "kpi": kpi.name, "value": value[g], "low": low[g], "high": high[g],
                            "above": self.sums[kpi.above][g], "below": below[g],
                        }
                    )
                )  # fmt: skip
        return pd.concat(pieces, ignore_index=True)

    def present(self) -> tuple[Kpi, ...]:
        """The figures whose tables the shop keeps."""
        return tuple(kpi for kpi in KPIS if set(kpi.tables) <= set(self.tables))

    def missing(self) -> dict[str, tuple[str, ...]]:
        """The others, and the tables they need."""
        return {k.name: tuple(t for t in k.tables if t not in self.tables) for k in KPIS if k not in self.present()}

    def latest(self, language: str = "en") -> pd.DataFrame:
        """The latest week beside a test of change, for all customers: kpi, label, value, low, high, before, change,
        p and verdict ("up", "down", "no change beyond noise", "too early")."""
        rows = []
        for kpi in self.present():
            value, low, high = (part[0, -1] for part in self.values(kpi))
            rows.append((kpi.name, kpi.label[language], value, low, high, *self.change(kpi)))
        return pd.DataFrame(rows, columns=["kpi", "label", "value", "low", "high", "recent", "before", "p", "verdict"])

    def change(self, kpi: Kpi, weeks: int = 4, back: int | None = None) -> tuple[float, float, float, str]:
        """The last `weeks` weeks pooled against as many before them (or those `back` weeks earlier): recent,
        before, the probability of so large a difference without a change, and a verdict at 10 %."""
        if kpi.overlaps:
            weeks, back = 1, -(-self.windows.horizon // WEEK)
        back = weeks if back is None else back
        here, there = self._pooled(kpi, 0, weeks), self._pooled(kpi, back, weeks)
        if here is None or there is None:
            return np.nan, np.nan, np.nan, "too early"
        recent, before = (a / b for a, b in (here, there))
        error = np.sqrt(self._dispersion(kpi)) * np.sqrt(self._variance(kpi, here, there))
        p = float(2 * stats.norm.sf(abs(recent - before) / error)) if error > 0 else float("nan")
        if not p < 0.10:
            return recent, before, p, "no change beyond noise"
        return recent, before, p, "up" if recent > before else "down"

    def _pooled(self, kpi: Kpi, back: int, weeks: int) -> tuple[float, float] | None:
        end = len(self.weeks) - back
        if end - weeks < 0:
            return None
        above = float(self.sums[kpi.above][0, end - weeks : end].sum())
        below = float(weeks if kpi.below is None else self.sums[kpi.below][0, end - weeks : end].sum())
        return None if np.isnan(above) or not below > 0 else (above, below)

    def _variance(self, kpi: Kpi, here: tuple[float, float], there: tuple[float, float]) -> float:
        """Of the difference: binomial for shares, Poisson for the rest, under one common rate."""
        rate = (here[0] + there[0]) / (here[1] + there[1])
        spread = rate * (1 - rate) if kpi.kind == "share" else abs(rate)
        return spread * (1 / here[1] + 1 / there[1])

    def _dispersion(self, kpi: Kpi) -> float:
        """Pearson's chi square per degree of freedom of the weeks around their common rate, at least 1."""
        above = self.sums[kpi.above][0]
        below = np.ones_like(above) if kpi.below is None else self.sums[kpi.below][0]
        known = ~np.isnan(above) & (below > 0)
        a, b = above[known], below[known]
        if len(a) < 3 or a.sum() <= 0:
            return 1.0
        rate = a.sum() / b.sum()
        spread = rate * (1 - rate) if kpi.kind == "share" else rate
        return max(1.0, float(((a - rate * b) ** 2 / (spread * b)).sum() / (len(a) - 1))) if spread > 0 else 1.0


def _wilson(k: float, n: float) -> tuple[float, float]:
    return wilson(k, n) if n > 0 else (float("nan"), float("nan"))


def weekly(store: HistoryStore, as_of: int, windows: Windows, *, weeks: int = 26, by: str | None = None) -> Weekly:
    """The weeks that end on `as_of` and as many before it as the log has, at most `weeks`. `by` is a word of the
    customers table (region, channel, tier, ...) whose segments are counted apart; customers without it are the
    group "unknown"."""
    ends = [as_of - WEEK * k for k in range(weeks) if as_of - WEEK * (k + 1) >= store.first_day - 1][::-1] or [as_of]
    counters, held = _counters(windows), _Sums(len(ends))
    for h in histories(store, ends, windows, tables=TABLES):
        group = h.word(by, table="customers") if by else np.full(len(h), None, object)
        code = held.codes(group if by else None, len(h))
        with np.errstate(invalid="ignore", divide="ignore"):
            for name, counter in counters.items():
                held.add(name, code, h.column, counter(h))
    sums = {name: held.total(name) / (10**store.exponent if name in MONEY else 1) for name in counters}
    if not np.nansum(sums["invitations"][0]) > np.nansum(sums["answers"][0]):  # a table of answers only: who was asked?
        sums["invitations"] = np.full_like(sums["invitations"], np.nan)
    order = [0, *(1 + np.argsort(held.names[1:]))] if held.names[1:] else [0]
    return Weekly(
        windows, np.asarray(ends, np.int64), tuple(held.names[k] for k in order),
        {name: values[order] for name, values in sums.items()}, store.tables,
    )  # fmt: skip


class _Sums:
    """Sums by group and week that grow as groups are met; what is absent for everybody stays absent."""

    def __init__(self, weeks: int) -> None:
        self.weeks, self.names = weeks, [ALL]
        self._sums: dict[str, Floats] = {}
        self._known: dict[str, Floats] = {}

    def codes(self, group: Objects | None, rows: int) -> NDArray[np.int64]:
        """The group of each row as its place in `names` (all 0 without groups)."""
        if group is None:
            return np.zeros(rows, np.int64)
        words, place = np.unique([("unknown" if one is None else str(one)) for one in group], return_inverse=True)
        for word in words:
            if word not in self.names[1:]:
                self.names.append(str(word))
        return np.array([1 + self.names[1:].index(str(word)) for word in words], np.int64)[place]

    def add(self, name: str, code: NDArray[np.int64], column: NDArray[np.int64], values: Floats) -> None:
        known = ~np.isnan(values)
        for held, weight in ((self._sums, np.nan_to_num(values)), (self._known, known.astype(np.float64))):
            grid = np.zeros((len(self.names), self.weeks))
            before = held.get(name)
            if before is not None:
                grid[: len(before)] += before
            grid[0] += np.bincount(column, weight, self.weeks)
            if len(self.names) > 1:
                cell = code * self.weeks + column
                grid += np.bincount(cell, weight, grid.size).reshape(grid.shape)
            held[name] = grid

    def total(self, name: str) -> Floats:
        if name not in self._sums:
            return np.full((len(self.names), self.weeks), np.nan)
        sums, known = (self._full(held[name]) for held in (self._sums, self._known))
        return np.where(known > 0, sums, np.nan)

    def _full(self, grid: Floats) -> Floats:
        full = np.zeros((len(self.names), self.weeks))
        full[: len(grid)] = grid
        return full


# -- retention ---------------------------------------------------------------------------------------------------------


def triangle(store: HistoryStore, as_of: int, *, period: int = 28) -> pd.DataFrame:
    """Retention by cohort: of the customers who first bought in a period, the share that bought in each later one, with
    Wilson's 90 % interval. Columns: cohort (its first day), age in periods, customers, bought, share, low, high. Only
    periods that have ended are shown. A customer's periods are counted from the cohort's first day, so that a column of
    the triangle is one span of the calendar for each cohort."""
    first_day = store.first_day
    periods = (as_of - first_day + 1) // period
    sizes, bought = np.zeros(periods, np.int64), np.zeros((periods, periods), np.int64)
    for h in histories(store, [as_of], Windows(1, 1), at="seen", tables=("purchases",)):
        cohort = np.full(len(h.block.customers), -1, np.int64)
        cohort[h.who] = (h.first("day").astype(np.int64) - first_day) // period
        table = h.block.tables["purchases"]
        when = (table.day - first_day) // period
        kept = (when < periods) & (cohort[table.who] >= 0)
        pair = np.unique(table.who[kept] * periods + when[kept])
        who, when = pair // periods, pair % periods
        np.add.at(bought, (cohort[who], when - cohort[who]), 1)
        np.add.at(sizes, cohort[h.who][cohort[h.who] < periods], 1)
    rows = []
    for c in range(periods):
        start = to_date(first_day + period * c)
        for age in range(periods - c if sizes[c] else 0):
            n, k = int(sizes[c]), int(bought[c, age])
            rows.append((start, age, n, k, k / n, *wilson(k, n)))
    return pd.DataFrame(rows, columns=["cohort", "age", "customers", "bought", "share", "low", "high"])


def compare_cohorts(table: pd.DataFrame, age: int, split: int | None = None) -> tuple[float, float, float, str]:
    """Retention at an age, the later half of the cohorts against the earlier half: both shares, p (two-proportion test,
    widened by the cohorts' own dispersion) and a verdict at 10 %."""
    at = table[table["age"] == age].sort_values("cohort")
    middle = len(at) // 2 if split is None else split
    early, late = at.iloc[:middle], at.iloc[middle:]
    n0, n1 = float(early["customers"].sum()), float(late["customers"].sum())
    if not n0 or not n1:
        return np.nan, np.nan, np.nan, "too early"
    p0, p1 = early["bought"].sum() / n0, late["bought"].sum() / n1
    rate = float(at["bought"].sum() / (n0 + n1))
    spread = rate * (1 - rate)
    chi = float(((at["bought"] - rate * at["customers"]) ** 2 / (spread * at["customers"])).sum()) if spread else 0.0
    error = np.sqrt(max(1.0, chi / max(len(at) - 1, 1)) * spread * (1 / n0 + 1 / n1))
    p = float(2 * stats.norm.sf(abs(p1 - p0) / error)) if error > 0 else float("nan")
    verdict = "no change beyond noise" if not p < 0.10 else ("up" if p1 > p0 else "down")
    return float(p0), float(p1), p, verdict
