"""Life: how long a customer has been one, what the beginning was like, and how the story has gone since."""

from __future__ import annotations

import numpy as np

from features.absence import FIRST_DAY, NEVER, NO_GAP, NO_PURCHASE, no_column, unless
from features.catalogue import ONE, feature
from features.history import Floats, History, ratio

CUSTOMERS = ("purchases", "customers")
REFERRALS = ("purchases", "referrals")
NOT_JOINED = unless("the customers table has no row by the cutoff", lambda h, _: h.count(table="customers"))


@feature(unit="days", absence=NO_PURCHASE, phrase={"en": "a customer for {value} days", "zh-CN": "成为客户已{value}天"})
def tenure(h: History) -> Floats:
    """Days from the first purchase day to the cutoff."""
    return h.days_since_first()


@feature(unit="count", absence=NEVER, phrase={"en": "bought on {value} days in all", "zh-CN": "累计有{value}个购买日"})
def frequency(h: History) -> Floats:
    """Distinct purchase days."""
    return h.count()


@feature(
    unit="count",
    absence=no_column("purchases", "orders"),
    phrase={"en": "placed {value} orders in all", "zh-CN": "累计下单{value}次"},
)
def orders_total(h: History) -> Floats:
    """Orders in all: the number the last one has."""
    return h.total("orders")


@feature(
    unit="flag",
    absence=NEVER,
    phrase={"en": "bought only once: {value}", "zh-CN": "仅购买过一次：{value}"},
)
def one_time_buyer(h: History) -> Floats:
    """Whether there has been a single purchase day."""
    return np.where(h.count() == 1, 1.0, 0.0)


@feature(
    unit="days",
    absence=NO_GAP,
    phrase={"en": "came back {value} days after the first purchase", "zh-CN": "首购后{value}天再次购买"},
)
def days_to_second(h: History) -> Floats:
    """Days from the first to the second purchase day."""
    return h.first("gap", table="gaps")


@feature(
    unit="days",
    absence=NO_PURCHASE,
    phrase={"en": "{value} days between the first and the last purchase", "zh-CN": "首次与最近一次购买相隔{value}天"},
)
def active_days(h: History) -> Floats:
    """Days from the first purchase day to the last."""
    return h.days_since_first() - h.days_since()


@feature(
    unit="share",
    absence=FIRST_DAY,
    phrase={"en": "silent for {value} of the time as a customer", "zh-CN": "沉默时间占客户期的{value}"},
)
def silent_share(h: History) -> Floats:
    """Days since the last purchase over days since the first."""
    return ratio(h.days_since(), h.days_since_first())


@feature(
    unit="share",
    absence=FIRST_DAY,
    phrase={
        "en": "the middle of all visits lies {value} of the way back to the first",
        "zh-CN": "购买重心位于客户期的{value}之前",
    },
)
def centre_of_life(h: History) -> Floats:
    """Mean age of the purchase days over the tenure: 0.5 is steady, less has picked up, more has faded."""
    return ratio(ratio(h.moment(h.one), h.count()), h.days_since_first())


@feature(
    unit="share",
    absence=FIRST_DAY,
    phrase={
        "en": "the middle of all spend lies {value} of the way back to the first purchase",
        "zh-CN": "消费重心位于客户期的{value}之前",
    },
)
def centre_of_spend(h: History) -> Floats:
    """Mean age of the money spent over the tenure: 0.5 is steady, less has picked up, more has faded."""
    return ratio(ratio(h.moment("amount"), h.total("amount")), h.days_since_first())


@feature(
    unit="count a day",
    absence=NO_PURCHASE,
    phrase={"en": "buys on {value} of the days of the relationship", "zh-CN": "客户期内平均每天购买{value}次"},
)
def purchase_rate(h: History) -> Floats:
    """Purchase days per day of tenure, the first day counted."""
    return h.count() / (h.days_since_first() + 1)


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "{value} purchase days in the first {days} days", "zh-CN": "首购后{days}天内有{value}个购买日"},
    over=(ONE,),
)
def early_purchase_days(h: History, last: int) -> Floats:
    """Purchase days in the first days of the relationship, as far as they have gone by."""
    return h.total(_early(h, last, "one"))


