"""Money: how much is spent, in what tickets, on what terms, and where that is heading.

A ticket is what one purchase day brought, gross of returns. Money is in the currency's major unit; whatever is a share
or a ratio does not change when the currency does. Discounts and costs are optional columns: lines without them make the
feature absent, never free of cost.
"""

from __future__ import annotations

import numpy as np

from features.absence import (
    BEFORE_RECORDS,
    CHANGE,
    NEVER,
    NO_GAP,
    NO_PURCHASE,
    NOTHING_BEFORE,
    NOTHING_BOUGHT,
    no_column,
    unless,
)
from features.catalogue import EIGHTH, FOUR, HALF, ONE, QUARTER, TWO, feature
from features.families.rhythm import NO_YEAR, SINGLE_DAY, year_ago
from features.history import Bools, Floats, History, ratio

NO_DISCOUNT = unless("no discount is known of any purchase", lambda h, _: h.total("discount_known"))


@feature(
    unit="money",
    absence=BEFORE_RECORDS,
    phrase={"en": "spent {value} in the last {days} days", "zh-CN": "最近{days}天消费{value}"},
    over=(EIGHTH, QUARTER, HALF, ONE, TWO, FOUR),
)
def spend(h: History, last: int) -> Floats:
    """Amount bought in the window."""
    return h.money(last)


@feature(unit="money", absence=NEVER, phrase={"en": "spent {value} in all", "zh-CN": "累计消费{value}"})
def spend_total(h: History) -> Floats:
    """Amount bought in all."""
    return h.money()


@feature(
    unit="money",
    absence=BEFORE_RECORDS,
    phrase={
        "en": "spent {value} in the last {days} days, recent purchases counting more",
        "zh-CN": "最近{days}天的近期加权消费为{value}",
    },
    over=(ONE, FOUR),
)
def fading_spend(h: History, last: int) -> Floats:
    """Amount bought in the window, with weights that fall evenly from 1 on the cutoff day to 0 at its opening."""
    return h.fading("amount", last) / h.scale


@feature(
    unit="ratio",
    absence=CHANGE,
    phrase={
        "en": "spent {value} times as much in the last {days} days as in the {days} days before",
        "zh-CN": "最近{days}天的消费是此前{days}天的{value}倍",
    },
    over=(QUARTER, HALF, ONE, TWO),
)
def spend_change(h: History, last: int) -> Floats:
    """Amount bought in the window over that in the equally long window before it."""
    return ratio(h.money(last), h.money(last, before=last))


@feature(
    unit="money a day",
    absence=BEFORE_RECORDS | SINGLE_DAY,
    phrase={
        "en": "daily spend is changing by {value} a day over the last {days} days",
        "zh-CN": "最近{days}天日均消费每天变化{value}",
    },
    over=(ONE, FOUR),
)
def spend_slope(h: History, last: int) -> Floats:
    """Least-squares slope of the daily amount over the days of the window."""
    return h.slope("amount", last) / h.scale


@feature(
    unit="money a day",
    absence=NO_PURCHASE,
    phrase={"en": "has spent {value} a day since the first purchase", "zh-CN": "自首次购买以来日均消费{value}"},
)
def spend_rate(h: History) -> Floats:
    """Amount bought per day of tenure, the first day counted."""
    return h.money() / (h.days_since_first() + 1)


@feature(
    unit="money",
    absence=NO_YEAR,
    phrase={
        "en": "spent {value} in the coming {days} days a year ago",
        "zh-CN": "去年同期的未来{days}天消费{value}",
    },
    over=(HALF, ONE),
)
def spend_year_ago(h: History, last: int) -> Floats:
    """Amount bought in the days after the cutoff, whole years (of 365 days) ago."""
    return h.money(last, before=year_ago(last))


@feature(
    unit="money", absence=NO_PURCHASE, phrase={"en": "the last ticket was {value}", "zh-CN": "最近一次消费{value}"}
)
def ticket_last(h: History) -> Floats:
    """Amount of the last purchase day."""
    return h.value("amount") / h.scale


@feature(unit="money", absence=NO_PURCHASE, phrase={"en": "the first ticket was {value}", "zh-CN": "首次消费{value}"})
def ticket_first(h: History) -> Floats:
    """Amount of the first purchase day."""
    return h.first("amount") / h.scale


@feature(unit="money", absence=NO_PURCHASE, phrase={"en": "spends {value} a visit", "zh-CN": "平均每次消费{value}"})
def ticket_mean(h: History) -> Floats:
    """Mean amount of a purchase day."""
    return ratio(h.money(), h.count())


