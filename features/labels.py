"""Labels: what came in the days after a cutoff, asked of the same History at a later cutoff.

Each label is a function of the History at the cutoff and of the same rows one horizon later, whose window of H days is
exactly (t, t+H]. A label is NaN unless that window has closed by the last day of the store; several horizons can be
asked at once, and days to the next purchase are censored instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.history import Floats, History, ratio
from features.mixes import in_both


@dataclass(frozen=True)
class Label:
    """A float64 per row of `unit`: `function(h, ahead, days)` with `ahead` = h.later(days)."""

    name: str
    unit: str
    doc: str
    function: Callable[[History, History, int], Floats]


LABELS: dict[str, Label] = {}


def label(unit: str) -> Callable[[Callable[[History, History, int], Floats]], Callable[..., Floats]]:
    """Enter a function into LABELS under its own name."""

    def enter(function: Callable[[History, History, int], Floats]) -> Callable[..., Floats]:
        doc = " ".join((function.__doc__ or "").split())
        LABELS[function.__name__] = Label(function.__name__, unit, doc, function)
        return function

    return enter


def compute(h: History, last_day: int, horizons: Sequence[int] = ()) -> dict[str, Floats]:
    """Every label for the horizon of the windows under its own name, and for each further horizon as `<name>_<n>d`.

    NaN where (t, t+n] has not closed by `last_day`, the last day that is known.
    """
    found = {"days_to_next": days_to_next(h, last_day), "next_seen": next_seen(h, last_day)}
    for days in (h.H, *(n for n in horizons if n != h.H)):
        ahead, closed = h.later(days), h.cut + days <= last_day
        for made in LABELS.values():
            name = made.name if days == h.H else f"{made.name}_{days}d"
            found[name] = np.where(closed, made.function(h, ahead, days), np.nan)
    return found


def words(h: History, last_day: int) -> Mapping[str, NDArray[np.object_]]:
    """What the horizon said in words, where the tables allow; None where nothing was said or it has not closed.

    `next_category`: category of the next purchase's first line by name. `stated_reason`: the last reason given in a
    survey or return.
    """
    ahead, closed = h.later(h.H), h.cut + h.H <= last_day
    found: dict[str, NDArray[np.object_]] = {}
    for name, table, word in (("next_category", "lines", "category"), ("stated_reason", "surveys", "reason")):
        if h.has(table, word):
            said = ahead.word(word, table=table)
            there = closed & (ahead.count(h.H, table=table) > 0)
            found[name] = np.where(there, said, np.full(len(h), None, object))
    return found


def _at_risk(h: History) -> NDArray[np.bool_]:
    return h.days_since() < h.A


@label("flag")
def churned(h: History, ahead: History, days: int) -> Floats:
    """No purchase in the horizon; absent for customers who are not at risk."""
    return np.where(_at_risk(h), ahead.count(days) == 0, np.nan)


@label("flag")
def returned(h: History, ahead: History, days: int) -> Floats:
    """A purchase in the horizon by a lapsed customer; absent for customers who are at risk."""
    return np.where(h.days_since() >= h.A, ahead.count(days) > 0, np.nan)


@label("flag")
def partial_churn(h: History, ahead: History, days: int) -> Floats:
    """Still buying, but for less than (1-d) of the level of the active window, taken per horizon; absent for customers
    who do not buy in the horizon or are not at risk, and where the log is shorter than the active window."""
    level = h.total("amount", h.A) * days / h.A
    fell = ahead.total("amount", days) < (1 - h.windows.drop) * level
    return np.where(_at_risk(h) & (ahead.count(days) > 0) & ~np.isnan(level), fell, np.nan)


@label("flag")
def own_cadence_churn(h: History, ahead: History, days: int) -> Floats:
    """No purchase within twice the customer's own mean gap after the cutoff (at most the horizon, at least a day);
    absent for customers who are not at risk or have bought only once."""
    own = np.clip(np.rint(2 * h.gap_mean()), 1, days)
    return np.where(_at_risk(h) & ~np.isnan(own), ~(next_gap(h) <= own), np.nan)


@label("money")
def spend(h: History, ahead: History, days: int) -> Floats:
    """Amount bought in the horizon, gross of returns."""
    return ahead.money(days)


@label("money")
def net_spend(h: History, ahead: History, days: int) -> Floats:
    """Amount bought less what was returned in the horizon; absent without a returns table."""
    return ahead.money(days) - _given_back(ahead, days)


@label("money")
def margin(h: History, ahead: History, days: int) -> Floats:
    """Amount less returns and cost in the horizon; absent where a purchase's cost is not known."""
    if not h.has("purchases", "cost_known"):
        return h.nan
    unknown = h.derive("cost unknown", lambda m: m["cost_known"] <= 0)
    back = np.nan_to_num(_given_back(ahead, days))
    earned = ahead.money(days) - ahead.money(days, measure="cost") - back
    return np.where(ahead.total(unknown, days) == 0, earned, np.nan)


def _given_back(ahead: History, days: int) -> Floats:
    """Returned amount; 0 where the shop keeps returns and has none yet."""
    return np.nan_to_num(ahead.money(days, table="returns")) if ahead.has("returns") else ahead.nan


@label("count")
def orders(h: History, ahead: History, days: int) -> Floats:
    """Orders in the horizon; absent where the shop records none."""
    return ahead.total("orders", days)


@label("count")
def purchase_days(h: History, ahead: History, days: int) -> Floats:
    """Purchase days in the horizon."""
    return ahead.count(days)


@label("share")
def category_loss(h: History, ahead: History, days: int) -> Floats:
    """Share of the categories of the active window that are not bought again in the horizon; absent for customers who
    do not buy in it, and without categories."""
    if not h.has("lines", "category"):
        return h.nan
    had, kept = h.distinct("category", h.A, table="lines"), _kept_categories(h, ahead, days)
    return np.where(ahead.count(days) > 0, 1 - ratio(kept, had), np.nan)


def _kept_categories(h: History, ahead: History, days: int) -> Floats:
    return ahead.mix(in_both, "category", [(h.A, days), (days, 0)], table="lines")


def next_gap(h: History) -> Floats:
    """Days from the cutoff to the next purchase day on record; NaN where there is none."""
    purchases, position = h.events(), h.upto()
    ends = purchases.starts[h.who + 1]
    if not len(purchases):
        return h.nan
    day = purchases.day[np.minimum(position, len(purchases) - 1)]
    return np.where(position < ends, day - h.cut, np.nan)


def days_to_next(h: History, last_day: int) -> Floats:
    """Days to the next purchase day, or to the last day that is known where there is none yet (censored: `next_seen` is
    0); absent on the last day itself."""
    followed = np.where(h.cut < last_day, (last_day - h.cut).astype(np.float64), np.nan)
    gap = next_gap(h)
    return np.where(gap <= followed, gap, followed)


def next_seen(h: History, last_day: int) -> Floats:
    """Whether `days_to_next` ends with a purchase (1) or with the log (0); absent on the last day itself."""
    followed = last_day - h.cut
    return np.where(followed > 0, next_gap(h) <= followed, np.nan)
