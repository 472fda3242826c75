"""The frozen tables: what Ann's and Bob's story gives, and that nothing of an open horizon is in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from story import CUTOFF, SHOP, WINDOWS

from features import laws, population
from features.population import Population


def same(a: Population, b: Population) -> bool:
    numbers = all(np.array_equal(a.numbers[name], b.numbers[name], equal_nan=True) for name in a.numbers)
    kinds = set(a.following) | set(b.following)
    return numbers and all(
        np.array_equal(getattr(a.following[k], what), getattr(b.following[k], what))
        for k in kinds
        for what in ("words", "returned", "spend")
    )


def test_groups_are_drawn_to_the_average() -> None:
    product = population.freeze(SHOP, [CUTOFF], WINDOWS).following["product"]
    assert list(product.words) == ["p", "q", "r", "s"]
    assert list(product.returned[0]) == [500_000, 523_810, 500_000, 500_000, 500_000]  # the last for unknown words
    assert list(product.spend[0]) == [5_000_000, 5_238_095, 5_000_000, 5_000_000, 5_000_000]


def test_before_a_horizon_has_closed_nothing_is_known() -> None:
    frozen = population.freeze(SHOP, [CUTOFF - 396], WINDOWS)
    assert np.isnan(frozen.numbers["return_rate"]).all()


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_blocks_do_not_show(seed: int, buckets: int) -> None:
    e = laws.example(seed)
    other = population.freeze(replace(e.shop, buckets=buckets), e.cutoffs, e.windows)
    assert same(population.freeze(e.shop, e.cutoffs, e.windows), other)


@given(st.integers(0, 10**6))
def test_a_cutoffs_tables_know_nothing_later(seed: int) -> None:
    e = laws.example(seed, customers=10)
    early = e.cutoffs[0]
    alone = population.freeze(e.shop.upto(early), [early], e.windows)
    among = population.freeze(e.shop, e.cutoffs, e.windows)
    for name, values in alone.numbers.items():
        np.testing.assert_array_equal(values[0], among.numbers[name][0])
    for kind, table in alone.following.items():
        place = np.searchsorted(among.following[kind].words, table.words)
        np.testing.assert_array_equal(table.returned[0, :-1], among.following[kind].returned[0, place])
        np.testing.assert_array_equal(table.spend[0, -1], among.following[kind].spend[0, -1])


def test_the_process_comes_from_outside() -> None:
    frozen = population.freeze(SHOP, [CUTOFF], WINDOWS)
    assert frozen.process is None
    assert frozen.with_process(laws.PROCESS).process == laws.PROCESS
