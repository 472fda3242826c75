"""Basket: what is bought, how varied it is, and whether the taste is widening, narrowing or moving elsewhere.

Products and categories need the optional columns of the purchase table. A shift of the mix is the Jensen-Shannon
divergence of two windows' shares: 0 is the same taste, log 2 = 0.69 has nothing in common.
"""

from __future__ import annotations

import numpy as np

from features.absence import (
    BEFORE_RECORDS,
    NO_PURCHASE,
    NOTHING_BEFORE,
    NOTHING_BOUGHT,
    Absence,
    is_none,
    no_column,
    opens_before_records,
    unless,
)
from features.catalogue import FOUR, HALF, ONE, TWO, feature
from features.history import Floats, History, ratio
from features.mixes import concentration, entropy, in_both, largest, only_in_first, shift

LINES = ("purchases", "lines")


def _categories(h: History, last: int | None, before: int = 0) -> Floats:
    return h.distinct("category", last, before, table="lines")


def _two_unknown(word: str) -> Absence:
    return Absence(
        f"the {word} of one of the last two purchase days is not known, or there are none",
        lambda h, _: is_none(h.word(word)) | is_none(h.word(word, 2)),
    )


NO_PRODUCT, NO_CATEGORY = no_column("lines", "product_id"), no_column("lines", "category")
NO_CHANNEL, NO_STORE = no_column("purchases", "channel"), no_column("purchases", "store")
NO_LINES = unless("no line is on record", lambda h, _: h.count(table="lines"))
NO_LINES_IN = unless("no line is in the window", lambda h, last: h.count(last, table="lines"))
NONE_BOUGHT = unless("no category is known of any purchase", lambda h, _: _categories(h, None))


@feature(
    unit="count",
    absence=NO_PURCHASE,
    phrase={"en": "takes {value} lines a visit", "zh-CN": "平均每次购买{value}个品项"},
)
def lines_per_visit(h: History) -> Floats:
    """Lines per purchase day."""
    return ratio(h.total("lines"), h.count())


@feature(
    unit="count",
    absence=NO_PURCHASE,
    phrase={"en": "took {value} lines on the last visit", "zh-CN": "最近一次购买{value}个品项"},
)
def lines_last(h: History) -> Floats:
    """Lines of the last purchase day."""
    return h.value("lines")


@feature(
    unit="ratio",
    absence=BEFORE_RECORDS | NOTHING_BOUGHT | NOTHING_BEFORE,
    phrase={
        "en": "baskets of the last {days} days are {value} times as large as before",
        "zh-CN": "最近{days}天的购物篮大小是此前的{value}倍",
    },
    over=(ONE, TWO),
)
def basket_change(h: History, last: int) -> Floats:
    """Lines per purchase day of the window over those of everything before it."""
    before = ratio(h.total("lines", before=last), h.count(before=last))
    return ratio(ratio(h.total("lines", last), h.count(last)), before)


@feature(
    unit="count",
    absence=NO_PURCHASE
    | unless("the quantity of a purchase is not known", lambda h, _: h.total("quantity_known") == h.count()),
    phrase={"en": "takes {value} pieces a visit", "zh-CN": "平均每次购买{value}件"},
)
def pieces_per_visit(h: History) -> Floats:
    """Pieces per purchase day; quantities are stored in thousandths."""
    known = h.total("quantity_known") == h.count()
    return np.where(known, ratio(h.total("quantity") / 1000, h.count()), np.nan)


@feature(
    unit="count",
    absence=NO_PRODUCT,
    phrase={"en": "has bought {value} different products", "zh-CN": "累计购买过{value}种商品"},
    tables=LINES,
)
def products(h: History) -> Floats:
    """Distinct products in all."""
    return h.distinct("product_id", table="lines")


@feature(
    unit="count",
    absence=NO_PRODUCT | BEFORE_RECORDS,
    phrase={
        "en": "bought {value} different products in the last {days} days",
        "zh-CN": "最近{days}天购买{value}种商品",
    },
    tables=LINES,
    over=(ONE, FOUR),
)
def products_recent(h: History, last: int) -> Floats:
    """Distinct products in the window."""
    return h.distinct("product_id", last, table="lines")


@feature(
    unit="share",
    absence=NO_PRODUCT | BEFORE_RECORDS | NO_LINES_IN,
    phrase={
        "en": "{value} of the products of the last {days} days were new to the customer",
        "zh-CN": "最近{days}天所购商品中{value}为首次购买",
    },
    tables=LINES,
    over=(ONE, FOUR),
)
def new_products(h: History, last: int) -> Floats:
    """Share of the window's lines that are a product's first for this customer."""
    return ratio(h.total(_first(h, "product_id"), last, table="lines"), h.count(last, table="lines"))