@feature(
    unit="money",
    absence=BEFORE_RECORDS | NOTHING_BOUGHT,
    phrase={
        "en": "spent {value} a visit in the last {days} days",
        "zh-CN": "最近{days}天平均每次消费{value}",
    },
    over=(ONE, FOUR),
)
def ticket_mean_recent(h: History, last: int) -> Floats:
    """Mean amount of a purchase day in the window."""
    return ratio(h.money(last), h.count(last))


@feature(
    unit="money",
    absence=NO_PURCHASE,
    phrase={"en": "half of the visits bring under {value}", "zh-CN": "单次消费中位数{value}"},
)
def ticket_median(h: History) -> Floats:
    """Median amount of a purchase day."""
    return h.quantile("amount", 0.5) / h.scale


@feature(
    unit="money", absence=NO_PURCHASE, phrase={"en": "the largest ticket was {value}", "zh-CN": "单次最高消费{value}"}
)
def ticket_largest(h: History) -> Floats:
    """Largest amount of a purchase day."""
    return h.over(np.maximum, "amount") / h.scale


@feature(
    unit="money", absence=NO_PURCHASE, phrase={"en": "the smallest ticket was {value}", "zh-CN": "单次最低消费{value}"}
)
def ticket_smallest(h: History) -> Floats:
    """Smallest amount of a purchase day."""
    return h.over(np.minimum, "amount") / h.scale


@feature(
    unit="ratio",
    absence=NO_GAP,
    phrase={
        "en": "tickets vary by {value} of their mean",
        "zh-CN": "单次消费的波动为均值的{value}倍",
    },
)
def ticket_variation(h: History) -> Floats:
    """Standard deviation of the tickets over their mean."""
    return h.spread("amount")


@feature(
    unit="ratio",
    absence=NO_PURCHASE,
    phrase={"en": "the last ticket was {value} times the usual one", "zh-CN": "最近一次消费是平时的{value}倍"},
)
def ticket_last_ratio(h: History) -> Floats:
    """The last ticket over the mean ticket."""
    return ratio(h.value("amount"), ratio(h.total("amount"), h.count()))


@feature(
    unit="ratio",
    absence=BEFORE_RECORDS | NOTHING_BOUGHT | NOTHING_BEFORE,
    phrase={
        "en": "spends {value} times as much a visit as before the last {days} days",
        "zh-CN": "最近{days}天的单次消费是此前的{value}倍",
    },
    over=(ONE, TWO),
)
def ticket_change(h: History, last: int) -> Floats:
    """Mean ticket of the window over the mean ticket of everything before it."""
    return ratio(ratio(h.money(last), h.count(last)), ratio(h.money(before=last), h.count(before=last)))


@feature(
    unit="share",
    absence=NO_PURCHASE,
    phrase={"en": "one visit brought {value} of all spend", "zh-CN": "单次最高消费占累计消费的{value}"},
)
def largest_ticket_share(h: History) -> Floats:
    """The largest ticket's share of all spend."""
    return ratio(h.over(np.maximum, "amount"), h.total("amount"))


@feature(
    unit="count",
    absence=no_column("purchases", "orders") | NO_PURCHASE,
    phrase={"en": "places {value} orders a purchase day", "zh-CN": "每个购买日下{value}单"},
)
def orders_per_day(h: History) -> Floats:
    """Orders per purchase day."""
    return ratio(h.total("orders"), h.count())


@feature(
    unit="share",
    absence=NO_DISCOUNT,
    phrase={"en": "{value} of list prices was given away as discount", "zh-CN": "享受的折扣占原价的{value}"},
)
def discount_share(h: History) -> Floats:
    """Discount over the price before it, over the purchase days whose discount is recorded."""
    return _discount_share(h, None)


@feature(
    unit="share",
    absence=BEFORE_RECORDS
    | unless("no discount is known in the window", lambda h, last: h.total("discount_known", last)),
    phrase={
        "en": "{value} of list prices was given away as discount in the last {days} days",
        "zh-CN": "最近{days}天享受的折扣占原价的{value}",
    },
    over=(ONE, FOUR),
)
def discount_share_recent(h: History, last: int) -> Floats:
    """Discount over the price before it in the window."""
    return _discount_share(h, last)


