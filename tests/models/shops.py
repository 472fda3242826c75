"""Small simulated shops with one thing each that makes forecasting hard: a Christmas, growth, a price shock, chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from memory import MemoryStore

from features.config import Economics, Model
from features.windows import Windows

WINDOWS = Windows(horizon=60, active=120)
SETTINGS = Model(trees=30, rows=4_000, threads=1)
ECONOMICS = Economics(margin=0.3, years=2.0, discount_rate=0.1)

Floats = np.ndarray
START = 18_262  # 2020-01-01
SPAN = 1_000


def shop(
    customers: int = 2_000,
    seed: int = 0,
    *,
    days: int = SPAN,
    joined: Callable[[Floats], Floats] = lambda u: u,
    season: Callable[[Floats], Floats] = np.ones_like,
    price: Callable[[Floats], Floats] = np.ones_like,
    gap: float = 60.0,
    spread: float = 1.0,
    regular: float = 1.0,
    life: float = 500.0,
    life_spread: float = 1.0,
    one_time: float = 0.3,
    ticket: float = 30.0,
) -> MemoryStore:
    """Customers join at a day drawn through `joined` (a quantile function on 0..1), buy at gamma-renewal times of mean
    `gap` (shape `regular`; 1 is chance, more is a habit) in a time that runs faster in `season`, and leave after an
    exponential life. `spread` and `life_spread`: standard deviations of the log of gap and life over customers; 0 makes
    all alike. `price` multiplies amounts by day."""
    rng = np.random.default_rng(seed)
    born = joined(rng.random(customers)) * (days - 1)
    pace = np.exp(spread * rng.standard_normal(customers)) * gap
    ends = born + rng.exponential(life * np.exp(life_spread * rng.standard_normal(customers)))
    ends = np.where(rng.random(customers) < one_time, born, ends)
    clock = np.concatenate([[0.0], np.cumsum(season(np.arange(days)))])  # season time at the end of each day
    now, who, when = np.interp(born, np.arange(days + 1), clock), [np.arange(customers)], [born]
    alive = np.arange(customers)
    while len(alive):
        now[alive] += rng.gamma(regular, pace[alive] / regular)
        at = np.interp(now[alive], clock, np.arange(days + 1), right=np.inf)
        alive, at = (part[at < np.minimum(ends[alive], days)] for part in (alive, at))
        who.append(alive)
        when.append(at)
    person, day = np.concatenate(who), np.floor(np.concatenate(when)).astype(np.int64)
    mean = ticket * np.exp(0.5 * rng.standard_normal(customers))
    amount = mean[person] * np.exp(0.5 * rng.standard_normal(len(person))) * price(day)
    return MemoryStore.of([f"c{k:06}" for k in person], START + day, np.maximum(amount, 0.01))


def christmas(day: Floats) -> Floats:
    """Six weeks before Christmas at four times the pace (days count from a 1 January)."""
    of_year = np.asarray(day) % 365.25
    return np.where((of_year > 315) & (of_year < 358), 4.0, 0.8)


def growing(u: Floats) -> Floats:
    """New customers come ever faster: a doubling every 200 days or so."""
    return np.log1p(u * (np.exp(3.5) - 1)) / 3.5


SHOPS: dict[str, Callable[[int, int], MemoryStore]] = {
    "plain": shop,
    "habit": lambda n, seed: shop(n, seed, gap=25, regular=4, spread=0.6, life=400, one_time=0.1),
    "christmas": lambda n, seed: shop(n, seed, season=christmas, life=700),
    "growth": lambda n, seed: shop(n, seed, joined=growing),
    "price shock": lambda n, seed: shop(n, seed, price=lambda d: np.where(np.asarray(d) > 0.7 * SPAN, 1.6, 1.0)),
    "one-timers": lambda n, seed: shop(n, seed, one_time=0.85, life=300),
}


def random_shop(customers: int, seed: int, gap: float = 120.0) -> MemoryStore:
    """Everybody buys at the same rate, always, from the first day on: nothing tells customers apart."""
    return shop(
        customers,
        seed,
        days=700,
        joined=np.zeros_like,
        gap=gap,
        spread=0.0,
        life=1e9,
        life_spread=0.0,
        one_time=0.0,
    )