@feature(
    unit="share",
    absence=NO_PRODUCT | NO_LINES,
    phrase={"en": "{value} of all lines repeat an earlier product", "zh-CN": "{value}的购买为重复购买同一商品"},
    tables=LINES,
)
def repeated_products(h: History) -> Floats:
    """Share of lines whose product had been bought on an earlier day."""
    return 1 - ratio(h.distinct("product_id", table="lines"), h.count(table="lines"))


@feature(
    unit="count",
    absence=NO_CATEGORY,
    phrase={"en": "has bought in {value} categories", "zh-CN": "累计购买过{value}个品类"},
    tables=LINES,
)
def categories(h: History) -> Floats:
    """Distinct categories in all."""
    return _categories(h, None)


@feature(
    unit="count",
    absence=NO_CATEGORY | BEFORE_RECORDS,
    phrase={"en": "bought in {value} categories in the last {days} days", "zh-CN": "最近{days}天购买{value}个品类"},
    tables=LINES,
    over=(HALF, ONE, FOUR),
)
def categories_recent(h: History, last: int) -> Floats:
    """Distinct categories in the window."""
    return _categories(h, last)


@feature(
    unit="ratio",
    absence=NO_CATEGORY
    | opens_before_records("purchases", 2)
    | unless("no category was bought in the equally long window before", lambda h, last: _categories(h, last, last)),
    phrase={
        "en": "bought in {value} times as many categories in the last {days} days as in the {days} before",
        "zh-CN": "最近{days}天的品类数是此前{days}天的{value}倍",
    },
    tables=LINES,
    over=(ONE, TWO),
)
def categories_change(h: History, last: int) -> Floats:
    """Distinct categories in the window over those of the equally long one before."""
    return ratio(_categories(h, last), _categories(h, last, last))


@feature(
    unit="count",
    absence=NO_CATEGORY | BEFORE_RECORDS,
    phrase={
        "en": "tried {value} new categories in the last {days} days",
        "zh-CN": "最近{days}天尝试了{value}个新品类",
    },
    tables=LINES,
    over=(ONE, FOUR),
)
def new_categories(h: History, last: int) -> Floats:
    """Categories whose first purchase by this customer falls in the window."""
    return h.total(_first(h, "category"), last, table="lines")


@feature(
    unit="days",
    absence=NO_CATEGORY | NONE_BOUGHT,
    phrase={"en": "last tried a new category {value} days ago", "zh-CN": "上次尝试新品类在{value}天前"},
    tables=LINES,
)
def days_since_new_category(h: History) -> Floats:
    """Days since a category was bought for the first time."""
    if not h.has("lines", "category"):
        return h.nan
    first = _first(h, "category")
    day = h.over(np.maximum, h.derive("day of new category", lambda m: m["day"] * m[first], "lines"), table="lines")
    return np.where(day > 0, h.cut - day, np.nan)


def _first(h: History, word: str) -> str:
    """1 where a line is the customer's first with its word."""
    if not h.has("lines", word):
        return f"first {word}"
    return h.derive(f"first {word}", lambda _: h.events("lines").previous(word) < 0, "lines")


@feature(
    unit="count",
    absence=NO_CATEGORY | opens_before_records("purchases", 3),
    phrase={
        "en": "{value} categories bought before are missing in the last {days} days",
        "zh-CN": "此前常购的{value}个品类在最近{days}天未再购买",
    },
    tables=LINES,
    over=(ONE,),
)
def dropped_categories(h: History, last: int) -> Floats:
    """Categories bought in the two windows' lengths before the window and not in it."""
    return h.mix(only_in_first, "category", [(2 * last, last), (last, 0)], table="lines")


@feature(
    unit="count",
    absence=NO_CATEGORY | opens_before_records("purchases", 3),
    phrase={
        "en": "{value} categories were bought both in the last {days} days and before",
        "zh-CN": "有{value}个品类在最近{days}天及此前均有购买",
    },
    tables=LINES,
    over=(ONE,),
)
def kept_categories(h: History, last: int) -> Floats:
    """Categories bought in the window and in the two windows' lengths before it."""
    return h.mix(in_both, "category", [(2 * last, last), (last, 0)], table="lines")


