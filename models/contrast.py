"""Churned against retained: in what do they differ, what remains when like is compared with like, and what they say.

A difference of means has no size of its own, so each feature's is given in standard deviations (Hedges' g) with an
interval, and as a lift. Half of the differences between churned and retained customers only say that the churned
were younger, smaller customers; the matched contrast compares within cells of purchase days, tenure and value
(coarsened exact matching: Iacus, King and Porro, Political Analysis 20, 2012), weighing cells by the churned, so
what remains is not that. Neither is a cause: a contrast shows where to look.

Causes are inferred per customer elsewhere (`models.reasons`); here they are held against what customers stated when
they left, and counted by whose job the remedy is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.history import Floats

Objects: TypeAlias = NDArray[np.object_]
Bools: TypeAlias = NDArray[np.bool_]
Z90 = 1.6448536269514722

COLUMNS = ("feature", "churned", "retained", "lift", "effect", "low", "high", "churned_n", "retained_n")


def contrast(columns: Mapping[str, Floats], churned: Bools) -> pd.DataFrame:
    """One row a feature: means of the churned and of the retained, lift (their ratio), effect (Hedges' g, churned less
    retained) with a 90 % interval, and how many of each had a value. Strongest effect first; features without spread or
    with fewer than two values on a side are left out.

    Churned 1, 2, 3 and retained 3, 4, 5: means 2 and 4, pooled deviation 1, d = -2, g = -2 x (1 - 3/15) = -1.6;
    Hedges and Olkin (1985): variance 6/9 + g^2 / 12."""
    rows = [_effect(name, values, churned) for name, values in columns.items()]
    return _sorted([row for row in rows if row is not None])


def _effect(name: str, values: Floats, churned: Bools) -> tuple[object, ...] | None:
    known = ~np.isnan(values)
    a, b = values[known & churned], values[known & ~churned]
    n1, n0 = len(a), len(b)
    if min(n1, n0) < 2:
        return None
    pooled = np.sqrt(((n1 - 1) * a.var(ddof=1) + (n0 - 1) * b.var(ddof=1)) / (n1 + n0 - 2))
    if not pooled > 0:
        return None
    g = (a.mean() - b.mean()) / pooled * (1 - 3 / (4 * (n1 + n0) - 9))
    half = Z90 * np.sqrt((n1 + n0) / (n1 * n0) + g * g / (2 * (n1 + n0)))
    lift = a.mean() / b.mean() if b.mean() else np.nan
    return name, a.mean(), b.mean(), lift, g, g - half, g + half, n1, n0


def matched(columns: Mapping[str, Floats], churned: Bools, cell: NDArray[np.int64]) -> pd.DataFrame:
    """The same within cells, each weighing as its churned do; cells without both kinds are left out.

    `effect` is the weighted mean difference over the deviation of all with a value, its interval from the cells' own
    variances. `churned_n` and `retained_n` are the customers that were compared.
    """
    rows = [_within(name, values, churned, cell) for name, values in columns.items()]
    return _sorted([row for row in rows if row is not None])


def _within(name: str, values: Floats, churned: Bools, cell: NDArray[np.int64]) -> tuple[object, ...] | None:
    known = ~np.isnan(values)
    x, gone, where = values[known], churned[known], cell[known]
    size = int(where.max(initial=0)) + 1
    n1, n0 = (np.bincount(where[side], minlength=size).astype(float) for side in (gone, ~gone))
    both = (n1 > 1) & (n0 > 1)
    deviation = x.std(ddof=1) if len(x) > 1 else 0.0
    if not both.any() or not deviation > 0:
        return None
    m1, v1 = _moments(x[gone], where[gone], n1)
    m0, v0 = _moments(x[~gone], where[~gone], n0)
    weight = np.where(both, n1, 0.0) / n1[both].sum()
    gap = float((weight * np.where(both, m1 - m0, 0.0)).sum())
    error = np.sqrt((weight**2 * np.where(both, v1 / np.maximum(n1, 1) + v0 / np.maximum(n0, 1), 0.0)).sum())
    low, high = (gap - Z90 * error) / deviation, (gap + Z90 * error) / deviation
    ours = float((weight * np.where(both, m1, 0.0)).sum())
    lift = ours / (ours - gap) if ours != gap else np.nan
    return name, ours, ours - gap, lift, gap / deviation, low, high, int(n1[both].sum()), int(n0[both].sum())


def _moments(x: Floats, where: NDArray[np.int64], n: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of each cell (0 where it has too few)."""
    mean = np.bincount(where, x, len(n)) / np.maximum(n, 1)
    square = np.bincount(where, (x - mean[where]) ** 2, len(n))
    return mean, square / np.maximum(n - 1, 1)


