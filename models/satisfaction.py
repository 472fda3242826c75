"""Satisfaction and loyalty: what customers said, what stands in for it where they said nothing, and what it is worth.

A survey answer is the only measurement; it is few people's, and the angry and the delighted answer more often than
the rest, so every mean stands beside its number of answers and the share of invitations that were answered. Where
there is no recent answer, a *proxy* made of complaints, returns and late deliveries takes its place, always called
one, with its agreement with real answers wherever there are any. Where a shop keeps none of these, satisfaction is
unknown; repurchase alone is loyalty, and calling it satisfaction would make every happy one-time buyer unhappy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from features.history import Floats
from features.lifecycle.passes import histories
from features.store import HistoryStore
from features.windows import Windows

Objects: TypeAlias = NDArray[np.object_]
Z90 = 1.6448536269514722

FEATURES = (
    "score_last", "score_mean", "score_trend", "surveys_answered", "days_since_survey", "survey_response",
    "complaints_recent_4h", "open_complaints", "complaint_rate", "return_share", "return_days_recent_4h",
    "late_deliveries", "delivery_delay_last", "frequency", "recency", "tenure", "gap_variation", "overdue_ratio",
    "active_parts_4h", "referrals_made",
)  # fmt: skip
"""Features that the pages on satisfaction read."""

SURVEY, PROXY = "survey", "proxy"
SATISFIED, DISSATISFIED = 0.7, 0.4
"""From 0.7 of the scale on a customer counts as satisfied, below 0.4 as dissatisfied: 4 of 5 and 2 of 5 lie outside the
middle, as do the promoters' 9 and the detractors' 3 of 10."""

WEIGHTS = {
    "open_complaints": -0.35,
    "complaints_recent_4h": -0.20,
    "return_share": -0.50,
    "late_deliveries": -0.30,
}
"""Of the proxy, from a neutral 0.75: an open complaint, a recent one, everything returned, everything late. Judgements;
`agreement` says how far they hold in a shop that also asks."""
NEUTRAL = 0.75


# -- per customer ------------------------------------------------------------------------------------------------------


def proxy(columns: Mapping[str, Floats]) -> Floats:
    """The stand-in for satisfaction, 0 to 1: neutral plus the weights times what went wrong (each at most 1).

    0.75 with one open complaint (which is a recent one too) is 0.75 - .35 - .20 = .20. NaN where not one of the
    four is on record."""
    parts = [weight * np.minimum(columns[name], 1.0) for name, weight in WEIGHTS.items()]
    known = np.logical_or.reduce([~np.isnan(part) for part in parts])
    value = NEUTRAL + np.sum([np.nan_to_num(part) for part in parts], axis=0)
    return np.where(known, np.clip(value, 0.0, 1.0), np.nan)


@dataclass(frozen=True)
class Satisfaction:
    """Each customer's satisfaction 0 to 1 (n), and where it is from: SURVEY, PROXY or None."""

    value: Floats
    source: Objects

    @property
    def coverage(self) -> dict[str, float]:
        """Share of customers by source."""
        n = max(len(self.source), 1)
        return {name: float((self.source == name).sum()) / n for name in (SURVEY, PROXY)}


def known(columns: Mapping[str, Floats], fresh: float) -> Satisfaction:
    """The latest answer where it is at most `fresh` days old, else the proxy, else unknown."""
    answer, age, stand_in = columns["score_last"], columns["days_since_survey"], proxy(columns)
    with np.errstate(invalid="ignore"):
        asked = ~np.isnan(answer) & (age <= fresh)
    source = np.full(len(answer), None, np.object_)
    source[~np.isnan(stand_in)] = PROXY
    source[asked] = SURVEY
    return Satisfaction(np.where(asked, answer, stand_in), source)


@dataclass(frozen=True)
class Agreement:
    """The proxy beside real answers: customers who have both, rank correlation (Spearman) with a 90 % interval, and
    the chance that a dissatisfied customer has the lower proxy of two (AUC; .5 is no information; NaN with one kind
    only)."""

    customers: int
    correlation: float
    low: float
    high: float
    auc: float


def agreement(stand_in: Floats, answer: Floats) -> Agreement:
    """How far the proxy agrees with the latest answers. NaN below 10 customers with both, or where either never
    varies.
    """
    both = ~np.isnan(stand_in) & ~np.isnan(answer)
    a, b = stand_in[both], answer[both]
    n = int(both.sum())
    if n < 10 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Agreement(n, np.nan, np.nan, np.nan, np.nan)
    rho = float(stats.spearmanr(a, b).statistic)
    half = Z90 * np.sqrt((1 + rho**2 / 2) / (n - 3))  # Bonett and Wright, Psychometrika 65 (2000)
    z = np.arctanh(np.clip(rho, -0.999999, 0.999999))
    return Agreement(n, rho, float(np.tanh(z - half)), float(np.tanh(z + half)), _auc(-a, b < DISSATISFIED))


