"""Segments: by behaviour, value, need, place, age and attitude; each says whom it could not place.

Rules come first (recency-frequency-money scores, value x need x preference); clusters come second and have to prove
that they are the same clusters a month later: their stability is the adjusted Rand index between the clustering of
the same customers on two days. Nothing is imputed: a customer without an answer to an attitude question is
"unknown" there, and no demographic column speaks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.hashing import hash_ids
from features.history import Floats, History
from features.lifecycle.passes import gather, histories
from features.store import HistoryStore
from features.windows import Windows
from models.satisfaction import wilson

Objects: TypeAlias = NDArray[np.object_]
Ints: TypeAlias = NDArray[np.int64]

FEATURES = (
    "recency", "frequency", "spend_2h", "ticket_mean", "gap_variation", "categories", "category_entropy",
    "mix_shift_1h", "discount_share", "visit_days_1h", "favourite_category_share",
)  # fmt: skip
"""Features that the segmentations read."""

CLUSTERED = ("recency", "frequency", "spend_2h", "ticket_mean", "categories")
"""What clusters are made of, on the logarithm."""


# -- recency, frequency, money -----------------------------------------------------------------------------------------


def fifths(values: Floats, *, low_is_good: bool = False) -> Floats:
    """Scores 1 to 5 by fifths of those with a value (5 is good), equal values alike; NaN where there is none.

    Of 1..10 the scores are 1 1 2 2 3 3 4 4 5 5.
    """
    known = ~np.isnan(values)
    score = np.full(len(values), np.nan)
    if known.any():
        signed = -values[known] if low_is_good else values[known]
        order = np.sort(signed)
        below = (np.searchsorted(order, signed, side="left") + np.searchsorted(order, signed, side="right")) / 2
        score[known] = np.minimum(np.floor(5 * below / len(order)) + 1, 5)
    return score


RFM: tuple[tuple[str, str, int, int, int, int], ...] = (
    ("champions", "重要价值客户", 4, 5, 4, 5),
    ("loyal", "忠诚客户", 3, 5, 4, 5),
    ("slipping champions", "重要挽留客户", 1, 2, 4, 5),
    ("new", "新客户", 4, 5, 1, 2),
    ("promising", "潜力客户", 3, 5, 1, 3),
    ("fading", "一般挽留客户", 1, 2, 2, 3),
    ("asleep", "沉睡客户", 1, 2, 1, 1),
)
"""Name, name in Chinese, and from where to where recency and the mean of frequency and money may go; first that
fits.
"""


def rfm(recency: Floats, frequency: Floats, money: Floats) -> pd.DataFrame:
    """Scores r, f, m (1 to 5) and the segment of each customer; None where he has not bought."""
    r, f, m = fifths(recency, low_is_good=True), fifths(frequency), fifths(money)
    rows = np.isnan(m)
    strength = np.floor((f + np.where(rows, f, m)) / 2 + 0.5)
    segment = np.full(len(r), None, np.object_)
    for name, _, r0, r1, s0, s1 in reversed(RFM):
        segment[(r >= r0) & (r <= r1) & (strength >= s0) & (strength <= s1)] = name
    return pd.DataFrame({"r": r, "f": f, "m": m, "segment": segment})


# -- value, need, preference -------------------------------------------------------------------------------------------

CHANGED = 0.15
"""A Jensen-Shannon divergence of the category mix beyond this (of at most .69) is a change of need."""


def value_need_preference(tier: Objects, favourite: Objects, shift: Floats) -> Objects:
    """Value tier, favourite category and whether the need changed, in one name; "unknown" stands where one is."""
    need = np.where(np.isnan(shift), "unknown", np.where(shift > CHANGED, "changing", "steady"))
    return np.array(
        [f"{t or 'unknown'} / {c or 'unknown'} / {n}" for t, c, n in zip(tier, favourite, need, strict=True)],
        np.object_,
    )


def favourites(store: HistoryStore, as_of: int, windows: Windows) -> dict[str, str]:
    """The category each customer bought most lines of, up to a day (of equal ones the first in the alphabet)."""
    found: dict[str, str] = {}
    if "lines" not in store.tables:
        return found
    for h in histories(store, [as_of], windows, at="seen", tables=("purchases", "lines")):
        if h.has("lines", "category"):
            found |= _favourites(h)
    return found


def _favourites(h: History) -> dict[str, str]:
    lines = h.events("lines")
    words = lines.words["category"]
    there = (words.code >= 0) & (lines.day <= h.cut[0])
    key = lines.who[there] * len(words.words) + words.code[there]
    keys, counts = np.unique(key, return_counts=True)
    order = np.lexsort((keys, -counts, keys // len(words.words)))
    who = keys[order] // len(words.words)
    first = np.append(True, who[1:] != who[:-1]) if len(who) else np.zeros(0, bool)
    chosen = keys[order][first]
    named = zip(h.block.customers[chosen // len(words.words)], words.words[chosen % len(words.words)], strict=True)
    return {str(customer): str(category) for customer, category in named}


# -- clusters ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clusters:
    """k-means on standardised logarithms. `centres` (k, d) in standard deviations, largest cluster first; `mean` and
    `deviation` of the logarithms; `names` of the columns."""

    names: tuple[str, ...]
    mean: Floats
    deviation: Floats
    centres: Floats

    def assign(self, columns: Mapping[str, Floats]) -> Ints:
        """Each customer's nearest centre (-1 where a column is absent)."""
        raw = _logs(columns, self.names)
        x = (raw - self.mean) / self.deviation
        code = np.full(len(x), -1, np.int64)
        known = ~np.isnan(x).any(axis=1)
        code[known] = _nearest(x[known], self.centres)
        return code

    def describe(self, columns: Mapping[str, Floats], code: Ints) -> pd.DataFrame:
        """Size, share and the medians of each cluster."""
        rows = []
        for k in range(len(self.centres)):
            here = code == k
            middle = {n: float(np.nanmedian(columns[n][here])) if here.any() else np.nan for n in self.names}
            rows.append({"cluster": k + 1, "customers": int(here.sum()), "share": float(here.mean()), **middle})
        return pd.DataFrame(rows)


