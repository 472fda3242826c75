"""Who the customers of a simulated shop are: traits that nobody observes, and the card that the shop keeps of them.

Every trait is a function of the seed and the customer's number alone. Traits hang together as in life: those who buy
often also fill bigger baskets, the price-sensitive pick cheaper goods and use coupons, the young buy online.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

from training.shop.dice import BEFORE, Floats, Ints, Stream, draw
from training.shop.market import TIERS, Market, arrivals
from training.shop.parameters import Parameters

CHANNELS = ("organic", "search", "social", "affiliate", "referral")
CHANNEL_SHARES = (0.3, 0.28, 0.2, 0.12, 0.1)
REGIONS = ("north", "east", "south", "west", "centre")
GENDERS = ("female", "male", "")
STORES = 8

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Customers:
    """Arrays by customer. Sensitivities and responses lie in 0..1; `rate` is purchase days a week; `line_odds` is the
    chance that a basket goes on after each line; `favourite`, `second` are categories and `loyal`, `roving` the chances
    that a line comes from them; `change_week` is when a household changes for good, to `change` times its rate."""

    number: Ints
    joined: Ints
    one_timer: Bools
    rate: Floats
    leave: Floats
    line_odds: Floats
    tier: Ints
    favourite: Ints
    second: Ints
    loyal: Floats
    roving: Floats
    price_sensitive: Floats
    service_sensitive: Floats
    season_felt: Floats
    change_week: Floats
    change: Floats
    content: Floats
    advocate: Floats
    open_rate: Floats
    discount_response: Floats
    reminder_response: Floats
    service_response: Floats
    redeems: Floats
    dog: Floats
    online: Bools
    mailable: Bools
    channel: Ints

    def __len__(self) -> int:
        return len(self.number)

    def take(self, index: Ints) -> Customers:
        """The chosen customers."""
        return replace(self, **{one.name: getattr(self, one.name)[index] for one in fields(self)})


def customers(p: Parameters, market: Market, seed: int, *, weeks: int, total: int, first: int, last: int) -> Customers:
    """Customers number `first` to `last` - 1 of a shop that will have seen `total` of them after `weeks` weeks."""
    number = np.arange(first, last)
    nature, money, taste, character, response, person, life = (
        draw(seed, BEFORE, stream, number)
        for stream in (
            Stream.NATURE, Stream.MONEY, Stream.TASTE, Stream.CHARACTER, Stream.RESPONSE, Stream.PERSON, Stream.LIFE,
        )
    )  # fmt: skip
    rate = _rate(p, nature[1])
    value = p.rate_value * ndtri(nature[1]) + np.sqrt(1 - p.rate_value**2) * ndtri(money[0])
    price_sensitive = _bell(character[0], 1.0)
    service_sensitive = _bell(character[1], 1.0)
    open_rate = 0.05 + 0.7 * response[0] ** 2
    reminded = np.exp(-8 * rate)
    odds = p.lines_mean * np.exp(p.value_spread * value - 0.5 * p.value_spread**2)
    joined = arrivals(p, weeks, total)[first:last]
    return Customers(
        number=number,
        joined=joined,
        one_timer=nature[0] < p.one_timers,
        rate=rate,
        leave=_leave(p, nature[2]),
        line_odds=odds / (1 + odds),
        tier=np.clip((0.55 * len(TIERS) * (1 - price_sensitive) + 0.45 * len(TIERS) * money[1]).astype(np.int64), 0, 4),
        favourite=_category(market, taste[0]),
        second=_category(market, taste[1]),
        loyal=0.25 + 0.6 * taste[2],
        roving=0.25 * taste[3],
        price_sensitive=price_sensitive,
        service_sensitive=service_sensitive,
        season_felt=np.exp(p.season_spread * ndtri(nature[3]) - 0.5 * p.season_spread**2),
        change_week=joined + np.log(life[0]) / np.log1p(-p.life_change)
        if p.life_change
        else np.full(len(joined), np.inf),
        change=np.where(life[1] < p.life_change_grows, p.life_change_up, p.life_change_down),
        content=ndtri(character[2]),
        advocate=p.advocates * -np.log(character[3]),
        open_rate=open_rate,
        discount_response=_threshold(price_sensitive, 0.55, 0.07) * (0.3 + 0.7 * response[1]) * np.sqrt(open_rate),
        reminder_response=4 * reminded * (1 - reminded) * response[2] ** 2 * np.sqrt(open_rate),
        service_response=_threshold(service_sensitive, 0.45, 0.1) * (0.4 + 0.6 * response[1]),
        redeems=np.clip(0.1 + 0.7 * price_sensitive * np.sqrt(open_rate), 0.0, 1.0),
        dog=np.where(response[3] < p.sleeping_dogs, 0.3 + 0.7 * life[2], 0.0),
        online=person[0] < 0.65,
        mailable=draw(seed, BEFORE, Stream.CONSENT, number)[0] < 0.7,
        channel=np.minimum(np.searchsorted(np.cumsum(CHANNEL_SHARES), person[1]), len(CHANNELS) - 1),
    )


def identifiers(number: Ints) -> NDArray[np.object_]:
    """Ids that do not tell the order of arrival: a fixed permutation of the numbers below 10**8."""
    scrambled = (number * 61_803_391 + 27_182_819) % 100_000_000
    return np.array([f"C{one:08d}" for one in scrambled], dtype=object)


def _rate(p: Parameters, u: Floats) -> Floats:
    if p.rate_equal:
        return np.full(len(u), p.rate_mean)
    return np.asarray(gammaincinv(p.rate_shape, u) * p.rate_mean / p.rate_shape)


def _leave(p: Parameters, u: Floats) -> Floats:
    if not p.leaving_possible:
        return np.zeros(len(u))
    return np.asarray(np.minimum(p.leave_median * np.exp(p.leave_spread * ndtri(u)), p.leave_cap))


def _bell(u: Floats, spread: float) -> Floats:
    """A trait in 0..1 with its median at .4 and most customers in the middle."""
    return np.asarray(1 / (1 + np.exp(-(spread * ndtri(u) - 0.4))))


def _threshold(trait: Floats, at: float, width: float) -> Floats:
    """Nothing below a threshold, everything above: no product of linear terms can follow it."""
    return np.asarray(1 / (1 + np.exp(-(trait - at) / width)))


def _category(market: Market, u: Floats) -> Ints:
    return np.minimum(np.searchsorted(np.cumsum(market.popularity), u), len(market.popularity) - 1).astype(np.int64)
