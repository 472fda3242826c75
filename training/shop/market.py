"""What all customers of a simulated shop share: the calendar, the weather of the market, goods, prices, shocks.

Everything here is drawn from the seed before the first customer comes, by week number (week 0 is the first that is
logged), and known for three years past the log, so that a shop can be played on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from features.windows import to_date
from training.shop.dice import BEFORE, Floats, Ints, Stream, draw
from training.shop.parameters import Parameters

TIERS = np.array([2.5, 1.6, 1.0, 0.65, 0.4])
"""Customers of the lowest tier pick the k-th cheapest of K products with k = K u**2.5, those of the highest with
u**0.4."""

AFTER = 160
"""Weeks past the log that are known."""

_LAG = 13


@dataclass(frozen=True)
class Market:
    """Arrays by week are read through `at(week)`: their first entry is week -`opening`, with `_LAG` weeks before it."""

    first: int
    season: Floats
    common: Floats
    price: Floats
    rise: Floats
    slump: Floats
    rival: Floats
    rival_category: int
    service: Floats
    promoted: Ints
    popularity: Floats
    prices: Ints
    costs: Ints
    mean_price: Floats
    mean_cost: Floats

    def at(self, week: int) -> int:
        """The place of a week in the arrays. Raises ValueError outside the years that were drawn."""
        place = week - self.first
        if not 0 <= place < len(self.season):
            raise ValueError(f"week {week} lies outside the simulated years")
        return place


def market(p: Parameters, seed: int, weeks: int, start: int) -> Market:
    """The market of `weeks` logged weeks from day `start` on."""
    first = -(p.opening_weeks + _LAG)
    week = np.arange(first, weeks + AFTER)
    years = np.maximum(week, 0) / 52.18
    noise = ndtri(draw(seed, BEFORE, Stream.MARKET, week - first))
    shock = round(p.shock_at * weeks)
    price = (1 + p.inflation) ** (week / 52.18) * np.where(week >= shock, 1 + p.price_shock, 1.0)
    before = np.concatenate([np.repeat(price[0], _LAG), price[:-_LAG]])
    popularity = _popularity(p.categories)
    rival_at, slump_at, service_at = round(0.45 * weeks), round(weeks / 3), round(weeks / 2)
    prices, costs = _goods(p, seed)
    weight = _tier_weights(p.products)
    return Market(
        first=first,
        season=_season(p, start, week),
        common=np.log(p.growth) * years + p.market_noise * noise[0],
        price=price,
        rise=np.maximum(price / before - 1.02, 0.0),
        slump=np.where((week >= slump_at) & (week < slump_at + 8), p.slump, 0.0),
        rival=np.where(week >= rival_at, 0.5 ** ((week - rival_at) / 13.0), 0.0),
        rival_category=int(draw(seed, BEFORE, Stream.GOODS, np.array([0]))[0, 0] * min(3, p.categories)),
        service=np.where((week >= service_at) & (week < service_at + 10), p.service_slump, 1.0),
        promoted=_promoted(noise[1:3], p.categories),
        popularity=popularity,
        prices=prices,
        costs=costs,
        mean_price=prices @ weight.T,
        mean_cost=costs @ weight.T,
    )


def arrivals(p: Parameters, weeks: int, customers: int) -> Ints:
    """The week in which each customer comes, in ascending order: quantiles of the arrival curve, so no dice are
    needed."""
    week = np.arange(-p.opening_weeks, weeks)
    span = weeks if p.arrival_weeks is None else min(p.arrival_weeks, weeks)
    later = np.where((week >= 0) & (week < span), p.arrival_growth ** (week / 52.18), 0.0)
    earlier = np.where(week < 0, 1.0, 0.0)
    curve = np.cumsum(p.opening * earlier / max(earlier.sum(), 1.0) + (1 - p.opening) * later / later.sum())
    place = np.searchsorted(curve, (np.arange(customers) + 0.5) / customers * curve[-1])
    return np.asarray(week[np.minimum(place, len(week) - 1)], dtype=np.int64)


def _season(p: Parameters, start: int, week: Ints) -> Floats:
    """Logarithm of the season: a wave with its top in May, six weeks before Christmas, a poor January."""
    dates = [to_date(int(start + 7 * w + 3)) for w in week]
    day = np.array([one.timetuple().tm_yday for one in dates])
    wave = p.season * np.sin(2 * np.pi * (day - 45) / 365.25)
    to_christmas = 358 - day
    rush = np.where((to_christmas >= 0) & (to_christmas < 42), 0.4 + 0.6 * (42 - to_christmas) / 42, 0.0)
    january = np.where((day > 6) & (day < 40), -0.25, 0.0)
    return np.asarray(wave + p.christmas * (rush + january))


def _popularity(categories: int) -> Floats:
    share = 1.0 / (1.0 + np.arange(categories)) ** 0.8
    return np.asarray(share / share.sum())


def _promoted(noise: Floats, categories: int) -> Ints:
    """The two categories on promotion each week (two different ones where there are two)."""
    first = (np.abs(noise[0] * 1e6)).astype(np.int64) % categories
    step = 1 + (np.abs(noise[1] * 1e6)).astype(np.int64) % max(categories - 1, 1)
    return np.stack([first, (first + step) % categories], axis=1)


def _goods(p: Parameters, seed: int) -> tuple[Ints, Ints]:
    """List prices and costs in minor units, (categories, products), cheapest first."""
    number = 1 + np.arange(p.categories * p.products)
    z = ndtri(draw(seed, BEFORE, Stream.GOODS, number)).reshape(4, p.categories, p.products)
    level = p.price_category * z[0, :, :1] + p.price_product * z[1]
    prices = np.sort(np.maximum(np.rint(p.price_median * np.exp(level)), 50), axis=1).astype(np.int64)
    share = np.clip(p.cost_share + 0.06 * z[2, :, :1], 0.3, 0.85)
    return prices, np.rint(prices * share).astype(np.int64)


def _tier_weights(products: int) -> Floats:
    """Chance of each product for each tier, (tiers, products)."""
    edge = np.linspace(0.0, 1.0, products + 1)
    return np.asarray(np.diff(edge[None, :] ** (1 / TIERS[:, None]), axis=1))


def pick(u: Floats, tier: NDArray[np.int64], products: int) -> Ints:
    """The product that a customer of this tier picks."""
    return np.asarray(np.minimum((products * u ** TIERS[tier]).astype(np.int64), products - 1))
