"""Response: what the shop sent, what came of it, and whether the customer is tired of it.

A contact is a campaign row that was not randomly held out; who was held out got nothing and cannot be tired. Openings,
clicks and redemptions are rows of their own days.
"""

from __future__ import annotations

import numpy as np

from features.absence import NEVER, no_column, opens_before_records, unless
from features.catalogue import EIGHTH, FOUR, ONE, feature
from features.history import Floats, History, ratio

CAMPAIGNS = ("purchases", "campaigns")
NEVER_CONTACTED = unless("was never contacted", lambda h, _: _contacts(h))


def _contacts(h: History, last: int | None = None, before: int = 0) -> Floats:
    return h.total(_contact(h), last, before, "campaigns")


def _contact(h: History) -> str:
    """1 for a campaign row that was sent."""
    return h.derive("contact", lambda m: m["control"] <= 0, "campaigns")


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "was contacted {value} times", "zh-CN": "累计被触达{value}次"},
    tables=CAMPAIGNS,
)
def contacts(h: History) -> Floats:
    """Contacts in all."""
    return _contacts(h)


@feature(
    unit="count",
    absence=opens_before_records("campaigns"),
    phrase={"en": "was contacted {value} times in the last {days} days", "zh-CN": "最近{days}天被触达{value}次"},
    tables=CAMPAIGNS,
    over=(EIGHTH, ONE, FOUR),
)
def contacts_recent(h: History, last: int) -> Floats:
    """Contacts in the window."""
    return _contacts(h, last)


@feature(
    unit="days",
    absence=NEVER_CONTACTED,
    phrase={"en": "was last contacted {value} days ago", "zh-CN": "上次触达在{value}天前"},
    tables=CAMPAIGNS,
)
def days_since_contact(h: History) -> Floats:
    """Days since the last contact."""
    _contact(h)
    day = h.over(
        np.maximum, h.derive("day of contact", lambda m: m["day"] * m["contact"], "campaigns"), table="campaigns"
    )
    return np.where(day > 0, h.cut - day, np.nan)


@feature(
    unit="count",
    absence=NEVER,
    phrase={"en": "was contacted {value} times since the last purchase", "zh-CN": "最近一次购买后被触达{value}次"},
    tables=CAMPAIGNS,
)
def contacts_since_purchase(h: History) -> Floats:
    """Contacts after the last purchase day: messages that did not bring the customer back."""
    return h.count_since("campaigns", _contact(h))


@feature(
    unit="ratio",
    absence=NEVER_CONTACTED,
    phrase={"en": "opened {value} of the messages", "zh-CN": "消息打开率{value}"},
    tables=(*CAMPAIGNS, "campaigns_opened"),
)
def open_rate(h: History) -> Floats:
    """Messages opened over contacts."""
    return ratio(h.count(table="campaigns_opened"), _contacts(h))


@feature(
    unit="ratio",
    absence=NEVER_CONTACTED,
    phrase={"en": "clicked in {value} of the messages", "zh-CN": "消息点击率{value}"},
    tables=(*CAMPAIGNS, "campaigns_clicked"),
)
def click_rate(h: History) -> Floats:
    """Messages clicked over contacts."""
    return ratio(h.count(table="campaigns_clicked"), _contacts(h))


@feature(
    unit="ratio",
    absence=NEVER_CONTACTED,
    phrase={"en": "redeemed {value} of the offers", "zh-CN": "优惠核销率{value}"},
    tables=(*CAMPAIGNS, "campaigns_redeemed"),
)
def redemption_rate(h: History) -> Floats:
    """Offers redeemed over contacts."""
    return ratio(h.count(table="campaigns_redeemed"), _contacts(h))


@feature(
    unit="count",
    absence=opens_before_records("campaigns"),
    phrase={"en": "redeemed {value} offers in the last {days} days", "zh-CN": "最近{days}天核销优惠{value}次"},
    tables=(*CAMPAIGNS, "campaigns_redeemed"),
    over=(ONE, FOUR),
)
def redemptions_recent(h: History, last: int) -> Floats:
    """Offers redeemed in the window."""
    return h.count(last, table="campaigns_redeemed")


@feature(
    unit="days",
    absence=unless("has not redeemed an offer yet", lambda h, _: h.count(table="campaigns_redeemed")),
    phrase={"en": "last redeemed an offer {value} days ago", "zh-CN": "上次核销优惠在{value}天前"},
    tables=(*CAMPAIGNS, "campaigns_redeemed"),
)
def days_since_redemption(h: History) -> Floats:
    """Days since the last offer was redeemed."""
    return h.days_since("campaigns_redeemed")


@feature(
    unit="days",
    absence=unless("has not opened a message yet", lambda h, _: h.count(table="campaigns_opened")),
    phrase={"en": "last opened a message {value} days ago", "zh-CN": "上次打开消息在{value}天前"},
    tables=(*CAMPAIGNS, "campaigns_opened"),
)
def days_since_open(h: History) -> Floats:
    """Days since a message was last opened."""
    return h.days_since("campaigns_opened")


@feature(
    unit="ratio",
    absence=opens_before_records("campaigns", 2)
    | unless("was not contacted in the equally long window before", lambda h, last: _contacts(h, last, last)),
    phrase={
        "en": "is contacted {value} times as often as in the {days} days before",
        "zh-CN": "最近{days}天的触达次数是此前{days}天的{value}倍",
    },
    tables=CAMPAIGNS,
    over=(ONE,),
)
def contact_pressure(h: History, last: int) -> Floats:
    """Contacts in the window over those in the equally long one before it."""
    return ratio(_contacts(h, last), _contacts(h, last, last))


@feature(
    unit="ratio",
    absence=opens_before_records("campaigns")
    | unless("was not contacted in the window", _contacts)
    | unless(
        "opened nothing before it",
        lambda h, last: h.count(before=last, table="campaigns_opened") * _contacts(h, None, last),
    ),
    phrase={
        "en": "responds {value} times as readily in the last {days} days as before (fatigue below 1)",
        "zh-CN": "最近{days}天的响应率是此前的{value}倍（低于1表示疲劳）",
    },
    tables=(*CAMPAIGNS, "campaigns_opened"),
    over=(ONE,),
)
def response_drift(h: History, last: int) -> Floats:
    """Openings per contact in the window over those of everything before it."""
    now = ratio(h.count(last, table="campaigns_opened"), _contacts(h, last))
    then = ratio(h.count(before=last, table="campaigns_opened"), _contacts(h, None, last))
    return ratio(now, then)


@feature(
    unit="money",
    absence=no_column("campaigns", "cost") | opens_before_records("campaigns"),
    phrase={"en": "contacts of the last {days} days cost {value}", "zh-CN": "最近{days}天触达成本{value}"},
    tables=CAMPAIGNS,
    over=(FOUR,),
)
def contact_cost(h: History, last: int) -> Floats:
    """What the contacts of the window cost."""
    return h.money(last, table="campaigns", measure="cost")


@feature(
    unit="count",
    absence=no_column("campaigns", "channel"),
    phrase={"en": "was contacted through {value} channels", "zh-CN": "通过{value}个渠道被触达"},
    tables=CAMPAIGNS,
)
def contact_channels(h: History) -> Floats:
    """Distinct channels of campaign rows, in all."""
    return h.distinct("channel", table="campaigns")
