"""Service: what went wrong between the shop and the customer, and how content the customer says to be.

What is known of a complaint grows with time: its answer and its settlement are rows of their own days, so "open" means
opened less settled as of the cutoff, and no settlement date of the future can be seen. Scores run from 0 (worst) to 1.
"""

from __future__ import annotations

import numpy as np

from features.absence import NEVER, NO_PURCHASE, no_column, opens_before_records, unless
from features.catalogue import FOUR, ONE, Unit, feature
from features.history import Floats, History, ratio

RETURNS, COMPLAINTS, SURVEYS, DELIVERIES = (
    ("purchases", table) for table in ("returns", "complaints", "surveys", "deliveries")
)
NO_KIND = no_column("complaints", "kind")
NO_SCORES = no_column("surveys", "score_known")
NO_SCORE = unless("no score yet", lambda h, _: _scores(h, "score_known", None))
NO_DELIVERY = unless("nothing was delivered yet", lambda h, _: h.count(table="deliveries"))
COUNT: Unit = "count"


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "returned goods on {value} days", "zh-CN": "累计退货{value}次"},
    tables=RETURNS,
)
def return_days(h: History) -> Floats:
    """Days with a return, in all."""
    return h.days(table="returns")


@feature(
    unit="count",
    absence=opens_before_records("returns"),
    phrase={"en": "returned goods on {value} of the last {days} days", "zh-CN": "最近{days}天退货{value}次"},
    tables=RETURNS,
    over=(ONE, FOUR),
)
def return_days_recent(h: History, last: int) -> Floats:
    """Days with a return in the window."""
    return h.days(last, table="returns")


@feature(
    unit="money",
    absence=opens_before_records("returns"),
    phrase={"en": "returned goods worth {value} in the last {days} days", "zh-CN": "最近{days}天退货金额{value}"},
    tables=RETURNS,
    over=(ONE, FOUR),
)
def returned(h: History, last: int) -> Floats:
    """Amount returned in the window."""
    return h.money(last, table="returns")


@feature(
    unit="share",
    absence=NO_PURCHASE,
    phrase={"en": "returned {value} of all that was bought, by value", "zh-CN": "按金额计退货率{value}"},
    tables=RETURNS,
)
def return_share(h: History) -> Floats:
    """Amount returned over amount bought."""
    return ratio(h.total("amount", table="returns"), h.total("amount"))


@feature(
    unit="days",
    absence=unless("nothing was returned yet", lambda h, _: h.count(table="returns")),
    phrase={"en": "last returned something {value} days ago", "zh-CN": "上次退货在{value}天前"},
    tables=RETURNS,
)
def days_since_return(h: History) -> Floats:
    """Days since the last return."""
    return h.days_since("returns")


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "{value} returns since the last purchase", "zh-CN": "最近一次购买后退货{value}次"},
    tables=RETURNS,
)
def returns_since_purchase(h: History) -> Floats:
    """Days with a return after the last purchase day."""
    return h.count_since("returns")


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "complained {value} times", "zh-CN": "累计投诉{value}次"},
    tables=COMPLAINTS,
)
def complaints(h: History) -> Floats:
    """Complaints in all."""
    return h.count(table="complaints")


@feature(
    unit="count",
    absence=opens_before_records("complaints"),
    phrase={"en": "complained {value} times in the last {days} days", "zh-CN": "最近{days}天投诉{value}次"},
    tables=COMPLAINTS,
    over=(ONE, FOUR),
)
def complaints_recent(h: History, last: int) -> Floats:
    """Complaints in the window."""
    return h.count(last, table="complaints")


@feature(
    unit="ratio",
    absence=NO_PURCHASE,
    phrase={"en": "{value} complaints a visit", "zh-CN": "平均每次购买投诉{value}次"},
    tables=COMPLAINTS,
)
def complaint_rate(h: History) -> Floats:
    """Complaints per purchase day."""
    return ratio(h.count(table="complaints"), h.count())


@feature(
    unit="days",
    absence=unless("has not complained yet", lambda h, _: h.count(table="complaints")),
    phrase={"en": "last complained {value} days ago", "zh-CN": "上次投诉在{value}天前"},
    tables=COMPLAINTS,
)
def days_since_complaint(h: History) -> Floats:
    """Days since the last complaint was opened."""
    return h.days_since("complaints")


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "{value} complaints since the last purchase", "zh-CN": "最近一次购买后投诉{value}次"},
    tables=COMPLAINTS,
)
def complaints_since_purchase(h: History) -> Floats:
    """Complaints opened after the last purchase day."""
    return h.count_since("complaints")


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "{value} complaints are not settled", "zh-CN": "有{value}件投诉尚未解决"},
    tables=(*COMPLAINTS, "complaints_resolved"),
)
def open_complaints(h: History) -> Floats:
    """Complaints opened less complaints settled, by the cutoff."""
    return h.count(table="complaints") - h.count(table="complaints_resolved")


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "{value} complaints are not answered", "zh-CN": "有{value}件投诉尚未答复"},
    tables=(*COMPLAINTS, "complaints_answered"),
)
def unanswered_complaints(h: History) -> Floats:
    """Complaints opened less complaints answered, by the cutoff."""
    return h.count(table="complaints") - h.count(table="complaints_answered")