def cluster(columns: Mapping[str, Floats], customer_id: Objects, k: int = 5, *, sample: int = 20_000) -> Clusters:
    """Fit k clusters on customers with all columns known. A hash of the id chooses the sample and the first
    centres, so the same customers give the same clusters in whatever order they come."""
    names = tuple(name for name in CLUSTERED if name in columns and not np.isnan(columns[name]).all())
    raw = _logs(columns, names)
    known = np.flatnonzero(~np.isnan(raw).any(axis=1))
    known = known[np.argsort(hash_ids(list(customer_id[known])), kind="stable")][:sample]
    mean = raw[known].mean(axis=0) if len(known) else np.zeros(len(names))
    deviation = raw[known].std(axis=0) if len(known) else np.ones(len(names))
    deviation = np.where(deviation > 0, deviation, 1.0)
    x = (raw[known] - mean) / deviation
    centres = _lloyd(x, _spread_out(x, min(k, len(np.unique(x, axis=0)))))
    size = np.bincount(_nearest(x, centres), minlength=len(centres)) if len(x) else np.zeros(len(centres))
    return Clusters(names, mean, deviation, centres[np.argsort(-size, kind="stable")])


def _logs(columns: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    return np.stack([np.log1p(np.maximum(columns[name], 0.0)) for name in names], axis=1)


def _spread_out(x: Floats, k: int) -> Floats:
    """First centres: the point nearest the mean, then each time the one farthest from those there are (Gonzalez 1985),
    among the inner 98 % so that no outlier becomes a cluster."""
    if not k:
        return x[:0]
    distance = (x**2).sum(axis=1)
    inner = x[distance <= np.quantile(distance, 0.98)]
    centres = [inner[np.argmin((inner**2).sum(axis=1))]]
    nearest = ((inner - centres[0]) ** 2).sum(axis=1)
    for _ in range(k - 1):
        centres.append(inner[np.argmax(nearest)])
        nearest = np.minimum(nearest, ((inner - centres[-1]) ** 2).sum(axis=1))
    return np.stack(centres)


def _lloyd(x: Floats, centres: Floats, rounds: int = 100) -> Floats:
    """Lloyd's algorithm (IEEE Transactions on Information Theory 28, 1982) until nobody moves."""
    code = np.full(len(x), -1)
    for _ in range(rounds if len(x) else 0):
        new = _nearest(x, centres)
        if (new == code).all():
            break
        code = new
        size = np.bincount(code, minlength=len(centres))
        sums = np.stack([np.bincount(code, x[:, d], len(centres)) for d in range(x.shape[1])], axis=1)
        centres = np.where(size[:, None] > 0, sums / np.maximum(size, 1)[:, None], centres)
    return centres


def _nearest(x: Floats, centres: Floats) -> Ints:
    distance = np.stack([((x - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    return np.asarray(distance.argmin(axis=1), np.int64)


def rand_index(a: Ints, b: Ints) -> float:
    """Adjusted Rand index of two clusterings of the same customers (Hubert and Arabie, J. Classification 2, 1985): 1 is
    the same, 0 is chance. Customers with -1 in either are left out; NaN for fewer than two.

    (1, 1, 2, 2) and (1, 1, 2, 3): 2 pairs together in a, 1 in b, 1 in both, 6 pairs in all: (1 - 2/6) / (1.5 - 2/6)
    = .571."""
    both = (a >= 0) & (b >= 0)
    a, b = a[both], b[both]
    if len(a) < 2:
        return float("nan")

    def pairs(n: NDArray[np.int64]) -> float:
        return float((n * (n - 1) / 2).sum())

    joint = np.unique(a * (int(b.max()) + 1) + b, return_counts=True)[1]
    in_a, in_b, together = pairs(np.bincount(a)), pairs(np.bincount(b)), pairs(joint)
    chance = in_a * in_b / (len(a) * (len(a) - 1) / 2)
    most = (in_a + in_b) / 2
    return (together - chance) / (most - chance) if most != chance else 1.0


# -- people ------------------------------------------------------------------------------------------------------------

AGES = (0, 25, 35, 45, 55, 65)


def people(store: HistoryStore, as_of: int, windows: Windows) -> pd.DataFrame:
    """Everybody known: customer_id, age band, gender, income fifth, region, channel, tier; absent where it is
    not known.
    """
    found = gather(histories(store, [as_of], windows), lambda h: _people(h, as_of))
    frame = pd.DataFrame({"customer_id": found["customer_id"]})
    if "age" not in found:
        return frame
    frame["age"] = bands(found["age"])
    score = fifths(found["income"])
    frame["income"] = np.array([None if np.isnan(s) else f"fifth {s:.0f}" for s in score], np.object_)
    for name in ("gender", "region", "channel", "tier"):
        frame[name] = found[name]
    return frame


def _people(h: History, as_of: int) -> dict[str, NDArray[np.generic]]:
    def number(name: str) -> Floats:
        known = h.value(f"{name}_known", table="customers") > 0
        return np.where(known, h.value(name, table="customers"), np.nan)

    words = {name: h.word(name, table="customers") for name in ("gender", "region", "channel", "tier")}
    return {"age": (as_of - number("birth_day")) / 365.25, "income": number("income"), **words}


def bands(age: Floats) -> Objects:
    """Ages as bands "25-34"; None where unknown."""
    names = [f"{a}-{b - 1}" for a, b in pairwise(AGES)] + [f"{AGES[-1]}+"]
    place = np.searchsorted(AGES, np.nan_to_num(age), side="right") - 1
    return np.array([None if np.isnan(a) else names[p] for a, p in zip(age, place, strict=True)], np.object_)


def attitudes(store: HistoryStore, as_of: int, windows: Windows) -> pd.DataFrame:
    """Answers to attitude questions: question, answer, customers (each customer's latest answer), share of those asked.
    Empty without the table; who was not asked is unknown and is not in it."""
    columns = ["question", "answer", "customers", "share"]
    if "attitudes" not in store.tables:
        return pd.DataFrame(columns=columns)
    pieces = []
    for h in histories(store, [as_of], windows, tables=("attitudes",)):
        table = h.block.tables["attitudes"]
        spelt = {name: table.words[name].words[table.words[name].code] for name in ("question", "answer")}
        pieces.append(pd.DataFrame({"who": h.block.customers[table.who], "day": table.day, **spelt}))
    rows = pd.concat(pieces) if pieces else pd.DataFrame(columns=["who", "day", "question", "answer"])
    rows = rows.sort_values(["who", "question", "day"], kind="stable").drop_duplicates(["who", "question"], keep="last")
    counts = rows.groupby(["question", "answer"]).size().rename("customers").reset_index()
    return counts.assign(share=counts["customers"] / counts.groupby("question")["customers"].transform("sum"))[columns]


def lookalike(attributes: pd.DataFrame, high: NDArray[np.bool_], least: int = 30) -> pd.DataFrame:
    """Where high-value customers come from: attribute, value, customers, share of high value with Wilson's 90 %
    interval, and the lift over everybody's share. Best first; groups below `least` are left out. It describes; to
    advertise by gender or age may be forbidden where you are."""
    base = float(high.mean()) if len(high) else np.nan
    rows = []
    for name in attributes.columns.drop("customer_id"):
        values = attributes[name].to_numpy(object)
        for value in sorted({one for one in values if one is not None and one == one}):  # noqa: PLR0124  NaN
            here = values == value
            n, k = int(here.sum()), int(high[here].sum())
            if n >= least:
                rows.append((name, value, n, k / n, *wilson(k, n), k / n / base if base else np.nan))
    table = pd.DataFrame(rows, columns=["attribute", "value", "customers", "high_value", "low", "high", "lift"])
    return table.sort_values(["lift", "attribute", "value"], ascending=[False, True, True], ignore_index=True)


# -- one order ---------------------------------------------------------------------------------------------------------


def ordering(
    value: Floats, loyalty: Floats, satisfaction: Floats, weights: Sequence[float] = (0.5, 0.3, 0.2)
) -> Floats:
    """One index to put customers in order, 0 to 100: the weighted mean of the percentile of value, loyalty and
    satisfaction, of those that are known (the weights of the others grow in proportion); NaN where none is."""
    parts = np.stack([_percentile(part) for part in (value, loyalty, satisfaction)], axis=1)
    w = np.where(np.isnan(parts), 0.0, np.asarray(weights))
    total = w.sum(axis=1)
    return np.where(total > 0, 100 * (w * np.nan_to_num(parts)).sum(axis=1) / np.where(total > 0, total, 1.0), np.nan)


def _percentile(values: Floats) -> Floats:
    """Share of the known that lie below, ties half."""
    known = ~np.isnan(values)
    order = np.sort(values[known])
    place = (np.searchsorted(order, values, side="left") + np.searchsorted(order, values, side="right")) / 2
    return np.where(known, place / max(len(order), 1), np.nan)


def within(words: Mapping[str, Objects], scope: Mapping[str, str]) -> NDArray[np.bool_]:
    """Who is inside a scope such as {"region": "north"}: all of its words. A word nobody has keeps nobody."""
    rows = len(next(iter(words.values()))) if words else 0
    mask = np.ones(rows, bool)
    for name, value in scope.items():
        mask &= np.asarray(words[name] == value, bool) if name in words else np.zeros(rows, bool)
    return mask
