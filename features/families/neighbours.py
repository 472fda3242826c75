"""Neighbours: how customers who bought the same things went on, as far as that is known at the cutoff.

Who buys what those bought who then left, is likelier to leave. The outcomes are those of the horizon that ended on the
cutoff (`features.population`), small groups are drawn to everybody's average, and one row's figure is the mean over
what the customer bought in the active window. Needs the optional columns of the purchase table.
"""

from __future__ import annotations

from features.catalogue import feature
from features.history import Floats, History

NOT_YET = "the population tables are not given, or no horizon has closed yet"
LINES = ("purchases", "lines")


def _went_on(h: History, kind: str, what: str) -> Floats:
    return h.nan if h.population is None else h.population.went_on(h, kind, what)


@feature(
    unit="share",
    absence=f"{NOT_YET}; or the shop records no products",
    phrase={
        "en": "{value} of the buyers of the same products kept buying",
        "zh-CN": "购买同款商品的客户中{value}持续购买",
    },
    tables=LINES,
    scope="population",
)
def product_return_rate(h: History) -> Floats:
    """Share of the buyers of the same products who bought again in the last horizon."""
    return _went_on(h, "product", "returned")


@feature(
    unit="money",
    absence=f"{NOT_YET}; or the shop records no products",
    phrase={"en": "buyers of the same products then spent {value}", "zh-CN": "购买同款商品的客户此后平均消费{value}"},
    tables=LINES,
    scope="population",
)
def product_next_spend(h: History) -> Floats:
    """What the buyers of the same products spent in the last horizon, on average."""
    return _went_on(h, "product", "spend")


@feature(
    unit="share",
    absence=f"{NOT_YET}; or the shop records no categories",
    phrase={
        "en": "{value} of the buyers of the same categories kept buying",
        "zh-CN": "购买同品类的客户中{value}持续购买",
    },
    tables=LINES,
    scope="population",
)
def category_return_rate(h: History) -> Floats:
    """Share of the buyers of the same categories who bought again in the last horizon."""
    return _went_on(h, "category", "returned")


@feature(
    unit="money",
    absence=f"{NOT_YET}; or the shop records no categories",
    phrase={"en": "buyers of the same categories then spent {value}", "zh-CN": "购买同品类的客户此后平均消费{value}"},
    tables=LINES,
    scope="population",
)
def category_next_spend(h: History) -> Floats:
    """What the buyers of the same categories spent in the last horizon, on average."""
    return _went_on(h, "category", "spend")


@feature(
    unit="share",
    absence=f"{NOT_YET}; or the shop records no products",
    phrase={
        "en": "{value} of the buyers of the products last bought kept buying",
        "zh-CN": "购买其最近所购商品的客户中{value}持续购买",
    },
    tables=LINES,
    scope="population",
)
def last_basket_return_rate(h: History) -> Floats:
    """Share of the buyers of the products of the last purchase day who bought again in the last horizon."""
    return h.nan if h.population is None else h.population.went_on(h, "product", "returned", last_day=True)


@feature(
    unit="share",
    absence=f"{NOT_YET}; or the shop records no stores",
    phrase={"en": "{value} of the customers of the same stores kept buying", "zh-CN": "同门店客户中{value}持续购买"},
    scope="population",
)
def store_return_rate(h: History) -> Floats:
    """Share of the customers of the same stores who bought again in the last horizon."""
    return _went_on(h, "store", "returned")


@feature(
    unit="money",
    absence=f"{NOT_YET}; or the shop records no stores",
    phrase={"en": "customers of the same stores then spent {value}", "zh-CN": "同门店客户此后平均消费{value}"},
    scope="population",
)
def store_next_spend(h: History) -> Floats:
    """What the customers of the same stores spent in the last horizon, on average."""
    return _went_on(h, "store", "spend")


@feature(
    unit="share",
    absence=f"{NOT_YET}; or the shop records no channels",
    phrase={
        "en": "{value} of those who first came by the same channel kept buying",
        "zh-CN": "同一获客渠道的客户中{value}持续购买",
    },
    scope="population",
)
def first_channel_return_rate(h: History) -> Floats:
    """Share of those who first bought through the same channel who bought again in the last horizon."""
    return _went_on(h, "first_channel", "returned")


@feature(
    unit="money",
    absence=f"{NOT_YET}; or the shop records no channels",
    phrase={
        "en": "those who first came by the same channel then spent {value}",
        "zh-CN": "同一获客渠道的客户此后平均消费{value}",
    },
    scope="population",
)
def first_channel_next_spend(h: History) -> Floats:
    """What those who first bought through the same channel spent in the last horizon, on average."""
    return _went_on(h, "first_channel", "spend")