@feature(
    unit="days",
    absence=unless("no complaint is open", lambda h, _: open_complaints(h)),
    phrase={"en": "open complaints have waited {value} days", "zh-CN": "未解决投诉已等待{value}天"},
    tables=(*COMPLAINTS, "complaints_resolved"),
)
def open_complaint_days(h: History) -> Floats:
    """Mean days that open complaints have waited: the days of all opened, less those of the settled since they were
    settled, less what these waited, over the number open."""
    opened, settled = h.count(table="complaints"), h.count(table="complaints_resolved")
    ages = h.cut * opened - h.total("day", table="complaints")
    since = h.cut * settled - h.total("day", table="complaints_resolved")
    return ratio(ages - since - h.total("waited", table="complaints_resolved"), opened - settled)


@feature(
    unit="days",
    absence=unless("no complaint was answered yet", lambda h, _: h.count(table="complaints_answered")),
    phrase={"en": "complaints were answered after {value} days", "zh-CN": "投诉平均{value}天得到答复"},
    tables=(*COMPLAINTS, "complaints_answered"),
)
def answer_wait(h: History) -> Floats:
    """Mean days from a complaint to its first answer."""
    return ratio(h.total("waited", table="complaints_answered"), h.count(table="complaints_answered"))


@feature(
    unit="days",
    absence=unless("no complaint was settled yet", lambda h, _: h.count(table="complaints_resolved")),
    phrase={"en": "complaints were settled after {value} days", "zh-CN": "投诉平均{value}天解决"},
    tables=(*COMPLAINTS, "complaints_resolved"),
)
def settlement_wait(h: History) -> Floats:
    """Mean days from a complaint to its settlement."""
    return ratio(h.total("waited", table="complaints_resolved"), h.count(table="complaints_resolved"))


def _of_kind(h: History, kind: str) -> Floats:
    """Complaints of a kind, in all."""
    if not h.has("complaints", "kind"):
        return h.nan
    name = h.derive_word(f"about {kind}", "kind", lambda w: _is(w.words, kind)[w.code] & (w.code >= 0), "complaints")
    return h.total(name, table="complaints")


def _is(words: np.ndarray, kind: str) -> np.ndarray:
    """Which words are this one; one more entry, so that an empty list can be indexed."""
    return np.array([*(word == kind for word in words), False])


@feature(
    unit="count",
    absence=NO_KIND,
    phrase={"en": "complained {value} times about products", "zh-CN": "投诉产品问题{value}次"},
    tables=COMPLAINTS,
)
def product_complaints(h: History) -> Floats:
    """Complaints about products, in all."""
    return _of_kind(h, "product")


@feature(
    unit="count",
    absence=NO_KIND,
    phrase={"en": "complained {value} times about service", "zh-CN": "投诉服务问题{value}次"},
    tables=COMPLAINTS,
)
def service_complaints(h: History) -> Floats:
    """Complaints about service, in all."""
    return _of_kind(h, "service")


@feature(
    unit="count",
    absence=NO_KIND,
    phrase={"en": "complained {value} times about prices", "zh-CN": "投诉价格问题{value}次"},
    tables=COMPLAINTS,
)
def price_complaints(h: History) -> Floats:
    """Complaints about prices, in all."""
    return _of_kind(h, "price")


@feature(
    unit="count",
    absence=NO_KIND,
    phrase={"en": "complained {value} times about delivery", "zh-CN": "投诉配送问题{value}次"},
    tables=COMPLAINTS,
)
def delivery_complaints(h: History) -> Floats:
    """Complaints about delivery, in all."""
    return _of_kind(h, "delivery")


@feature(
    unit="count",
    absence=NO_SCORES,
    phrase={"en": "answered {value} surveys", "zh-CN": "累计回复{value}次满意度调查"},
    tables=SURVEYS,
)
def surveys_answered(h: History) -> Floats:
    """Surveys answered with a score, in all."""
    return _scores(h, "score_known", None)


def _scores(h: History, measure: str, last: int | None) -> Floats:
    return h.total(measure, last, table="surveys")


@feature(
    unit="share",
    absence=unless(
        "the last survey has no score, or there is none", lambda h, _: h.value("score_known", table="surveys")
    ),
    phrase={"en": "the last satisfaction score was {value}", "zh-CN": "最近一次满意度为{value}"},
    tables=SURVEYS,
)
def score_last(h: History) -> Floats:
    """The last score, from 0 to 1."""
    return np.where(h.value("score_known", table="surveys") > 0, h.value("score", table="surveys") / 1e6, np.nan)


@feature(
    unit="share",
    absence=NO_SCORE,
    phrase={"en": "satisfaction scores average {value}", "zh-CN": "平均满意度为{value}"},
    tables=SURVEYS,
)
def score_mean(h: History) -> Floats:
    """Mean of all scores, from 0 to 1."""
    return ratio(_scores(h, "score", None) / 1e6, _scores(h, "score_known", None))


