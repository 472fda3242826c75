"""Rhythm: how often a customer comes, how regular that is, and how overdue the next visit has become.

A purchase day is the unit: several orders on one day are one visit. A gap is the time between two purchase days and
belongs to the later one. "Overdue" always means against the customer's own gaps, so that a yearly buyer is not late
after a month and a weekly one is.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from features.absence import BEFORE_RECORDS, CHANGE, NEVER, NO_GAP, NO_PURCHASE, TWO_GAPS, Absence, unless
from features.catalogue import EIGHTH, FOUR, HALF, ONE, QUARTER, TWO, feature
from features.history import Floats, History, ratio

SINGLE_DAY = unless("the window is a single day", lambda h, last: np.full(len(h), last > 1))
NO_GAP_ENDED = unless("no gap ended in the window", lambda h, last: h.gap_count(last))
NOBODYS_GAPS = Absence("everybody's gaps are not known", lambda h, _: np.isnan(_everybodys_log_gap(h)))
YEAR = 365
NO_YEAR = Absence(
    "the log does not reach back to the coming days of an earlier year",
    lambda h, last: ~(h.recorded_days() >= year_ago(last) + last),
)


@feature(
    unit="days",
    absence=NO_PURCHASE,
    phrase={"en": "the last purchase was {value} days ago", "zh-CN": "距上次购买已{value}天"},
)
def recency(h: History) -> Floats:
    """Days from the last purchase day to the cutoff."""
    return h.days_since()


@feature(
    unit="count",
    absence=BEFORE_RECORDS,
    phrase={"en": "{value} purchase days in the last {days} days", "zh-CN": "最近{days}天内有{value}个购买日"},
    over=(EIGHTH, QUARTER, HALF, ONE, TWO, FOUR),
)
def purchase_days(h: History, last: int) -> Floats:
    """Purchase days in the window."""
    return h.count(last)


@feature(
    unit="count",
    absence=BEFORE_RECORDS,
    phrase={
        "en": "{value} purchase days in the last {days} days, recent ones counting more",
        "zh-CN": "最近{days}天内购买日的近期加权数为{value}",
    },
    over=(ONE, FOUR),
)
def fading_purchase_days(h: History, last: int) -> Floats:
    """Purchase days in the window, with weights that fall evenly from 1 on the cutoff day to 0 at its opening."""
    return h.fading(h.one, last)


@feature(
    unit="ratio",
    absence=CHANGE,
    phrase={
        "en": "bought {value} times as often in the last {days} days as in the {days} days before",
        "zh-CN": "最近{days}天的购买次数是此前{days}天的{value}倍",
    },
    over=(QUARTER, HALF, ONE, TWO),
)
def purchase_days_change(h: History, last: int) -> Floats:
    """Purchase days in the window over those in the equally long window before it."""
    return ratio(h.count(last), h.count(last, before=last))


@feature(
    unit="count a day",
    absence=BEFORE_RECORDS | SINGLE_DAY,
    phrase={
        "en": "visits are changing by {value} a day over the last {days} days",
        "zh-CN": "最近{days}天到店频率每天变化{value}",
    },
    over=(ONE, FOUR),
)
def purchase_days_slope(h: History, last: int) -> Floats:
    """Least-squares slope of purchases per day over the days of the window."""
    return h.slope(h.one, last)


@feature(
    unit="share",
    absence=BEFORE_RECORDS,
    phrase={
        "en": "bought in {value} of the eight equal parts of the last {days} days",
        "zh-CN": "最近{days}天均分八段，其中{value}的时段有购买",
    },
    over=(TWO, FOUR),
)
def active_parts(h: History, last: int) -> Floats:
    """Share of eight equal parts of the window in which something was bought."""
    edges = [round(last * k / 8) for k in range(9)]
    parts = [h.count(b - a, before=a) for a, b in pairwise(edges) if b > a]
    bought: Floats = np.mean([np.where(np.isnan(n), np.nan, n > 0) for n in parts], axis=0)
    return bought


@feature(
    unit="days",
    absence=NO_GAP,
    phrase={"en": "usually buys every {value} days", "zh-CN": "通常每{value}天购买一次"},
)
def gap_mean(h: History) -> Floats:
    """Mean of all gaps."""
    return h.gap_mean()


@feature(
    unit="days",
    absence=BEFORE_RECORDS | NO_GAP_ENDED,
    phrase={
        "en": "bought every {value} days during the last {days} days",
        "zh-CN": "最近{days}天内平均每{value}天购买一次",
    },
    over=(TWO, FOUR),
)
def gap_mean_recent(h: History, last: int) -> Floats:
    """Mean of the gaps that ended in the window."""
    return h.gap_mean(last)


@feature(
    unit="days",
    absence=NO_GAP,
    phrase={"en": "half of the gaps between visits are under {value} days", "zh-CN": "两次购买的间隔中位数为{value}天"},
)
def gap_median(h: History) -> Floats:
    """Median of all gaps."""
    return h.gap_quantile(0.5)


@feature(
    unit="days",
    absence=NO_GAP,
    phrase={
        "en": "nine in ten gaps between visits are under {value} days",
        "zh-CN": "九成的购买间隔短于{value}天",
    },
)
def gap_long(h: History) -> Floats:
    """The 90 % quantile of all gaps."""
    return h.gap_quantile(0.9)


@feature(
    unit="days",
    absence=NO_GAP,
    phrase={"en": "the shortest usual gap is {value} days", "zh-CN": "较短的购买间隔为{value}天"},
)
def gap_short(h: History) -> Floats:
    """The 10 % quantile of all gaps."""
    return h.gap_quantile(0.1)


@feature(
    unit="days",
    absence=NO_GAP,
    phrase={"en": "the longest silence so far was {value} days", "zh-CN": "此前最长的一次间隔为{value}天"},
)
def gap_longest(h: History) -> Floats:
    """The longest gap."""
    return h.over(np.maximum, "gap", table="gaps")


@feature(
    unit="days",
    absence=NO_GAP,
    phrase={"en": "the last gap was {value} days", "zh-CN": "最近一次购买间隔为{value}天"},
)
def gap_last(h: History) -> Floats:
    """The gap that ended with the last purchase."""
    return h.value("gap", table="gaps")


@feature(
    unit="days",
    absence=TWO_GAPS,
    phrase={"en": "the gap before the last was {value} days", "zh-CN": "再上一次购买间隔为{value}天"},
)
def gap_before_last(h: History) -> Floats:
    """The last gap but one."""
    return h.value("gap", back=2, table="gaps")


@feature(
    unit="days",
    absence=TWO_GAPS,
    phrase={"en": "gaps between visits vary by {value} days", "zh-CN": "购买间隔的波动为{value}天"},
)
def gap_std(h: History) -> Floats:
    """Standard deviation of all gaps."""
    return h.gap_std()


@feature(
    unit="ratio",
    absence=TWO_GAPS,
    phrase={
        "en": "irregularity of visits {value} (0 is like clockwork, 1 is random)",
        "zh-CN": "购买不规律程度{value}（0为很规律，1为随机）",
    },
)
def gap_variation(h: History) -> Floats:
    """Standard deviation of the gaps over their mean: 0 is a clock, 1 a coin, more comes in bursts."""
    return ratio(h.gap_std(), h.gap_mean())


@feature(
    unit="score",
    absence=TWO_GAPS,
    phrase={
        "en": "visits come in bursts: {value} (-1 is like clockwork, 1 all at once)",
        "zh-CN": "集中购买程度{value}（-1为很规律，1为扎堆）",
    },
)
def burstiness(h: History) -> Floats:
    """(deviation - mean) / (deviation + mean) of the gaps; Goh and Barabási (2008), Burstiness and memory in complex
    systems, equation 1."""
    return ratio(h.gap_std() - h.gap_mean(), h.gap_std() + h.gap_mean())


@feature(
    unit="ratio",
    absence=NO_GAP,
    phrase={
        "en": "the last gap was {value} times the usual one",
        "zh-CN": "最近一次间隔是平时的{value}倍",
    },
)
def gap_growth(h: History) -> Floats:
    """The last gap over the median of all gaps."""
    return ratio(h.value("gap", table="gaps"), h.gap_quantile(0.5))


@feature(
    unit="ratio",
    absence=BEFORE_RECORDS | NO_GAP_ENDED,
    phrase={
        "en": "gaps in the last {days} days were {value} times the usual ones",
        "zh-CN": "最近{days}天的购买间隔是平时的{value}倍",
    },
    over=(ONE, TWO),
)
def gap_drift(h: History, last: int) -> Floats:
    """Mean gap that ended in the window over the mean of all gaps."""
    return ratio(h.gap_mean(last), h.gap_mean())


@feature(
    unit="ratio",
    absence=NO_GAP,
    phrase={"en": "silent for {value} times the usual gap", "zh-CN": "沉默时间已是平时购买间隔的{value}倍"},
)
def overdue_ratio(h: History) -> Floats:
    """Days since the last purchase over the mean gap."""
    return ratio(h.days_since(), h.gap_mean())


@feature(
    unit="ratio",
    absence=NO_GAP,
    phrase={"en": "silent for {value} times the middle gap", "zh-CN": "沉默时间已是间隔中位数的{value}倍"},
)
def overdue_ratio_median(h: History) -> Floats:
    """Days since the last purchase over the median gap, which one long holiday does not move."""
    return ratio(h.days_since(), h.gap_quantile(0.5))


@feature(
    unit="score",
    absence=TWO_GAPS | unless("all gaps are equal", lambda h, _: h.gap_std()),
    phrase={
        "en": "the silence is {value} usual variations beyond the usual gap",
        "zh-CN": "沉默时间超出平时间隔{value}个波动幅度",
    },
)
def overdue_z(h: History) -> Floats:
    """Days since the last purchase less the mean gap, over the standard deviation of the gaps."""
    return ratio(h.days_since() - h.gap_mean(), h.gap_std())


@feature(
    unit="ratio",
    absence=NO_GAP,
    phrase={
        "en": "silent for {value} times the longest gap ever",
        "zh-CN": "沉默时间是历史最长间隔的{value}倍",
    },
)
def overdue_against_longest(h: History) -> Floats:
    """Days since the last purchase over the longest gap: above 1 it has never been this quiet."""
    return ratio(h.days_since(), h.over(np.maximum, "gap", table="gaps"))


@feature(
    unit="share",
    absence=NO_GAP,
    phrase={
        "en": "{value} of earlier gaps had ended by this point",
        "zh-CN": "以往有{value}的间隔到此时已经结束",
    },
)
def gaps_outlasted(h: History) -> Floats:
    """Share of the customer's gaps that the present silence has outlasted or equalled."""
    return 1 - ratio(h.above("gap", h.days_since()), h.gap_count())


