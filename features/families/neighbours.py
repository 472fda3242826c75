"""Neighbours: how customers who bought the same things went on, as far as that is known at the cutoff.

Who buys what those bought who then left, is likelier to leave. The outcomes are those of the horizon that ended on the
cutoff (`features.population`), small groups are drawn to everybody's average, and one row's figure is the mean over
what the customer bought in the active window. Needs the optional columns of the purchase table.
"""

from __future__ import annotations

import numpy as np

from features.absence import Absence, is_none, unless
from features.catalogue import feature
from features.history import Floats, History

LINES = ("purchases", "lines")
NOT_YET = Absence(
    "no horizon has closed yet",
    lambda h, _: np.isnan(h.nan if h.population is None else h.population.per_row(h, "return_rate")),
)
NO_FIRST_CHANNEL = Absence("the first channel is not known", lambda h, _: is_none(h.first_word("channel")))


def _none(table: str, word: str) -> Absence:
    """Nothing with a word was bought in the active window, or that opens before the log."""
    return unless(
        f"no {word.removesuffix('_id')} of the active window is known", lambda h, _: h.distinct(word, h.A, table=table)
    )


def _went_on(h: History, kind: str, what: str) -> Floats:
    return h.nan if h.population is None else h.population.went_on(h, kind, what)


@feature(
    unit="share",
    absence=NOT_YET | _none("lines", "product_id"),
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
    absence=NOT_YET | _none("lines", "product_id"),
    phrase={"en": "buyers of the same products then spent {value}", "zh-CN": "购买同款商品的客户此后平均消费{value}"},
    tables=LINES,
    scope="population",
)
def product_next_spend(h: History) -> Floats:
    """What the buyers of the same products spent in the last horizon, on average."""
    return _went_on(h, "product", "spend")


@feature(
    unit="share",
    absence=NOT_YET | _none("lines", "category"),
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
    absence=NOT_YET | _none("lines", "category"),
    phrase={"en": "buyers of the same categories then spent {value}", "zh-CN": "购买同品类的客户此后平均消费{value}"},
    tables=LINES,
    scope="population",
)
def category_next_spend(h: History) -> Floats:
    """What the buyers of the same categories spent in the last horizon, on average."""
    return _went_on(h, "category", "spend")


@feature(
    unit="share",
    absence=NOT_YET
    | Absence("no product of the last purchase is known", lambda h, _: is_none(h.word("product_id", table="lines"))),
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
    absence=NOT_YET | _none("purchases", "store"),
    phrase={"en": "{value} of the customers of the same stores kept buying", "zh-CN": "同门店客户中{value}持续购买"},
    scope="population",
)
def store_return_rate(h: History) -> Floats:
    """Share of the customers of the same stores who bought again in the last horizon."""
    return _went_on(h, "store", "returned")


@feature(
    unit="money",
    absence=NOT_YET | _none("purchases", "store"),
    phrase={"en": "customers of the same stores then spent {value}", "zh-CN": "同门店客户此后平均消费{value}"},
    scope="population",
)
def store_next_spend(h: History) -> Floats:
    """What the customers of the same stores spent in the last horizon, on average."""
    return _went_on(h, "store", "spend")


@feature(
    unit="share",
    absence=NOT_YET | NO_FIRST_CHANNEL,
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
    absence=NOT_YET | NO_FIRST_CHANNEL,
    phrase={
        "en": "those who first came by the same channel then spent {value}",
        "zh-CN": "同一获客渠道的客户此后平均消费{value}",
    },
    scope="population",
)
def first_channel_next_spend(h: History) -> Floats:
    """What those who first bought through the same channel spent in the last horizon, on average."""
    return _went_on(h, "first_channel", "spend")