def _discount_share(h: History, last: int | None) -> Floats:
    if not h.has("purchases", "discount_known"):
        return h.nan
    paid = h.derive("amount with discount known", lambda m: m["amount"] * (m["discount_known"] > 0))
    given = h.total("discount", last)
    return ratio(given, given + h.total(paid, last))


@feature(
    unit="share",
    absence=NO_DISCOUNT,
    phrase={"en": "{value} of visits used a discount", "zh-CN": "{value}的购买使用了折扣"},
)
def discounted_visits(h: History) -> Floats:
    """Share of purchase days with a discount, of those whose discount is recorded."""
    if not h.has("purchases", "discount_known"):
        return h.nan
    used = h.derive("discounted", lambda m: m["discount"] > 0)
    known = h.derive("discount recorded", lambda m: m["discount_known"] > 0)
    return ratio(h.total(used), h.total(known))


@feature(
    unit="days",
    absence=unless(
        "no purchase at full price yet, or the shop records no discounts", lambda h, _: h.total(_full_price(h))
    ),
    phrase={"en": "last paid the full price {value} days ago", "zh-CN": "上次全价购买在{value}天前"},
)
def days_since_full_price(h: History) -> Floats:
    """Days since the last purchase day without a discount."""
    if not h.has("purchases", "discount_known"):
        return h.nan
    full = _full_price(h)
    day = h.over(np.maximum, h.derive("day at full price", lambda m: m["day"] * m[full]))
    return np.where(day > 0, h.cut - day, np.nan)


def _full_price(h: History) -> str:
    """1 for a purchase day known to be without discount."""
    name = "at full price"
    if not h.has("purchases", "discount_known"):
        return name
    return h.derive(name, lambda m: (m["discount_known"] > 0) & (m["discount"] <= 0))


@feature(
    unit="money",
    absence=BEFORE_RECORDS
    | unless("the cost of a purchase of the window is not known", lambda h, last: _all_known(h, "cost", last)),
    phrase={"en": "brought a margin of {value} in the last {days} days", "zh-CN": "最近{days}天贡献毛利{value}"},
    over=(ONE, FOUR),
)
def margin(h: History, last: int) -> Floats:
    """Amount less cost of the window."""
    return _with_cost(h, last, h.money(last) - h.money(last, measure="cost"))


@feature(
    unit="share",
    absence=NO_PURCHASE | unless("the cost of a purchase is not known", lambda h, _: _all_known(h, "cost", None)),
    phrase={"en": "{value} of the spend is margin", "zh-CN": "消费额中毛利占{value}"},
)
def margin_share(h: History) -> Floats:
    """Amount less cost, over amount, of everything bought."""
    return _with_cost(h, None, 1 - ratio(h.total("cost"), h.total("amount")))


def _with_cost(h: History, last: int | None, values: Floats) -> Floats:
    """Absent unless the cost of every purchase day of the window is known."""
    return np.where(_all_known(h, "cost", last), values, np.nan)


def _all_known(h: History, measure: str, last: int | None, before: int = 0) -> Bools:
    """Whether an optional measure is known on every purchase day of a window."""
    known: Bools = h.total(f"{measure}_known", last, before) == h.count(last, before)
    return known


@feature(
    unit="money",
    absence=NO_PURCHASE
    | unless("the quantity of a purchase is not known", lambda h, _: ~np.isnan(_unit_price(h, None))),
    phrase={"en": "pays {value} apiece", "zh-CN": "平均件单价{value}"},
)
def unit_price(h: History) -> Floats:
    """Amount per piece of everything bought."""
    return _unit_price(h, None) / h.scale


@feature(
    unit="ratio",
    absence=BEFORE_RECORDS
    | NOTHING_BOUGHT
    | NOTHING_BEFORE
    | unless(
        "the quantity of a purchase is not known",
        lambda h, last: ~np.isnan(_unit_price(h, last) + _unit_price(h, None, last)),
    ),
    phrase={
        "en": "pays {value} times as much apiece as before the last {days} days",
        "zh-CN": "最近{days}天的件单价是此前的{value}倍",
    },
    over=(ONE, TWO),
)
def unit_price_change(h: History, last: int) -> Floats:
    """Amount per piece of the window over that of everything before it."""
    return ratio(_unit_price(h, last), _unit_price(h, None, before=last))


def _unit_price(h: History, last: int | None, before: int = 0) -> Floats:
    """Minor units per piece (quantities are thousandths); absent unless every quantity is known."""
    price = ratio(1000 * h.total("amount", last, before), h.total("quantity", last, before))
    return np.where(_all_known(h, "quantity", last, before), price, np.nan)
