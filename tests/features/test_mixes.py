"""Mixes against the textbook, and by counting as by sorting."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import mixes
from features.mixes import Mix


def mix(*windows: str) -> Mix:
    """A mix whose windows hold these letters."""
    letters = "".join(windows)
    ends = np.cumsum([len(w) for w in windows])
    return Mix.of(ends - [len(w) for w in windows], ends, np.array([ord(c) - ord("a") for c in letters], np.int64))


def test_entropy_concentration_and_the_largest_share() -> None:
    m = mix("aab", "c", "")
    np.testing.assert_allclose(mixes.entropy(m), [-(2 / 3 * log(2 / 3) + 1 / 3 * log(1 / 3)), 0, np.nan])
    np.testing.assert_allclose(mixes.concentration(m), [5 / 9, 1, np.nan])
    np.testing.assert_allclose(mixes.largest(m), [2 / 3, 1, np.nan])


@pytest.mark.parametrize(
    ("a", "b", "apart"), [("ab", "ab", 0), ("aabb", "ab", 0), ("a", "b", log(2)), ("a", "", np.nan)]
)
def test_the_shift_of_a_mix(a: str, b: str, apart: float) -> None:
    np.testing.assert_allclose(mixes.shift(mix(a), mix(b)), [apart], atol=1e-15)


def test_words_in_one_window_and_in_both() -> None:
    a, b = mix("abc", "a", ""), mix("cd", "", "a")
    assert list(mixes.only_in_first(a, b)) == [2, 1, 0]
    assert list(mixes.in_both(a, b)) == [1, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=60), st.integers(1, 10**6))
def test_counting_and_sorting_add_the_same(rows: list[tuple[int, int]], far: int) -> None:
    key, weight = (np.array([row[k] for row in rows], np.int64) for k in (0, 1))
    few, many = mixes._added(key, weight, 41), mixes._added(key, weight, 41 + far * 100)
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=True))