def _auc(score: Floats, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive has the higher score; ties count half. NaN where one kind is missing."""
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if not n1 or not n0:
        return float("nan")
    rank = stats.rankdata(score)
    return float((rank[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


# -- loyalty -----------------------------------------------------------------------------------------------------------


def loyalty(columns: Mapping[str, Floats], satisfied: Floats) -> pd.DataFrame:
    """The loyalty index, 0 to 1, and its parts: the geometric mean of those that are known (at least `repeat` is).

    repeat        1 - 1 / purchase days: 0 after one, .9 after ten
    regular       1 / (1 + variation of the gaps): 1 is a clock
    present       1 while within the own usual gap, falling to 0 at twice that gap
    lasting       days as a customer / (days + a year)
    satisfaction  as known
    A customer with 10 visits like a clock, on time, of one year, fully satisfied: (.9 x 1 x 1 x .5 x 1)^(1/5) = .852.
    """
    overdue = columns["overdue_ratio"]
    parts = pd.DataFrame(
        {
            "repeat": 1 - 1 / np.where(columns["frequency"] > 0, columns["frequency"], np.nan),
            "regular": 1 / (1 + columns["gap_variation"]),
            "present": np.clip(2 - overdue, 0.0, 1.0),
            "lasting": columns["tenure"] / (columns["tenure"] + 365),
            "satisfaction": satisfied,
        }
    )
    with np.errstate(divide="ignore"):
        logs = np.log(parts.to_numpy())
    index = np.exp(_row_means(logs))
    return parts.assign(loyalty=np.where(parts["repeat"].isna(), np.nan, index), known=parts.notna().sum(axis=1))


def _row_means(values: Floats) -> Floats:
    """Mean of each row's known values (minus infinity counts); NaN where none is known."""
    there = ~np.isnan(values)
    sums = np.where(there, values, 0.0).sum(axis=1)
    mean: Floats = np.where(there.any(axis=1), sums / np.maximum(there.sum(axis=1), 1), np.nan)
    return mean


def becoming_loyal(frequency: Floats, recency: Floats, later: Floats, horizon: int, least: int = 3) -> pd.DataFrame:
    """Who becomes loyal: of customers with one or two purchase days at an earlier cutoff, the share that has `least` or
    more one horizon `later`, by purchase days and by how long they had been silent (in quarters of the horizon), with
    Wilson's 90 % interval. The cell of today's customer is his forecast."""
    cell = np.minimum(np.floor(4 * recency / horizon), 8)
    rows = []
    for days in range(1, least):
        for quarter in range(9):
            here = (frequency == days) & (cell == quarter)
            n, k = int(here.sum()), int((later[here] >= least).sum())
            if n:
                rows.append((days, quarter, n, k / n, *wilson(k, n)))
    return pd.DataFrame(rows, columns=["purchase_days", "silent_quarters", "customers", "share", "low", "high"])


def wilson(k: float, n: float) -> tuple[float, float]:
    """Wilson's 90 % interval of a share k/n (J. American Statistical Association 22, 1927); NaN for n = 0."""
    if n == 0:
        return float("nan"), float("nan")
    p, z = k / n, Z90
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float((middle - half) / (1 + z * z / n)), float((middle + half) / (1 + z * z / n))


# -- value x satisfaction ----------------------------------------------------------------------------------------------

QUADRANTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "HH": {
        "label": {"en": "high value, satisfied", "zh-CN": "高价值高满意"},
        "strategy": {
            "en": "personalise; VIP offers, events, fast lane; community; no discounts",
            "zh-CN": "个性化服务；VIP专属优惠、活动、快速通道；社区；不必打折",
        },
    },
    "LH": {
        "label": {"en": "lower value, satisfied", "zh-CN": "低价值高满意"},
        "strategy": {
            "en": "grow: targeted promotion, differentiated products, raise frequency",
            "zh-CN": "培养：定向推广、差异化产品、提高购买频次",
        },
    },
    "HL": {
        "label": {"en": "high value, dissatisfied: may want to leave", "zh-CN": "高价值低满意：有流失意愿"},
        "strategy": {
            "en": "fix the service first, by a person; hear the complaint, meet the special need",
            "zh-CN": "先解决服务问题，人工沟通；听取投诉建议，满足特殊需求",
        },
    },
    "LL": {
        "label": {"en": "lower value, dissatisfied", "zh-CN": "低价值低满意"},
        "strategy": {
            "en": "recover or prevent by a cheap channel, or let go",
            "zh-CN": "用低成本渠道挽回或预防流失，或放弃",
        },
    },
}
"""Value first, satisfaction second."""


def quadrants(high_value: NDArray[np.bool_], satisfied: Floats, *, edge: float = 0.6) -> Objects:
    """HH, LH, HL or LL (value first): satisfied from `edge` on. None where satisfaction is unknown."""
    names = np.array(["LL", "LH", "HL", "HH"], np.object_)
    told = names[2 * np.asarray(high_value, np.int64) + (satisfied >= edge)]
    told[np.isnan(satisfied)] = None
    return np.asarray(told, np.object_)