@feature(
    unit="share",
    absence=unless("no earlier gap was longer than the present silence", lambda h, _: h.above("gap", h.days_since())),
    phrase={
        "en": "after such a silence {value} of earlier gaps ended within {days} days",
        "zh-CN": "以往沉默这么久之后，{value}的间隔在{days}天内结束",
    },
    over=(QUARTER, ONE),
)
def gap_hazard(h: History, last: int) -> Floats:
    """Of the customer's gaps longer than the present silence, the share that ended within the coming days."""
    silence = h.days_since()
    waiting = h.above("gap", silence)
    return ratio(waiting - h.above("gap", silence + last), waiting)


@feature(
    unit="share",
    absence=NO_GAP,
    phrase={
        "en": "{value} of visits follow within a week of the last one",
        "zh-CN": "{value}的购买发生在上次购买后一周内",
    },
)
def quick_returns(h: History) -> Floats:
    """Share of gaps of at most seven days (a week of the calendar, whatever the horizon)."""
    week = h.derive("a week at most", lambda m: m["gap"] <= 7, "gaps")
    return ratio(h.total(week, table="gaps"), h.gap_count())


@feature(
    unit="share",
    absence=NO_PURCHASE,
    phrase={"en": "{value} of visits fall on the favourite weekday", "zh-CN": "{value}的购买发生在最常购买的星期几"},
)
def favourite_weekday_share(h: History) -> Floats:
    """Share of purchase days on the customer's most frequent day of the week."""
    return ratio(np.max([h.total(_weekday(h, k)) for k in range(7)], axis=0), h.count())


