"""What one week does to a customer: the chances, in one place, for playing a week and for the exact truth alike.

A customer is *active*, *aggrieved* (active with a grievance), *dormant*, *dormant and aggrieved*, or *gone*. Each week
the state may change, then purchases fall by the state's rate, and a trip may end in a grievance. `Odds` holds these
chances under the action last taken; `outcomes` sums over all paths through them by recursion, so potential outcomes
are expectations of the very process that is played, not of its dice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.shop.customers import Customers
from training.shop.dice import Floats, Ints
from training.shop.market import Market
from training.shop.parameters import Parameters

STATES = ("active", "aggrieved", "dormant", "dormant aggrieved", "gone")
ACTIVE, AGGRIEVED, DORMANT, DORMANT_AGGRIEVED, GONE = range(5)
UNBORN = -1
ACTIONS = ("nothing", "discount", "reminder", "service")
NOTHING, DISCOUNT, REMINDER, SERVICE = range(4)
CAUSES = ("life cycle", "price", "competition", "market", "contact", "grievance")

LINES = 8
"""A basket has no more lines than this."""

EXTRA = 0.12
"""Share of lines with two pieces instead of one."""

PRODUCT_TROUBLE = 0.4
"""Share of grievances that the product caused; service and delivery cause 30 % each."""

_LIFT = np.array([1.0, 0.7, 0.35, 0.0, 0.0, 0.0, 0.0, 0.0])
_OWED = np.array([0.0, 0.0, 0.0, 1.0, 0.8, 0.5, 0.2, 0.0])
_WAKE = np.array([1.0, 1.0, 0.7, 0.4, 0.0, 0.0, 0.0, 0.0])
_HOLD = np.array([1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.0, 0.0])
_CALL = np.array([1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2])
_BITE = np.array([1.0, 0.8, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
SPENT = len(_LIFT) - 1
"""From this age in weeks on a contact has no effect any more (a call's last trace excepted)."""


@dataclass(frozen=True)
class Contact:
    """The last thing that was done with each customer: its number in ACTIONS, its age in weeks (0 in its own week), how
    tired of contacts the customer is, with what share of its force this contact met the customer, and whether a coupon
    lies unused that will be used on the next trip (1 or 0)."""

    action: Ints
    age: Ints
    tired: Floats
    force: Floats
    coupon: Floats

    @classmethod
    def none(cls, customers: int) -> Contact:
        """Nobody was ever contacted."""
        zero = np.zeros(customers)
        return cls(zero.astype(np.int64), np.full(customers, SPENT), zero, zero.copy(), zero.copy())

    def take(self, index: Ints) -> Contact:
        """The contacts of the chosen customers."""
        return Contact(self.action[index], self.age[index], self.tired[index], self.force[index], self.coupon[index])

    def next_week(self) -> Contact:
        """A week later: older, less tired; a coupon is good for three weeks."""
        age = np.minimum(self.age + 1, SPENT)
        return Contact(self.action, age, self.tired * 0.8, self.force, np.where(age < 3, self.coupon, 0.0))

    def then(self, index: Ints, action: Ints, coupon: Floats, fatigue: float) -> Contact:
        """Once `action` is taken with the customers at `index`: an older coupon lapses, recent contacts take force
        away."""
        new = self.take(np.arange(len(self.age)))
        new.force[index] = np.exp(-fatigue * self.tired[index])
        new.action[index], new.age[index], new.coupon[index] = action, 0, coupon
        new.tired[index] += 1.0
        return new


@dataclass(frozen=True)
class Odds:
    """Chances of one week by customer. `hazard` holds the parts of leaving by cause (CAUSES; the last only while
    aggrieved), `days` the mean purchase days by state, (4, n); `trip` and `cost` the mean takings and cost of goods of
    a trip without coupon, `line` the mean takings of a line, in minor units."""

    hazard: Floats
    leave: Floats
    back: Floats
    gone: Floats
    heal: Floats
    days: Floats
    trouble: Floats
    trip: Floats
    cost: Floats
    line: Floats


def odds(p: Parameters, market: Market, c: Customers, week: int, contact: Contact) -> Odds:
    """The chances of customers `c` in `week`, given what was last done with them."""
    at = market.at(week)
    coupon, reminder, call = (
        np.where(contact.action == one, response * contact.force, 0.0)
        for one, response in (
            (DISCOUNT, c.discount_response),
            (REMINDER, c.reminder_response),
            (SERVICE, c.service_response),
        )
    )
    bite = np.where(contact.action > 0, p.bite * c.dog * _BITE[contact.age], 0.0)
    hazard = _hazard(p, market, c, at, coupon=coupon, call=call, age=contact.age)
    hazard[4] = bite
    calm = hazard[:5].sum(axis=0)
    season = np.exp(c.season_felt * market.season[at] + market.common[at])
    awake = 1 + (p.wake_discount * coupon + p.wake_reminder * reminder) * _WAKE[contact.age]
    back = p.back * awake * np.minimum(season, 2.0)
    lift = (p.discount_lift * coupon + p.reminder_lift * reminder) * _LIFT[contact.age]
    owed = p.payback * p.discount_lift * coupon * _OWED[contact.age]
    change = 1 + (c.change - 1) * np.clip((week - c.change_week) / 13, 0.0, 1.0)
    rate = np.minimum(c.rate * change * season * (1 + lift) * (1 - owed), 3.0)
    line, cost = _line(p, market, c, at)
    lines = (1 - c.line_odds**LINES) / (1 - c.line_odds)
    return Odds(
        hazard=hazard,
        leave=np.minimum(np.stack([calm, calm + hazard[5]]), 0.95),
        back=np.minimum(np.stack([back, 0.4 * back]), 0.9),
        gone=np.stack([p.gone + bite, 1.6 * p.gone + bite]),
        heal=np.minimum(p.heal / market.service[at] + p.settle_service * call * (contact.age < 4), 0.95),
        days=rate * np.array([1.0, 0.75, p.dormant_rate, 0.6 * p.dormant_rate])[:, None],
        trouble=np.minimum(p.trouble * (0.5 + 1.2 * c.service_sensitive) * (0.4 + 0.6 * market.service[at]), 0.5),
        trip=lines * line,
        cost=lines * cost,
        line=line,
    )


def _hazard(p: Parameters, market: Market, c: Customers, at: int, *, coupon: Floats, call: Floats, age: Ints) -> Floats:
    """Parts of the hazard of going dormant, a row a cause."""
    part = np.zeros((len(CAUSES), len(c)))
    if not p.leaving_possible:
        return part
    held = 1 - p.hold_discount * coupon * _HOLD[age]
    part[0] = c.leave * held
    part[1] = p.price_pain * c.price_sensitive * market.rise[at] * held
    at_rival = (c.favourite == market.rival_category) * market.rival[at]
    part[2] = p.rival * at_rival * (1 - c.loyal) * held
    part[3] = market.slump[at] * held
    part[5] = 2 * p.grievance * c.service_sensitive * (1 - p.hold_service * call * _CALL[age])
    return part


def slots(p: Parameters, market: Market, c: Customers, at: int | Ints) -> tuple[Floats, Floats, Floats]:
    """Chances that a line is switched to a promotion, and else comes from the favourite or the second category."""
    lost = 0.6 * (c.favourite == market.rival_category) * market.rival[at] * (1 - c.loyal) * (p.rival > 0)
    return 0.4 * c.price_sensitive, c.loyal * (1 - lost), (1 - c.loyal) * (0.2 + 2 * c.roving)


def _line(p: Parameters, market: Market, c: Customers, at: int) -> tuple[Floats, Floats]:
    """Mean takings and mean cost of one line."""
    cut = np.ones(len(market.popularity))
    cut[market.promoted[at]] = 1 - p.promotion
    switched, favourite, second = slots(p, market, c, at)
    scale = market.price[at] * (1 + EXTRA)

    def mean(table: Floats) -> Floats:
        popular, promoted = market.popularity @ table, table[market.promoted[at]].mean(axis=0)
        own = favourite * table[c.favourite, c.tier] + second * table[c.second, c.tier]
        usual = own + (1 - favourite - second) * popular[c.tier]
        return np.asarray(scale * ((1 - switched) * usual + switched * promoted[c.tier]))

    return mean(market.mean_price * cut[:, None]), mean(market.mean_cost)


def mean_days(days: Floats) -> tuple[Floats, Floats]:
    """(chance of at least one purchase day, mean number) of a Poisson count cut at 3."""
    none = np.exp(-days)
    one, two = none * (1 + days), none * (1 + days + days**2 / 2)
    return 1 - none, 3 - none - one - two


def outcomes(
    p: Parameters,
    market: Market,
    c: Customers,
    week: int,
    *,
    state: Ints,
    contact: Contact,
    redeems: Floats,
    weeks: int,
) -> Mapping[str, Floats]:
    """Exact expectations over the `weeks` weeks from `week` on, if nobody is contacted again: `retention` (chance of
    any purchase), `spend` (takings), `margin` (takings less returns and cost of goods), in minor units.

    `contact` is as it stands in `week`; `redeems` the chance that an unused coupon is redeemed on the next trip (the
    coupon's own flag where that is already decided). State probabilities are carried as (bought yet, state, customer).
    """
    mass = np.zeros((2, 4, len(c)))
    for one in range(4):
        mass[0, one] = state == one
    spend, margin, kept = np.zeros(len(c)), np.zeros(len(c)), np.zeros(len(c))
    for ahead in range(weeks):
        o = odds(p, market, c, week + ahead, contact)
        mass = _move(mass, o)
        some, count = mean_days(o.days)
        coupon = p.coupon * redeems * (contact.coupon > 0) * (mass[0] * some).sum(axis=0)
        trips, buys = (mass.sum(axis=0) * count).sum(axis=0), (mass.sum(axis=0) * some).sum(axis=0)
        taken = o.trip * (trips - coupon)
        bad = o.trouble * PRODUCT_TROUBLE * (p.returned_bad - p.returned)
        spend += taken
        margin += taken * (1 - p.returned) - bad * o.line * (buys - coupon) - o.cost * trips
        kept += (mass[0] * some).sum(axis=0)
        mass = _buy(mass, mass * some, o.trouble)
        contact = contact.next_week()
    return {"retention": kept, "spend": spend, "margin": margin}


def _move(mass: Floats, o: Odds) -> Floats:
    active, aggrieved, dormant, both = mass[:, ACTIVE], mass[:, AGGRIEVED], mass[:, DORMANT], mass[:, DORMANT_AGGRIEVED]
    stay, left = aggrieved * (1 - o.leave[1]), dormant * (1 - o.gone[0])
    left_both = both * (1 - o.gone[1])
    settled = left_both * (1 - o.back[1]) * o.heal
    new = np.empty_like(mass)
    new[:, ACTIVE] = active * (1 - o.leave[0]) + stay * o.heal + left * o.back[0]
    new[:, AGGRIEVED] = stay * (1 - o.heal) + left_both * o.back[1]
    new[:, DORMANT] = active * o.leave[0] + left * (1 - o.back[0]) + settled
    new[:, DORMANT_AGGRIEVED] = aggrieved * o.leave[1] + left_both * (1 - o.back[1]) - settled
    return new


def _buy(mass: Floats, bought: Floats, trouble: Floats) -> Floats:
    """Those who bought are marked; a share of the contented among them is aggrieved from now on."""
    after = mass - bought
    by_state = bought.sum(axis=0)
    after[1] += by_state
    for calm, angry in ((ACTIVE, AGGRIEVED), (DORMANT, DORMANT_AGGRIEVED)):
        after[1, calm] -= by_state[calm] * trouble
        after[1, angry] += by_state[calm] * trouble
    return after
