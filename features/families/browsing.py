"""Browsing: interest that shows on the site before, between and instead of purchases."""

from __future__ import annotations

import numpy as np

from features.absence import BEFORE_RECORDS, NEVER, no_column, opens_before_records, unless
from features.catalogue import EIGHTH, FOUR, ONE, feature
from features.history import Floats, History, ratio

EVENTS = ("purchases", "events")
WINDOW = opens_before_records("events")
NO_VISIT = unless("there was no visit yet", lambda h, _: h.count(table="events"))
NO_CART = unless("never put anything into the cart", lambda h, _: h.total("cart", table="events"))


@feature(
    unit="count",
    absence=WINDOW,
    phrase={"en": "was on the site on {value} of the last {days} days", "zh-CN": "最近{days}天有{value}天访问网站"},
    tables=EVENTS,
    over=(EIGHTH, ONE, FOUR),
)
def visit_days(h: History, last: int) -> Floats:
    """Days with any event in the window."""
    return h.count(last, table="events")


@feature(
    unit="days",
    absence=NO_VISIT,
    phrase={"en": "was last on the site {value} days ago", "zh-CN": "上次访问网站在{value}天前"},
    tables=EVENTS,
)
def days_since_visit(h: History) -> Floats:
    """Days since the last event of any kind."""
    return h.days_since("events")


@feature(
    unit="ratio",
    absence=opens_before_records("events", 2)
    | unless(
        "there was no visit in the equally long window before",
        lambda h, last: h.count(last, before=last, table="events"),
    ),
    phrase={
        "en": "visits the site {value} times as often as in the {days} days before",
        "zh-CN": "最近{days}天的访问天数是此前{days}天的{value}倍",
    },
    tables=EVENTS,
    over=(ONE,),
)
def visit_days_change(h: History, last: int) -> Floats:
    """Days with an event in the window over those in the equally long one before it."""
    return ratio(h.count(last, table="events"), h.count(last, before=last, table="events"))


@feature(
    unit="count",
    absence=WINDOW,
    phrase={"en": "viewed {value} products in the last {days} days", "zh-CN": "最近{days}天浏览商品{value}次"},
    tables=EVENTS,
    over=(ONE, FOUR),
)
def views(h: History, last: int) -> Floats:
    """Product views in the window."""
    return h.total("view", last, table="events")


@feature(
    unit="count",
    absence=WINDOW,
    phrase={"en": "searched {value} times in the last {days} days", "zh-CN": "最近{days}天搜索{value}次"},
    tables=EVENTS,
    over=(ONE, FOUR),
)
def searches(h: History, last: int) -> Floats:
    """Searches in the window."""
    return h.total("search", last, table="events")


@feature(
    unit="count",
    absence=WINDOW,
    phrase={"en": "put {value} things into the cart in the last {days} days", "zh-CN": "最近{days}天加购{value}次"},
    tables=EVENTS,
    over=(ONE, FOUR),
)
def carts(h: History, last: int) -> Floats:
    """Cart events in the window."""
    return h.total("cart", last, table="events")


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "put {value} things into the cart since the last purchase", "zh-CN": "最近一次购买后加购{value}次"},
    tables=EVENTS,
)
def carts_left(h: History) -> Floats:
    """Cart events after the last purchase day: carts that were left."""
    return h.count_since("events", "cart")


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "visited on {value} days since the last purchase", "zh-CN": "最近一次购买后访问{value}天"},
    tables=EVENTS,
)
def visit_days_since_purchase(h: History) -> Floats:
    """Days with an event after the last purchase day."""
    return h.count_since("events")


@feature(
    unit="days",
    absence=NO_CART,
    phrase={"en": "last filled a cart {value} days ago", "zh-CN": "上次加购在{value}天前"},
    tables=EVENTS,
)
def days_since_cart(h: History) -> Floats:
    """Days since the last cart event."""
    day = h.over(np.maximum, h.derive("day of cart", lambda m: m["day"] * (m["cart"] > 0), "events"), table="events")
    return np.where(day > 0, h.cut - day, np.nan)


@feature(
    unit="ratio",
    absence=BEFORE_RECORDS | WINDOW | unless("there was no visit in it", lambda h, last: h.count(last, table="events")),
    phrase={
        "en": "buys on {value} of the days on the site, over the last {days} days",
        "zh-CN": "最近{days}天访问转化率{value}",
    },
    tables=EVENTS,
    over=(ONE, FOUR),
)
def conversion(h: History, last: int) -> Floats:
    """Purchase days over days with an event, in the window (above 1 where most is bought elsewhere)."""
    return ratio(h.count(last), h.count(last, table="events"))


@feature(
    unit="ratio",
    absence=NO_VISIT,
    phrase={"en": "views {value} products a visit day", "zh-CN": "平均每个访问日浏览{value}个商品"},
    tables=EVENTS,
)
def views_per_visit(h: History) -> Floats:
    """Product views per day with an event."""
    return ratio(h.total("view", table="events"), h.count(table="events"))


@feature(
    unit="ratio",
    absence=NO_CART,
    phrase={"en": "reaches checkout with {value} of the carts", "zh-CN": "加购后进入结算的比例{value}"},
    tables=EVENTS,
)
def checkout_rate(h: History) -> Floats:
    """Checkouts over cart events."""
    return ratio(h.total("checkout", table="events"), h.total("cart", table="events"))


@feature(
    unit="count",
    absence=no_column("event_lines", "category") | WINDOW,
    phrase={
        "en": "looked at {value} categories in the last {days} days",
        "zh-CN": "最近{days}天浏览{value}个品类",
    },
    tables=(*EVENTS, "event_lines"),
    over=(ONE,),
)
def browsed_categories(h: History, last: int) -> Floats:
    """Distinct categories of events in the window."""
    return h.distinct("category", last, table="event_lines")