@feature(
    unit="share",
    absence=NO_PURCHASE,
    phrase={"en": "{value} of visits fall on a weekend", "zh-CN": "{value}的购买发生在周末"},
    scope="season",
)
def weekend_share(h: History) -> Floats:
    """Share of purchase days on a Saturday or Sunday."""
    return ratio(h.total(_weekday(h, 5)) + h.total(_weekday(h, 6)), h.count())


def _weekday(h: History, weekday: int) -> str:
    """A measure that is 1 on a weekday, 0 being Monday: 1970-01-01 was a Thursday."""
    which = h.derive("weekday", lambda m: (m["day"] + 3) % 7)
    return h.derive(f"weekday {weekday}", lambda m: m[which] == weekday)


@feature(
    unit="share",
    absence=NEVER,
    phrase={"en": "{value} of the year has gone by", "zh-CN": "一年已过去{value}"},
    scope="season",
)
def season_position(h: History) -> Floats:
    """Where in the year the cutoff stands, 0 on the first of January."""
    day = h.cut.astype("datetime64[D]")
    year = day.astype("datetime64[Y]")
    length = (year + 1).astype("datetime64[D]") - year.astype("datetime64[D]")
    gone: Floats = (day - year.astype("datetime64[D]")).astype(np.float64) / length.astype(np.float64)
    return gone


