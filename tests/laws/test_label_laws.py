"""Every label keeps the laws that labels have: what comes after the horizon, order, company and the calendar change
nothing; money scales with its unit and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features import labels, laws
from features.history import Floats, History
from features.laws import Example, Rows, Shop

MONEY = {"spend", "net_spend", "margin"}
OPEN_ENDED = {"days_to_next", "next_seen"}  # they look as far as the log goes

shops = st.builds(
    laws.example,
    st.integers(0, 2**32 - 1),
    customers=st.integers(1, 6),
    rate=st.sampled_from((0.01, 0.05, 0.2)),
    horizon=st.sampled_from((1, 7, 30, 91)),
)


def answers(e: Example, shop: Shop, last_day: int, shift: int = 0) -> Mapping[str, Floats]:
    h = History(shop.block(0), [c + shift for c in e.cutoffs], e.windows, at="seen", exponent=shop.exponent)
    with np.errstate(invalid="ignore", divide="ignore"):
        return labels.compute(h, last_day + shift)


def assert_same(was: Mapping[str, Floats], now: Mapping[str, Floats], *, leaving_out: set[str] | None = None) -> None:
    for name in was:
        if name not in (leaving_out or set()):
            np.testing.assert_array_equal(was[name], now[name], err_msg=name)


@given(e=shops)
def test_what_comes_after_the_horizon_changes_nothing(e: Example) -> None:
    end = e.cutoffs[-1] + e.windows.horizon
    known = e.shop.upto(end)
    everybody = replace(known, since=e.shop.first_days())  # the days records began stay
    customers = known.customers
    here = e.shop.map(lambda _, rows: rows.take(np.isin(rows.customer, customers)), since=e.shop.first_days())
    assert_same(answers(e, everybody, end), answers(e, here, end), leaving_out=OPEN_ENDED)


@given(e=shops, seed=st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(e: Example, seed: int) -> None:
    draw, last = np.random.default_rng(seed), e.shop.last_day
    shuffled = e.shop.map(lambda _, rows: rows.take(draw.permutation(len(rows))))
    assert_same(answers(e, e.shop, last), answers(e, shuffled, last))


@given(e=shops)
def test_others_change_nothing(e: Example) -> None:
    who, last = e.shop.customers[0], e.shop.last_day
    alone = e.shop.map(lambda _, rows: rows.take(rows.customer == who), since=e.shop.first_days())
    h = History(e.shop.block(0), e.cutoffs, e.windows, at="seen")
    mine = h.customer_id == who
    among = {name: values[mine] for name, values in answers(e, e.shop, last).items()}
    assert_same(among, answers(e, alone, last))


@given(e=shops, shift=st.integers(1, 500))
def test_the_calendar_changes_nothing(e: Example, shift: int) -> None:
    moved = e.shop.map(lambda _, rows: replace(rows, day=rows.day + shift))
    last = e.shop.last_day
    assert_same(answers(e, e.shop, last), answers(e, moved, last, shift))


@given(e=shops)
def test_the_unit_of_money_changes_money_alone(e: Example) -> None:
    def richer(_: str, rows: Rows) -> Rows:
        return replace(rows, measures={n: v * 100 if n in laws.MONEY else v for n, v in rows.measures.items()})

    last = e.shop.last_day
    was, now = answers(e, e.shop, last), answers(e, e.shop.map(richer), last)
    for name in was:
        np.testing.assert_allclose(now[name], was[name] * (100 if name in MONEY else 1), rtol=1e-9, err_msg=name)


@given(e=shops)
def test_nobody_is_both_kept_and_churned(e: Example) -> None:
    found = answers(e, e.shop, e.shop.last_day)
    at_risk = ~np.isnan(found["churned"])
    np.testing.assert_array_equal(found["churned"][at_risk] == 1, found["purchase_days"][at_risk] == 0)
    np.testing.assert_array_equal(found["spend"][at_risk] > 0, found["churned"][at_risk] == 0)
    lapsed = ~np.isnan(found["returned"])
    assert not (at_risk & lapsed).any()