@feature(
    unit="score",
    absence=NO_CATEGORY
    | opens_before_records("purchases", 3)
    | unless(
        "no category was bought in one of the two windows",
        lambda h, last: _categories(h, last) * _categories(h, 2 * last, last),
    ),
    phrase={
        "en": "the taste of the last {days} days differs from before by {value} (0 same, 0.69 nothing in common)",
        "zh-CN": "最近{days}天的品类偏好与此前相差{value}（0为相同，0.69为完全不同）",
    },
    tables=LINES,
    over=(ONE,),
)
def mix_shift(h: History, last: int) -> Floats:
    """Jensen-Shannon divergence of the categories' shares of lines: the window against the two lengths before it."""
    return h.mix(shift, "category", [(2 * last, last), (last, 0)], table="lines")


@feature(
    unit="score",
    absence=NO_CATEGORY | NONE_BOUGHT,
    phrase={"en": "variety of categories {value} (0 is a single one)", "zh-CN": "品类多样性{value}（0为单一品类）"},
    tables=LINES,
)
def category_entropy(h: History) -> Floats:
    """Shannon entropy (nats) of the categories' shares of all lines."""
    return h.mix(entropy, "category", [(None, 0)], table="lines")


@feature(
    unit="share",
    absence=NO_CATEGORY | NONE_BOUGHT,
    phrase={"en": "{value} of all lines are in one category", "zh-CN": "{value}的购买集中在同一品类"},
    tables=LINES,
)
def favourite_category_share(h: History) -> Floats:
    """Share of the most frequent category of all lines."""
    return h.mix(largest, "category", [(None, 0)], table="lines")


@feature(
    unit="share",
    absence=NO_CATEGORY | NONE_BOUGHT,
    phrase={"en": "{value} of all spend is in one category", "zh-CN": "{value}的消费集中在同一品类"},
    tables=LINES,
)
def favourite_category_spend_share(h: History) -> Floats:
    """Share of the category that most was spent in."""
    return h.mix(largest, "category", [(None, 0)], measure="amount", table="lines")


@feature(
    unit="score",
    absence=NO_CATEGORY | BEFORE_RECORDS | unless("no category was bought in the window", _categories),
    phrase={
        "en": "concentration on few categories {value} in the last {days} days (1 is a single one)",
        "zh-CN": "最近{days}天品类集中度{value}（1为单一品类）",
    },
    tables=LINES,
    over=(FOUR,),
)
def category_concentration(h: History, last: int) -> Floats:
    """Sum of squared shares of the categories of the window (Herfindahl)."""
    return h.mix(concentration, "category", [(last, 0)], table="lines")


@feature(
    unit="count", absence=NO_CHANNEL, phrase={"en": "buys through {value} channels", "zh-CN": "通过{value}个渠道购买"}
)
def channels(h: History) -> Floats:
    """Distinct channels in all."""
    return h.distinct("channel")


@feature(
    unit="share",
    absence=NO_CHANNEL | unless("no channel is known", lambda h, _: h.distinct("channel")),
    phrase={"en": "{value} of visits come through one channel", "zh-CN": "{value}的购买来自同一渠道"},
)
def favourite_channel_share(h: History) -> Floats:
    """Share of the most frequent channel of the purchase days."""
    return h.mix(largest, "channel", [(None, 0)])


@feature(
    unit="flag",
    absence=NO_CHANNEL | _two_unknown("channel"),
    phrase={"en": "changed the channel on the last visit: {value}", "zh-CN": "最近一次购买更换了渠道：{value}"},
)
def channel_changed(h: History) -> Floats:
    """Whether the last two purchase days came through different channels."""
    return _changed(h, "channel")


@feature(unit="count", absence=NO_STORE, phrase={"en": "buys in {value} stores", "zh-CN": "在{value}家门店购买"})
def stores(h: History) -> Floats:
    """Distinct stores in all."""
    return h.distinct("store")


@feature(
    unit="share",
    absence=NO_STORE | unless("no store is known", lambda h, _: h.distinct("store")),
    phrase={"en": "{value} of visits are to one store", "zh-CN": "{value}的购买发生在同一门店"},
)
def favourite_store_share(h: History) -> Floats:
    """Share of the most frequent store of the purchase days."""
    return h.mix(largest, "store", [(None, 0)])


@feature(
    unit="flag",
    absence=NO_STORE | _two_unknown("store"),
    phrase={"en": "changed the store on the last visit: {value}", "zh-CN": "最近一次购买更换了门店：{value}"},
)
def store_changed(h: History) -> Floats:
    """Whether the last two purchase days were in different stores."""
    return _changed(h, "store")


def _changed(h: History, word: str) -> Floats:
    if not h.has("purchases", word):
        return h.nan
    code = h.derive_word(f"{word} code", word, lambda w: w.code)
    last, before = h.value(code), h.value(code, back=2)
    known = (last >= 0) & (before >= 0)
    return np.where(known, last != before, np.nan)