@feature(
    unit="count",
    absence=NO_YEAR,
    phrase={
        "en": "{value} purchase days in the coming {days} days a year ago",
        "zh-CN": "去年同期的未来{days}天内有{value}个购买日",
    },
    over=(HALF, ONE),
)
def purchase_days_year_ago(h: History, last: int) -> Floats:
    """Purchase days in the days after the cutoff, whole years (of 365 days) ago."""
    return h.count(last, before=year_ago(last))


@feature(
    unit="share",
    absence=NO_YEAR | unless("nothing was bought in it", lambda h, last: h.count(year_ago(last) + last)),
    phrase={
        "en": "{value} of a year's visits fall in the coming {days} days",
        "zh-CN": "全年购买中有{value}集中在未来{days}天的同期",
    },
    over=(ONE,),
)
def coming_season_share(h: History, last: int) -> Floats:
    """Share of the purchase days of the last 365 days (at least the horizon) that fell in the coming season."""
    return ratio(h.count(last, before=year_ago(last)), h.count(year_ago(last) + last))


def year_ago(days: int) -> int:
    """How far back the same days of an earlier year end, never in the future."""
    return YEAR * -(-days // YEAR) - days


@feature(
    unit="days",
    absence=NOBODYS_GAPS,
    phrase={
        "en": "is expected to buy every {value} days, judging by own and by all gaps",
        "zh-CN": "综合自身与整体情况，预计每{value}天购买一次",
    },
    scope="population",
)
def typical_gap(h: History) -> Floats:
    """Geometric mean gap, shrunk to everybody's: own gaps count as many as they are, everybody's count as two."""
    log_gap = h.derive("log gap", lambda m: np.rint(1e6 * np.log(m["gap"])), "gaps")
    own = h.total(log_gap, table="gaps") / 1e6
    shrunk: Floats = np.exp((own + 2 * _everybodys_log_gap(h)) / (h.gap_count() + 2))
    return shrunk


def _everybodys_log_gap(h: History) -> Floats:
    return h.nan if h.population is None else h.population.per_row(h, "log_gap")


@feature(
    unit="ratio",
    absence=NOBODYS_GAPS | NO_PURCHASE,
    phrase={
        "en": "silent for {value} times the expected gap",
        "zh-CN": "沉默时间是预期购买间隔的{value}倍",
    },
    scope="population",
)
def overdue_against_typical(h: History) -> Floats:
    """Days since the last purchase over the typical gap; known for one-time buyers too."""
    return ratio(h.days_since(), typical_gap(h))