# -- what it is worth --------------------------------------------------------------------------------------------------


def link(score: Floats, bought: Floats, segment: Objects, least: int = 30) -> pd.DataFrame:
    """Satisfaction at a cutoff against repurchase in the horizon after it, for all and by segment.

    One row a segment: customers with a score, repurchase of the satisfied and of the dissatisfied with their
    difference, and the least-squares slope: points of repurchase per tenth of the scale, with a 90 % interval that
    does not assume equal variances (HC1). It is an association: the contented may have been the buyers anyway.
    Segments with fewer than `least` scores are left out."""
    rows = [_link("all", score, bought, np.ones(len(score), bool), least)]
    names = sorted({one for one in segment if one is not None})
    rows += [_link(str(name), score, bought, np.asarray(segment == name, bool), least) for name in names]
    columns = ["segment", "customers", "satisfied", "dissatisfied", "difference", "slope", "low", "high"]
    return pd.DataFrame([row for row in rows if row is not None], columns=columns)


def _link(
    name: str, score: Floats, bought: Floats, mask: NDArray[np.bool_], least: int
) -> tuple[str, int, float, float, float, float, float, float] | None:
    mask = mask & ~np.isnan(score) & ~np.isnan(bought)
    x, y = score[mask], bought[mask]
    if len(x) < least or np.ptp(x) == 0:
        return None
    high, low = _share(y[x >= SATISFIED]), _share(y[x < DISSATISFIED])
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    residual = y - y.mean() - slope * centred
    error = np.sqrt((centred**2 * residual**2).sum() * len(x) / max(len(x) - 2, 1)) / (centred**2).sum()
    half = Z90 * error / 10
    return name, len(x), high, low, high - low, slope / 10, slope / 10 - half, slope / 10 + half


def _share(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


# -- the survey report -------------------------------------------------------------------------------------------------


def answers(store: HistoryStore, as_of: int) -> pd.DataFrame:
    """Every answer's kind and channel, counted: kind, channel, answers, mean score (0 to 1) with a 90 % interval,
    share satisfied and dissatisfied, invitations and response share (NaN where invitations are not recorded, or
    none of them went unanswered, as in a table that holds answers only). For the kind nps `net` is promoters (9 and
    10 of 10) less detractors (0 to 6). A mean that differs by channel is a mode effect or other people; the table
    does not tell which."""
    columns = [
        "kind",
        "channel",
        "answers",
        "mean",
        "low",
        "high",
        "satisfied",
        "dissatisfied",
        "net",
        "invited",
        "response",
    ]
    if "surveys" not in store.tables:
        return pd.DataFrame(columns=columns)
    told, asked = _scores(store, as_of), _invited(store, as_of)
    rows = []
    for (kind, channel), score in told.groupby(["kind", "channel"], sort=True)["score"]:
        values = score.to_numpy(np.float64)
        half = Z90 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        net = (values >= 0.9).mean() - (values <= 0.6).mean() if kind == "nps" else np.nan
        invited = asked.get((str(kind), str(channel)), np.nan)
        mean = values.mean()
        rows.append(
            (kind, channel, len(values), mean, mean - half, mean + half, (values >= SATISFIED).mean(),
             (values < DISSATISFIED).mean(), net, invited, len(values) / invited if invited > len(values) else np.nan)
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _scores(store: HistoryStore, as_of: int) -> pd.DataFrame:
    """One row an answer with a score: kind, channel, score."""
    pieces = [pd.DataFrame({"kind": [], "channel": [], "score": []})]
    for h in histories(store, [as_of], Windows(1, 1), tables=("surveys",)):
        if not h.has("surveys", "score"):
            continue
        table = h.block.tables["surveys"]
        there = table.measures["score_known"] > 0
        words = {name: _spelt(table.words, name, there) for name in ("kind", "channel")}
        pieces.append(pd.DataFrame({**words, "score": table.measures["score"][there] / 1e6}))
    return pd.concat(pieces, ignore_index=True)


def _invited(store: HistoryStore, as_of: int) -> dict[tuple[str, str], int]:
    if "invitations" not in store.tables:
        return {}
    counts: dict[tuple[str, str], int] = {}
    for h in histories(store, [as_of], Windows(1, 1), tables=("invitations",)):
        table = h.block.tables["invitations"]
        every = np.ones(len(table.day), bool)
        pairs = zip(_spelt(table.words, "kind", every), _spelt(table.words, "channel", every), strict=True)
        for pair in pairs:
            counts[pair] = counts.get(pair, 0) + 1
    return counts


def _spelt(words: Mapping[str, object], name: str, rows: NDArray[np.bool_]) -> Sequence[str]:
    """The words of some rows; "csat" for a kind and "unknown" for a channel that is absent."""
    absent = "csat" if name == "kind" else "unknown"
    if name not in words:
        return [absent] * int(rows.sum())
    column = words[name]
    spelt = np.append(column.words, absent)[column.code[rows]]  # type: ignore[attr-defined]
    return [str(word) for word in spelt]
