"""Process: what a purchase-process model sees, and what it expects.

The btyd_* features are the sufficient statistics (x, t_x, T) of the "buy till you die" models in those papers' own
words, which differ from ours: their frequency leaves out the first purchase, their recency counts forward from it. The
expectations use parameters fitted by `models` on data up to the cutoff of training and frozen in `population`.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from features.absence import NO_GAP, NO_PURCHASE, Absence
from features.catalogue import feature
from features.history import Floats, History, ratio

NO_PARAMETERS = Absence("no BG/NBD parameters are given", lambda h, _: np.full(len(h), _parameters(h) is None))


@feature(
    unit="count",
    absence=NO_PURCHASE,
    phrase={"en": "came back on {value} days", "zh-CN": "复购{value}次"},
)
def btyd_frequency(h: History) -> Floats:
    """x of Fader, Hardie and Lee (2005): distinct purchase days after the first."""
    return np.where(h.count() > 0, h.count() - 1, np.nan)


@feature(
    unit="days",
    absence=NO_PURCHASE,
    phrase={"en": "last bought {value} days into the relationship", "zh-CN": "最近一次购买在首购后第{value}天"},
)
def btyd_recency(h: History) -> Floats:
    """t_x: days from the first purchase day to the last; not our recency."""
    return h.days_since_first() - h.days_since()


@feature(
    unit="days",
    absence=NO_PURCHASE,
    phrase={"en": "the relationship is {value} days old", "zh-CN": "客户关系已{value}天"},
)
def btyd_age(h: History) -> Floats:
    """T: days from the first purchase day to the cutoff."""
    return h.days_since_first()


@feature(
    unit="money",
    absence=NO_GAP,
    phrase={"en": "spends {value} a repeat visit", "zh-CN": "复购时平均消费{value}"},
)
def btyd_amount(h: History) -> Floats:
    """Mean amount of the purchase days after the first, as the Gamma-Gamma model wants it."""
    return ratio(h.total("amount") - h.first("amount"), h.count() - 1) / h.scale


@feature(
    unit="share",
    absence=NO_PARAMETERS | NO_PURCHASE,
    phrase={"en": "with probability {value} still a customer", "zh-CN": "仍为活跃客户的概率{value}"},
    scope="population",
)
def alive_probability(h: History) -> Floats:
    """P(alive) of the BG/NBD model: Fader, Hardie and Lee (2005), "Counting your customers" the easy way; note on
    P(alive) (2008), equation 7. It is 1 for every one-time buyer: no churn probability."""
    if (p := _parameters(h)) is None:
        return h.nan
    r, alpha, a, b = p
    x, t_x, T = btyd_frequency(h), btyd_recency(h), btyd_age(h)
    log_odds = (r + x) * np.log((alpha + T) / (alpha + t_x)) + np.log(a / (b + np.maximum(x, 1) - 1))
    return np.where(x == 0, 1.0, special.expit(-log_odds))


@feature(
    unit="count",
    absence=NO_PARAMETERS | NO_PURCHASE,
    phrase={
        "en": "a model of purchase timing expects {value} purchase days in the horizon",
        "zh-CN": "购买时间模型预计展望期内有{value}个购买日",
    },
    scope="population",
)
def expected_purchase_days(h: History) -> Floats:
    """Purchases that BG/NBD expects in the H days after the cutoff: Fader, Hardie and Lee (2005), equation 10."""
    if (p := _parameters(h)) is None:
        return h.nan
    r, alpha, a, b = p
    x, T, ahead = btyd_frequency(h), btyd_age(h), float(h.H)
    z = ahead / (alpha + T + ahead)
    shrink = np.power((alpha + T) / (alpha + T + ahead), r + x) * special.hyp2f1(r + x, b + x, a + b + x - 1, z)
    expected: Floats = (a + b + x - 1) / (a - 1) * (1 - shrink) * alive_probability(h)
    return expected


def _parameters(h: History) -> tuple[float, float, float, float] | None:
    """r, alpha (in days), a and b; None where nobody fitted them."""
    process = None if h.population is None else h.population.process
    return None if not process else (process["r"], process["alpha"], process["a"], process["b"])