def _sorted(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("effect", key=lambda effect: -effect.abs(), kind="stable", ignore_index=True)


def cells(frequency: Floats, tenure: Floats, tier: NDArray[np.int8]) -> NDArray[np.int64]:
    """Like with like: purchase days (1, 2, 3 to 5, 6 and more) x thirds of tenure x value tier, a number a cell."""
    bands = np.searchsorted([2, 3, 6], np.nan_to_num(frequency), side="right")
    thirds = np.searchsorted(np.nanquantile(tenure, [1 / 3, 2 / 3]), tenure) if len(tenure) else np.zeros(0, np.int64)
    return np.asarray((bands * 3 + thirds) * 8 + tier.astype(np.int64), np.int64)


# -- causes ------------------------------------------------------------------------------------------------------------

STATED: Mapping[str, tuple[str, ...]] = {
    "product": ("product", "quality", "defect", "产品", "质量"),
    "service": ("service", "delivery", "wait", "staff", "服务", "物流", "配送", "态度"),
    "price": ("price", "expensive", "cost", "价格", "贵"),
    "competition": ("compet", "other shop", "elsewhere", "竞争", "别家", "其他商家"),
    "market": ("market", "economy", "market-wide", "市场"),
    "own life cycle": ("life cycle", "moved", "no need", "no longer", "自身", "搬家", "不再需要"),
}
"""Words by which a stated reason is put into the closed set of causes; the first cause that has one of them."""

PRIOR: Mapping[str, float] = {"product": 0.40, "service": 0.30}
"""Shares that the trade quotes; printed beside the shop's own, never mixed into them."""

REMEDIES: Mapping[str, Mapping[str, str]] = {
    "product": {
        "owner": "buying",
        "en": "fix or replace the product; tell those who complained",
        "zh-CN": "改进或替换产品，告知投诉客户",
    },
    "service": {
        "owner": "service",
        "en": "answer within a day; call those waiting",
        "zh-CN": "一天内答复，主动联系等待中的客户",
    },
    "price": {
        "owner": "pricing",
        "en": "explain or soften the rise for the price-sensitive",
        "zh-CN": "对价格敏感客户说明或缓和涨价",
    },
    "competition": {
        "owner": "category",
        "en": "compare the range and offer of the lost category",
        "zh-CN": "比较流失品类的选品与优惠",
    },
    "market": {
        "owner": "management",
        "en": "nothing personal: plan for a smaller season",
        "zh-CN": "整体市场因素：按淡季计划",
    },
    "own life cycle": {
        "owner": "retention",
        "en": "let go or remind; no discount",
        "zh-CN": "放手或提醒，不打折",
    },
    "unknown": {
        "owner": "retention",
        "en": "ask: an exit survey",
        "zh-CN": "进行流失调查",
    },
}
"""Root cause, who owns it, what to do."""


def read_stated(reasons: Objects) -> Objects:
    """Stated reasons as causes; None where nothing was stated, "unknown" where no word is known."""
    known = {word: _cause_of(str(word)) for word in {one for one in reasons if one is not None}}
    return np.array([None if one is None else known[one] for one in reasons], np.object_)


def _cause_of(reason: str) -> str:
    text = reason.lower()
    return next((cause for cause, words in STATED.items() if any(word in text for word in words)), "unknown")


def confusion(stated: Objects, inferred: Objects) -> tuple[pd.DataFrame, float, float]:
    """Stated against inferred causes of those with both: a table (rows stated, columns inferred), the share that
    agrees and Cohen's kappa (agreement beyond chance; NaN where chance alone would agree)."""
    both = ~(pd.isna(stated) | pd.isna(inferred))
    a, b = stated[both], inferred[both]
    table = pd.crosstab(pd.Series(a, name="stated"), pd.Series(b, name="inferred"))
    if not len(a):
        return table, float("nan"), float("nan")
    agree = float((a == b).mean())
    names = sorted({*a, *b})
    chance = sum(float((a == name).mean() * (b == name).mean()) for name in names)
    return table, agree, (agree - chance) / (1 - chance) if chance < 1 else float("nan")


def root_causes(causes: Objects, language: str = "en") -> pd.DataFrame:
    """Customers by cause with the share, the share the trade quotes, whose job it is, and what to do."""
    names, counts = np.unique(np.array([str(one) for one in causes], dtype=object), return_counts=True)
    rows = [
        (
            name,
            int(count),
            count / len(causes),
            PRIOR.get(name, np.nan),
            REMEDIES[name]["owner"],
            REMEDIES[name][language],
        )
        for name, count in sorted(zip(names, counts, strict=True), key=lambda pair: (-pair[1], pair[0]))
    ]
    return pd.DataFrame(rows, columns=["cause", "customers", "share", "quoted", "owner", "remedy"])
