"""Every number the simulated shop is made of, in one table, with its meaning; and the shops that differ from the usual
one.

The rates of life (one-timers, purchase rate, hazard, dormancy) are set so that a cohort looks like CDNOW's: the same
share of one-time buyers, the same share of money in the best fifth of customers, the same quartiles of the gaps
between purchases. The rest is set by judgement to what retailers report: two to four complaints and returns in a
hundred purchases, three surveys answered in a hundred, actions worth one to three points of retention.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from features.errors import UsageError


def _is(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Parameters:
    """Rates are a week, money is in whole minor units (cents), shares are of 1."""

    # Life: active -> dormant -> gone, and now and then back
    one_timers: float = _is(0.31, "share of customers who by nature buy once and never again")
    rate_shape: float = _is(1.0, "Gamma shape of the purchase rate across customers")
    rate_mean: float = _is(0.1, "mean purchase days a week while active")
    rate_equal: bool = _is(False, "every customer has the mean rate: nobody differs from anybody")
    leave_median: float = _is(0.045, "median hazard of going from active to dormant")
    leave_spread: float = _is(1.27, "standard deviation of its logarithm")
    leave_cap: float = _is(0.5, "no customer's own hazard is higher")
    dormant_rate: float = _is(0.113, "purchase rate while dormant, as a share of the active one")
    back: float = _is(0.043, "chance of going from dormant back to active")
    gone: float = _is(0.015, "chance of going from dormant to gone for ever")
    leaving_possible: bool = _is(True, "False: nobody ever goes dormant, purchases fall at random for ever")
    life_change: float = _is(0.012, "chance that a household begins to buy more or less for good, once in its life")
    life_change_grows: float = _is(0.4, "share of those changes that are upward")
    life_change_up: float = _is(1.8, "factor on the purchase rate after an upward change, reached in 13 weeks")
    life_change_down: float = _is(0.4, "factor after a downward change")

    # Arrival
    opening: float = _is(0.4, "share of customers who came in the weeks before the log begins")
    opening_weeks: int = _is(26, "how many such weeks are lived, unlogged")
    arrival_weeks: int | None = _is(None, "customers come in this many weeks only; None: in all of them")
    arrival_growth: float = _is(1.0, "arrivals in a year as a multiple of those of the year before")

    # Season and market
    season: float = _is(0.12, "amplitude of the year's wave in purchase rates (logarithm)")
    christmas: float = _is(0.6, "height of the six weeks before Christmas (logarithm)")
    season_spread: float = _is(0.5, "standard deviation (logarithm) of how much season a customer feels")
    market_noise: float = _is(0.05, "standard deviation (logarithm) of the weekly weather of the market")
    growth: float = _is(1.0, "purchase rates in a year as a multiple of those of the year before")
    inflation: float = _is(0.03, "rise of all prices in a year")
    price_shock: float = _is(0.08, "sudden rise of all prices, at `shock_at`")
    shock_at: float = _is(0.6, "when shocks come, as a share of the log")
    slump: float = _is(0.06, "hazard that eight weeks of bad market add for everybody, at a third of the log")
    rival: float = _is(
        0.35, "hazard that a rival's shop adds for disloyal customers of its category, falling by half in 13 weeks"
    )
    price_pain: float = _is(2.5, "hazard added per unit of price rise above 2 % in 13 weeks, times price sensitivity")
    service_slump: float = _is(
        2.5, "factor on trouble and on waiting during ten weeks of bad service, at half of the log"
    )

    # Goods
    categories: int = _is(12, "product categories")
    products: int = _is(40, "products in each")
    price_median: int = _is(1450, "median list price")
    price_category: float = _is(0.45, "standard deviation of the logarithm of price between categories")
    price_product: float = _is(0.7, "the same between the products of a category")
    cost_share: float = _is(0.58, "cost of goods as a share of list price")
    promotion: float = _is(0.2, "price cut in the two categories on promotion each week")
    lines_mean: float = _is(1.0, "mean of the chance-odds that a basket goes on: more means bigger baskets")
    value_spread: float = _is(1.15, "standard deviation (logarithm) of basket size between customers")
    rate_value: float = _is(0.2, "correlation of purchase rate and basket size")

    # Trouble
    trouble: float = _is(0.22, "share of trips that end in a grievance at mean sensitivity")
    grievance: float = _is(0.4, "hazard added while aggrieved, at mean service sensitivity")
    heal: float = _is(0.25, "chance that a grievance ends, by an answer or by forgetting")
    complains: float = _is(0.25, "share of grievances that become complaints")
    grumbles: float = _is(0.006, "share of trips that end in a complaint without a grievance")
    price_grumbles: float = _is(
        2.0, "the same because of prices, per unit of their rise above 2 % and of price sensitivity"
    )
    returned: float = _is(0.03, "share of lines that are sent back")
    returned_bad: float = _is(0.6, "the same for the first line of a trip whose product disappointed")

    # Voice
    surveyed: float = _is(0.25, "share of trips followed by an invitation to a survey")
    answers: float = _is(0.12, "share of the indifferent who answer")
    answers_extreme: float = _is(0.5, "share of the delighted and the angry who answer")
    exits: float = _is(0.06, "share of those gone who answer an exit survey")
    advocates: float = _is(0.02, "mean share of contented trips after which a friend is told")

    # Contacts, as the shop made them before holdfast
    campaign_every: int = _is(6, "weeks between mailings; 0: none")
    campaign_reach: float = _is(0.6, "share of consenting customers in a mailing")
    campaign_control: float = _is(0.15, "share of them held out at random; 0 leaves no evidence")
    campaign_targeted: bool = _is(
        False, "mailings go to the recently active instead of to a random part, and nobody is held out"
    )
    coupon: float = _is(0.15, "price cut of the discount action, on the first trip within three weeks")
    cost_discount: int = _is(20, "cost of sending a coupon")
    cost_reminder: int = _is(10, "cost of a reminder")
    cost_service: int = _is(450, "cost of a service call")

    # What contacts do
    discount_lift: float = _is(2.0, "rate added by a coupon at full response")
    reminder_lift: float = _is(1.2, "rate added by a reminder at full response")
    payback: float = _is(0.15, "share of the coupon's lift that is missing three to six weeks later")
    wake_discount: float = _is(8.0, "odds added to coming back from dormancy by a coupon, at full response")
    wake_reminder: float = _is(5.5, "the same by a reminder")
    hold_discount: float = _is(0.8, "share of the hazard that a coupon takes away for six weeks, at full response")
    hold_service: float = _is(
        0.75, "share of a grievance's hazard that a call takes away for nine weeks, at full response"
    )
    settle_service: float = _is(0.6, "chance that a call ends a grievance in each of four weeks, at full response")
    sleeping_dogs: float = _is(0.12, "share of customers whom contact drives away")
    bite: float = _is(0.08, "hazard that contact adds for them, for three weeks")
    fatigue: float = _is(0.35, "share of a contact's good effect that each recent contact takes away")


SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "shop": {},
    "cohort": {
        "opening": 0.0, "arrival_weeks": 12, "christmas": 0.25, "campaign_every": 0, "slump": 0.0, "rival": 0.0,
        "price_shock": 0.0,
    },
    "christmas": {"christmas": 1.6, "season_spread": 0.8},
    "growth": {"growth": 1.5, "arrival_growth": 2.5},
    "price_shock": {"price_shock": 0.25},
    "one_product": {"categories": 1, "products": 1, "rival": 0.0},
    "targeted": {"campaign_targeted": True},
    "random": {
        "one_timers": 0.0, "rate_equal": True, "rate_mean": 0.07, "leaving_possible": False, "life_change": 0.0,
        "season": 0.0, "christmas": 0.0, "market_noise": 0.0, "campaign_every": 0, "trouble": 0.0,
    },
    "faint": {
        "one_timers": 0.0, "rate_shape": 2.5, "rate_mean": 0.1, "leaving_possible": False, "life_change": 0.0,
        "season": 0.0, "christmas": 0.0, "market_noise": 0.0, "campaign_every": 0, "trouble": 0.0,
    },
}  # fmt: skip
"""Shops that differ from the usual one: `cohort` (all customers come in twelve weeks, as CDNOW's did), a strong
`christmas`, `growth` of arrivals and rates, a `price_shock`, `one_product`, `targeted` mailings without a control
group, `random` (equal customers buying at random: nothing can be forecast) and `faint` (slightly unequal ones: little
can)."""


def of(scenario: str, base: Parameters | None = None) -> Parameters:
    """The parameters of a scenario, laid over `base`. Raises UsageError for a name that is none."""
    if scenario not in SCENARIOS:
        raise UsageError("no scenario is called that", got=repr(scenario), allowed=", ".join(SCENARIOS))
    return replace(base or Parameters(), **SCENARIOS[scenario])


def table() -> Iterator[tuple[str, str, str]]:
    """(name, value, meaning) of every parameter: the documentation is made from this."""
    for one in fields(Parameters):
        yield one.name, str(one.default), one.metadata["meaning"]