@feature(
    unit="share",
    absence=opens_before_records("surveys")
    | unless("no score in the window", lambda h, last: _scores(h, "score_known", last)),
    phrase={
        "en": "satisfaction scores of the last {days} days average {value}",
        "zh-CN": "最近{days}天平均满意度为{value}",
    },
    tables=SURVEYS,
    over=(FOUR,),
)
def score_mean_recent(h: History, last: int) -> Floats:
    """Mean of the window's scores, from 0 to 1."""
    return ratio(_scores(h, "score", last) / 1e6, _scores(h, "score_known", last))


@feature(
    unit="score",
    absence=unless("the last survey has no score", lambda h, _: h.value("score_known", table="surveys"))
    | unless("fewer than two scores", lambda h, _: _scores(h, "score_known", None) - 1),
    phrase={
        "en": "the last score was {value} above the earlier ones (of 1)",
        "zh-CN": "最近满意度比以往高{value}（满分1）",
    },
    tables=SURVEYS,
)
def score_trend(h: History) -> Floats:
    """The last score less the mean of those before it."""
    n, s = _scores(h, "score_known", None), _scores(h, "score", None) / 1e6
    last: Floats = score_last(h)
    trend: Floats = last - ratio(s - last, n - 1)
    return trend


@feature(
    unit="share",
    absence=NO_SCORE,
    phrase={"en": "the lowest satisfaction score was {value}", "zh-CN": "最低满意度为{value}"},
    tables=SURVEYS,
)
def score_lowest(h: History) -> Floats:
    """The lowest score, from 0 to 1."""
    if not h.has("surveys", "score_known"):
        return h.nan
    shown = h.derive("score or best", lambda m: np.where(m["score_known"] > 0, m["score"], 10**6), "surveys")
    return np.where(_scores(h, "score_known", None) > 0, h.over(np.minimum, shown, table="surveys") / 1e6, np.nan)


@feature(
    unit="days",
    absence=unless("has not answered a survey yet", lambda h, _: h.count(table="surveys")),
    phrase={"en": "last answered a survey {value} days ago", "zh-CN": "上次回复调查在{value}天前"},
    tables=SURVEYS,
)
def days_since_survey(h: History) -> Floats:
    """Days since the last survey was answered."""
    return h.days_since("surveys")


@feature(
    unit="ratio",
    absence=unless("was never invited to a survey", lambda h, _: h.count(table="invitations")),
    phrase={"en": "answers {value} of the surveys sent", "zh-CN": "调查回复率{value}"},
    tables=(*SURVEYS, "invitations"),
)
def survey_response(h: History) -> Floats:
    """Surveys answered over invitations."""
    return ratio(h.count(table="surveys"), h.count(table="invitations"))


@feature(
    unit="share",
    absence=unless("no delivery was promised for a day", lambda h, _: h.total("late_days_known", table="deliveries")),
    phrase={"en": "{value} of deliveries came late", "zh-CN": "{value}的配送超过承诺时间"},
    tables=DELIVERIES,
)
def late_deliveries(h: History) -> Floats:
    """Share of delivered lines that came after the day promised."""
    promised = h.derive("promised lines", lambda m: m["lines"] * (m["late_days_known"] > 0), "deliveries")
    late = h.derive("late lines", lambda m: m[promised] * (m["late_days"] > 0), "deliveries")
    return ratio(h.total(late, table="deliveries"), h.total(promised, table="deliveries"))


@feature(
    unit="days",
    absence=NO_DELIVERY,
    phrase={"en": "the last delivery took {value} days", "zh-CN": "最近一次配送用时{value}天"},
    tables=DELIVERIES,
)
def delivery_wait_last(h: History) -> Floats:
    """Days from the order to the last delivery."""
    return h.value("waited", table="deliveries")


@feature(
    unit="days",
    absence=NO_DELIVERY,
    phrase={"en": "deliveries take {value} days", "zh-CN": "平均配送用时{value}天"},
    tables=DELIVERIES,
)
def delivery_wait(h: History) -> Floats:
    """Mean days from the order to delivery, by lines."""
    by_line = h.derive("line days waited", lambda m: m["lines"] * m["waited"], "deliveries")
    return ratio(h.total(by_line, table="deliveries"), h.total("lines", table="deliveries"))


@feature(
    unit="days",
    absence=unless(
        "the last delivery was not promised for a day, or there is none",
        lambda h, _: h.value("late_days_known", table="deliveries"),
    ),
    phrase={"en": "the last delivery was {value} days late", "zh-CN": "最近一次配送延迟{value}天"},
    tables=DELIVERIES,
)
def delivery_delay_last(h: History) -> Floats:
    """Days between the day promised and the last delivery; early is negative."""
    delay = h.value("late_days", table="deliveries") - h.value("early_days", table="deliveries")
    return np.where(h.value("late_days_known", table="deliveries") > 0, delay, np.nan)
