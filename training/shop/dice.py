"""Dice that remember: every random number is a pure function of (seed, week, stream, customer).

A counter-based generator has no state that a draw could use up, so a customer's fate does not depend on who else is in
the shop, on how customers are put into chunks, or on which dice were looked at before. Two worlds that differ in one
action therefore fall apart only where that action matters: they are played on the same dice.

Source: Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3* (SC 2011), Philox4x32 with 10 rounds.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BEFORE = 0xFFFF_FFFF
"""The week of draws that are made once for a whole life."""

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)


class Stream(IntEnum):
    """What a draw is for. A number once given is never given again: that would change every shop ever simulated."""

    NATURE = 0
    MONEY = 1
    TASTE = 2
    CHARACTER = 3
    RESPONSE = 4
    PERSON = 5
    ADDRESS = 6
    LIFE = 7
    FATE = 8
    TRIP = 9
    TROUBLE = 10
    SURVEY = 11
    ANSWER = 12
    CONTACT = 13
    REACTION = 14
    VISIT = 15
    CLOSURE = 16
    PARTING = 17
    CONSENT = 18
    BROWSE = 19
    MARKET = 20
    GOODS = 21
    ADVICE = 23
    CALL = 24
    BASKET = 32
    """Streams 32 to 34: the baskets of a week's first, second and third purchase day."""
    LINE = 64
    """Streams 64 to 111: the lines of those baskets, two streams each, 8 lines a basket."""


def philox(counter: tuple[NDArray[np.uint64], ...], key: tuple[int, int]) -> tuple[NDArray[np.uint64], ...]:
    """Four words below 2**32 for four counter words and two key words below 2**32 (arrays broadcast together)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (right >> _HALF) ^ c1 ^ np.uint64(k0), right & _LOW
        c2, c3 = (left >> _HALF) ^ c3 ^ np.uint64(k1), left & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFF_FFFF, (k1 + _WEYL[1]) & 0xFFFF_FFFF
    return c0, c1, c2, c3


def draw(seed: int, week: int | Ints, stream: int | Ints, who: Ints) -> Floats:
    """Four uniform numbers strictly between 0 and 1 for each customer number in `who`; shape (4, len(who)).

    `seed` is any whole number from 0 to 2**64 - 1; weeks may be negative; `week` and `stream` may differ by row.
    """
    number = who.astype(np.uint64)
    counter = (number & _LOW, _words(week, number), _words(stream, number), number >> _HALF)
    words = philox(counter, (seed & 0xFFFF_FFFF, (seed >> 32) & 0xFFFF_FFFF))
    return np.stack([(word.astype(np.float64) + 0.5) * 2.0**-32 for word in words])


def _words(value: int | Ints, like: NDArray[np.uint64]) -> NDArray[np.uint64]:
    if isinstance(value, int):
        return np.full_like(like, value & 0xFFFF_FFFF)
    return value.astype(np.uint64) & _LOW
