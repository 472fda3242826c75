"""Market: what everybody is doing, so that a quiet customer in a quiet month is not taken for one who is leaving.

These come from tables frozen per cutoff (`features.population`) and are the same for every customer at a cutoff, but
for the comparisons of one's own change with everybody's.
"""

from __future__ import annotations

import numpy as np

from features.absence import CHANGE, Absence, is_none, unless
from features.catalogue import ONE, feature
from features.history import Floats, History, ratio


def _market(h: History, name: str) -> Floats:
    return h.nan if h.population is None else h.population.per_row(h, name)


def _unknown(name: str) -> Absence:
    """The market's figure is not known."""
    return Absence("the log does not reach back far enough", lambda h, _: np.isnan(_market(h, name)))


@feature(
    unit="ratio",
    absence=_unknown("change"),
    phrase={
        "en": "everybody bought {value} times as often in the last {days} days as before",
        "zh-CN": "全体客户最近{days}天的购买次数是此前的{value}倍",
    },
    scope="population",
    over=(ONE,),
)
def market_change(h: History, last: int) -> Floats:
    """Everybody's purchase days of the last horizon over those of the horizon before."""
    return _market(h, "change")


@feature(
    unit="ratio",
    absence=_unknown("season"),
    phrase={
        "en": "a year ago everybody bought {value} times as often in the coming {days} days as in those before",
        "zh-CN": "去年同期，全体客户未来{days}天的购买次数是此前的{value}倍",
    },
    scope="population",
    over=(ONE,),
)
def market_season(h: History, last: int) -> Floats:
    """Everybody's purchase days in the coming horizon whole years (365 days) ago, over those of the one before it."""
    return _market(h, "season")


@feature(
    unit="ratio",
    absence=_unknown("year_on_year"),
    phrase={
        "en": "everybody buys {value} times as often as in the same {days} days a year ago",
        "zh-CN": "全体客户最近{days}天的购买次数是去年同期的{value}倍",
    },
    scope="population",
    over=(ONE,),
)
def market_year_on_year(h: History, last: int) -> Floats:
    """Everybody's purchase days of the last horizon over those of the same days a year (365 days) before."""
    return _market(h, "year_on_year")


@feature(
    unit="share",
    absence=_unknown("new_share"),
    phrase={
        "en": "{value} of everybody's visits in the last {days} days were first purchases",
        "zh-CN": "最近{days}天全体购买中{value}为首购",
    },
    scope="population",
    over=(ONE,),
)
def market_new_share(h: History, last: int) -> Floats:
    """Share of first purchases in everybody's purchase days of the last horizon."""
    return _market(h, "new_share")


@feature(
    unit="ratio",
    absence=_unknown("ticket_change"),
    phrase={
        "en": "everybody spends {value} times as much a visit as in the {days} days before",
        "zh-CN": "全体客户最近{days}天的单次消费是此前的{value}倍",
    },
    scope="population",
    over=(ONE,),
)
def market_ticket_change(h: History, last: int) -> Floats:
    """Everybody's mean ticket of the last horizon over that of the horizon before."""
    return _market(h, "ticket_change")


@feature(
    unit="share",
    absence=_unknown("return_rate"),
    phrase={
        "en": "of everybody at risk {days} days ago, {value} has bought since",
        "zh-CN": "{days}天前的全体活跃客户中{value}此后有购买",
    },
    scope="population",
    over=(ONE,),
)
def market_return_rate(h: History, last: int) -> Floats:
    """Of everybody at risk one horizon ago, the share that has bought since: the latest closed base rate."""
    return _market(h, "return_rate")


@feature(
    unit="ratio",
    absence=CHANGE | unless("everybody's change is not known, or nobody bought", lambda h, _: _market(h, "change")),
    phrase={
        "en": "visits changed {value} times as much as everybody's over the last {days} days",
        "zh-CN": "最近{days}天购买次数的变化是全体客户的{value}倍",
    },
    scope="population",
    over=(ONE,),
)
def change_against_market(h: History, last: int) -> Floats:
    """The customer's change of purchase days between two horizons over everybody's: below 1 it is not the market."""
    return ratio(ratio(h.count(last), h.count(last, before=last)), _market(h, "change"))


@feature(
    unit="share",
    absence=_unknown("return_rate")
    | Absence("the region is not known", lambda h, _: is_none(h.first_word("region", "customers"))),
    phrase={
        "en": "of the customers of the same region {value} kept buying",
        "zh-CN": "同地区客户中{value}持续购买",
    },
    tables=("purchases", "customers"),
    scope="population",
)
def region_return_rate(h: History) -> Floats:
    """Of the customers of the same region at risk one horizon ago, the share that has bought since."""
    return h.nan if h.population is None else h.population.went_on(h, "region", "returned")