@feature(
    unit="money",
    absence=NEVER,
    phrase={"en": "spent {value} in the first {days} days", "zh-CN": "首购后{days}天内消费{value}"},
    over=(ONE,),
)
def early_spend(h: History, last: int) -> Floats:
    """Amount bought in the first days of the relationship, as far as they have gone by."""
    return h.total(_early(h, last, "amount")) / h.scale


def _early(h: History, last: int, measure: str) -> str:
    """The measure on purchase days less than `last` days after the first."""
    events = h.events("purchases")
    first = events.day[np.minimum(events.starts[events.who], max(len(events) - 1, 0))]
    value = np.ones_like(events.day) if measure == "one" else events.measures[measure]
    return h.derive(f"{measure} in the first {last} days", lambda m: value * (m["day"] - first < last))


@feature(
    unit="ratio",
    absence=unless(
        "the relationship is not older than the span it is compared with",
        lambda h, last: h.days_since_first() + 1 - last,
    ),
    phrase={
        "en": "buys {value} times as often as in the first {days} days",
        "zh-CN": "现在的购买频率是首购后{days}天的{value}倍",
    },
    over=(ONE,),
)
def pace_since_start(h: History, last: int) -> Floats:
    """Purchase days per day after the first days of the relationship, over those within them."""
    early, later_days = h.total(_early(h, last, "one")), h.days_since_first() + 1 - last
    return np.where(later_days > 0, ratio((h.count() - early) / np.maximum(later_days, 1), early / last), np.nan)


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "came back {value} times after having lapsed", "zh-CN": "流失后曾回流{value}次"},
)
def reactivations(h: History) -> Floats:
    """Gaps as long as the active window or longer: times the customer had lapsed and came back."""
    return h.total(_lapse(h), table="gaps")


@feature(
    unit="days",
    absence=unless("has never lapsed and come back", lambda h, _: reactivations(h)),
    phrase={"en": "last came back from a lapse {value} days ago", "zh-CN": "上次流失后回流在{value}天前"},
)
def days_since_reactivation(h: History) -> Floats:
    """Days since the purchase that ended the last gap as long as the active window or longer."""
    _lapse(h)
    day = h.over(np.maximum, h.derive("day of return", lambda m: m["day"] * m[f"lapse of {h.A}"], "gaps"), table="gaps")
    return np.where(day > 0, h.cut - day, np.nan)


def _lapse(h: History) -> str:
    return h.derive(f"lapse of {h.A}", lambda m: m["gap"] >= h.A, "gaps")


@feature(
    unit="days",
    absence=NOT_JOINED,
    phrase={"en": "registered {value} days ago", "zh-CN": "注册于{value}天前"},
    tables=CUSTOMERS,
)
def days_since_joined(h: History) -> Floats:
    """Days since joining, as the customers table has it."""
    return h.days_since_first("customers")


@feature(
    unit="days",
    absence=NOT_JOINED | NO_PURCHASE,
    phrase={"en": "first bought {value} days after registering", "zh-CN": "注册后{value}天首次购买"},
    tables=CUSTOMERS,
)
def days_from_joining_to_first(h: History) -> Floats:
    """Days from joining to the first purchase day (negative where the first purchase came before)."""
    return h.days_since_first("customers") - h.days_since_first()


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "has recommended the shop to {value} people", "zh-CN": "已推荐{value}位新客户"},
    tables=REFERRALS,
)
def referrals_made(h: History) -> Floats:
    """Referrals in all."""
    return h.count(table="referrals")


@feature(
    unit="days",
    absence=unless("no referral yet", lambda h, _: h.count(table="referrals")),
    phrase={"en": "last recommended the shop {value} days ago", "zh-CN": "上次推荐在{value}天前"},
    tables=REFERRALS,
)
def days_since_referral(h: History) -> Floats:
    """Days since the last referral."""
    return h.days_since("referrals")


@feature(
    unit="days",
    absence=NEVER,
    phrase={"en": "the log reaches back {value} days", "zh-CN": "交易记录已有{value}天"},
    scope="population",
)
def days_on_record(h: History) -> Floats:
    """Days from the first purchase in the log, by anyone, to the cutoff: how old a relationship can look."""
    return h.recorded_days()
