"""Mixes: how the events of each window divide over words (products, categories, channels), and what that says.

A Mix is sparse: one entry per (window, word) that occurs, ordered by window and then by word, so an assortment of a
hundred thousand products costs what is bought and not what is on the shelf. Sums run in that order with `bincount`,
which adds one by one: a result cannot depend on other windows or on words that do not occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features.block import Ints

Floats = NDArray[np.float64]


def each(lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
    """Every event of every window [lo, hi), flattened: (window, event)."""
    n = np.maximum(hi - lo, 0)
    window = np.repeat(np.arange(len(n)), n)
    return window, np.arange(len(window)) + np.repeat(lo - (np.cumsum(n) - n), n)


def _added(key: Ints, weight: Ints | None, keys: int) -> tuple[Ints, Floats]:
    """The keys with a sum above 0, ascending, and the sums: by counting where keys are few, else by sorting."""
    if keys <= 8 * len(key):
        sums = np.bincount(key, weight, keys)
        held = np.flatnonzero(sums > 0)
        return held, sums[held].astype(np.float64)
    found, place = np.unique(key, return_inverse=True)
    sums = np.bincount(place, weight, len(found))
    return found[sums > 0], sums[sums > 0].astype(np.float64)


@dataclass(frozen=True, eq=False)
class Mix:
    """Entries (window, word, weight) of `windows` windows, ascending in (window, word), weights above 0. A mix is equal
    to itself alone."""

    window: Ints
    word: Ints
    weight: Floats
    windows: int

    @classmethod
    def of(cls, lo: Ints, hi: Ints, code: Ints, weight: Ints | None = None) -> Mix:
        """Weights (or rows) per word of the events in each window; absent words are left out."""
        window, event = each(lo, hi)
        words = int(code.max(initial=0)) + 1
        there = code[event] >= 0
        key, event = (window * words + code[event])[there], event[there]
        keys, sums = _added(key, None if weight is None else weight[event], len(lo) * words)
        return cls(keys // words, keys % words, sums, len(lo))

    @property
    def total(self) -> Floats:
        """Weight of each window."""
        return np.bincount(self.window, self.weight, self.windows).astype(np.float64)

    @property
    def kinds(self) -> Ints:
        """Distinct words of each window."""
        return np.bincount(self.window, minlength=self.windows)

    @property
    def share(self) -> Floats:
        """Each entry's share of its window."""
        return self.weight / self.total[self.window]


def entropy(mix: Mix) -> Floats:
    """Shannon entropy in nats; 0 where all is one word, NaN where the window is empty."""
    p = mix.share
    return np.where(mix.kinds > 0, -np.bincount(mix.window, p * np.log(p), mix.windows), np.nan)


def concentration(mix: Mix) -> Floats:
    """Sum of squared shares (Herfindahl); 1 where all is one word, NaN where the window is empty."""
    return np.where(mix.kinds > 0, np.bincount(mix.window, mix.share**2, mix.windows), np.nan)


def largest(mix: Mix) -> Floats:
    """Share of the largest word; NaN where the window is empty."""
    found = np.full(mix.windows, np.nan)
    if len(mix.window):
        opens = np.flatnonzero(np.diff(mix.window, prepend=-1))
        found[mix.window[opens]] = np.maximum.reduceat(mix.share, opens)
    return found


@lru_cache(maxsize=2)  # one pair of windows is asked several questions in a row
def _side_by_side(a: Mix, b: Mix) -> tuple[Ints, Floats, Floats]:
    """Window and shares in both mixes of every word that occurs in either."""
    words = 1 + max(int(a.word.max(initial=0)), int(b.word.max(initial=0)))
    mine, yours = a.window * words + a.word, b.window * words + b.word
    if a.windows * words <= 8 * (len(mine) + len(yours)):
        keys: Ints = np.arange(a.windows * words)
    else:  # many words, few of them in use: number those
        keys = np.union1d(mine, yours)
        mine, yours = np.searchsorted(keys, mine), np.searchsorted(keys, yours)
    p, q = np.zeros(len(keys)), np.zeros(len(keys))
    p[mine], q[yours] = a.share, b.share
    held = np.flatnonzero((p > 0) | (q > 0))
    return keys[held] // words, p[held], q[held]


def _plogp(p: Floats) -> Floats:
    return p * np.log(np.where(p > 0, p, 1.0))


def shift(a: Mix, b: Mix) -> Floats:
    """Jensen-Shannon divergence of two windows' mixes, in nats (0 to log 2); NaN where either is empty.

    Lin (1991), Divergence measures based on the Shannon entropy.
    """
    window, p, q = _side_by_side(a, b)
    parts = (_plogp(p) + _plogp(q)) / 2 - _plogp((p + q) / 2)
    return np.where((a.kinds > 0) & (b.kinds > 0), np.bincount(window, parts, a.windows), np.nan)


def only_in_first(a: Mix, b: Mix) -> Floats:
    """Words of the first window that are not in the second."""
    window, p, q = _side_by_side(a, b)
    return np.bincount(window[(p > 0) & (q == 0)], minlength=a.windows).astype(np.float64)


def in_both(a: Mix, b: Mix) -> Floats:
    """Words that are in both windows."""
    window, p, q = _side_by_side(a, b)
    return np.bincount(window[(p > 0) & (q > 0)], minlength=a.windows).astype(np.float64)
