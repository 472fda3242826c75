"""The draw is nobody's choice, stays for the quarter, is balanced, and its size is planned."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import holdout

KEY = holdout.salt("a shop", 7, "2026Q4")
NO_RULES = pd.DataFrame(columns=["quarter", "population", "share", "salt", *holdout.CUTS])
NO_ARMS = pd.DataFrame(columns=list(holdout.ASSIGNMENT))


def entrants(ids: list[str], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "customer_id": np.array(ids, object),
            "population": "at risk",
            "risk": rng.uniform(size=len(ids)),
            "value": rng.lognormal(size=len(ids)),
            "exempt": False,
        }
    )


def first(people: pd.DataFrame, share: float = 0.1, key: str = KEY) -> holdout.Draw:
    return holdout.draw(people, "2026Q4", share, key, frozen=NO_RULES, assigned=NO_ARMS)


def ids(n: int) -> list[str]:
    return [f"{i:05d}" for i in range(n)]


@pytest.mark.parametrize(
    ("day", "quarter"),
    [
        (date(2026, 1, 1), "2026Q1"),
        (date(2026, 3, 31), "2026Q1"),
        (date(2026, 4, 1), "2026Q2"),
        (date(2026, 12, 31), "2026Q4"),
    ],
)
def test_the_quarter_of_a_day(day: date, quarter: str) -> None:
    assert holdout.quarter_of(day) == quarter


@given(st.integers(1, 400), st.sampled_from([0.0, 0.1, 0.2, 0.5]), st.integers(0, 5))
def test_the_share_held_out_is_right_within_one_row(n: int, share: float, seed: int) -> None:
    arms = first(entrants(ids(n), seed), share).arms
    assert abs((arms == holdout.HELD_OUT).sum() - n * share) <= 1


def test_each_stratum_is_balanced_within_one_row() -> None:
    new = first(entrants(ids(900)), 0.2).new
    for _, stratum in new.groupby("stratum"):
        assert abs((stratum["arm"] == holdout.HELD_OUT).sum() - 0.2 * len(stratum)) <= 1
    assert new["stratum"].nunique() == 9


def test_an_arm_stays_for_the_quarter_whatever_list_comes_next() -> None:
    """Twelve weeks, half of the customers new each week, risks changing: nobody changes arms, and the share holds."""
    frozen, assigned = NO_RULES, NO_ARMS
    for week in range(12):
        people = entrants(ids(200 + 100 * week)[50 * week :], seed=week)
        drawn = holdout.draw(people, "2026Q4", 0.1, KEY, frozen=frozen, assigned=assigned)
        both = assigned.set_index("customer_id")["arm"]
        again = drawn.arms[drawn.arms.index.isin(both.index)]
        assert (again == both.loc[again.index]).all()
        assigned = pd.concat([assigned, drawn.new], ignore_index=True)
        frozen = pd.DataFrame(drawn.quarters) if drawn.quarters else frozen
    assert assigned["customer_id"].is_unique
    assert abs((assigned["arm"] == holdout.HELD_OUT).mean() - 0.1) < 0.02


def test_a_new_quarter_draws_anew() -> None:
    people = entrants(ids(1000))
    one, two = first(people).arms, first(people, key=holdout.salt("a shop", 7, "2027Q1")).arms
    both = ((one == holdout.HELD_OUT) & (two == holdout.HELD_OUT)).sum()
    assert 2 <= both <= 25  # ten expected by chance, a hundred if the draw were the same


def test_the_order_of_rows_does_not_matter() -> None:
    people = entrants(ids(300))
    straight, mixed = first(people).arms, first(people.sample(frac=1, random_state=3)).arms
    assert (straight == mixed.reindex(straight.index)).all()


def test_everybody_has_the_same_chance() -> None:
    """Over 300 salts each of 40 customers is held out about one time in five."""
    people = entrants(ids(40))
    times = sum(
        (first(people, 0.2, holdout.salt("s", seed, "q")).arms == holdout.HELD_OUT).astype(int) for seed in range(300)
    )
    assert times.mean() == pytest.approx(60, abs=1.5)
    assert times.min() > 60 - 4.5 * np.sqrt(300 * 0.2 * 0.8)
    assert times.max() < 60 + 4.5 * np.sqrt(300 * 0.2 * 0.8)


def test_a_changed_share_waits_for_the_next_quarter() -> None:
    drawn = first(entrants(ids(100)), 0.1)
    later = holdout.draw(
        entrants(ids(300)), "2026Q4", 0.5, KEY, frozen=pd.DataFrame(drawn.quarters), assigned=drawn.new
    )
    assert set(later.new["share"]) == {0.1}
    assert later.quarters == ()


def test_the_exempt_are_never_held_out_and_do_not_count() -> None:
    people = entrants(ids(200))
    people["exempt"] = people.index < 100
    new = first(people, 0.2).new
    assert set(new.loc[new["exempt"], "arm"]) == {holdout.EXEMPT}
    assert (new["arm"] == holdout.HELD_OUT).sum() in (19, 20, 21)


def test_the_treated_of_the_weeks_before_are_marked() -> None:
    drawn = holdout.draw(
        entrants(ids(3)), "2026Q4", 0.1, KEY, frozen=NO_RULES, assigned=NO_ARMS, treated_before={"00001"}
    )
    assert drawn.new.set_index("customer_id")["wash_out"].to_dict() == {"00000": False, "00001": True, "00002": False}


def test_populations_are_drawn_apart() -> None:
    people = entrants(ids(200))
    people.loc[100:, "population"] = "lapsed"
    drawn = first(people, 0.1)
    counts = drawn.new.loc[drawn.new["arm"] == holdout.HELD_OUT, "population"].value_counts()
    assert all(9 <= counts[name] <= 11 for name in ("at risk", "lapsed"))
    assert {rule["population"] for rule in drawn.quarters} == {"at risk", "lapsed"}


def test_nobody_listed_is_an_empty_draw() -> None:
    drawn = first(entrants([]))
    assert drawn.new.empty
    assert drawn.arms.empty


@pytest.mark.parametrize("one", ["", "00123", "NA", "=1+1", "客户甲", "a\x00b", "x" * 5000])
def test_any_id_can_be_hashed(one: str) -> None:
    value = holdout.hashes(np.array([one], object), KEY)[0]
    assert 0 <= value < 1
    assert value == holdout.hashes(np.array([one], object), KEY)[0]


@pytest.mark.parametrize(("rows", "points"), [(5_000, 0.052), (20_000, 0.026), (60_000, 0.015), (260_000, 0.007)])
def test_what_a_size_can_see(rows: int, points: float) -> None:
    """At power .8, a tenth held out and a base of 40 % (a simulation study of the same design gives these)."""
    assert holdout.detectable(rows, 0.1, 0.4) == pytest.approx(points, abs=0.0006)


def test_a_fifth_held_out_sees_a_quarter_more() -> None:
    assert holdout.detectable(20_000, 0.2, 0.4) / holdout.detectable(20_000, 0.1, 0.4) == pytest.approx(0.75, abs=0.01)


def test_rows_needed_is_the_other_way_round() -> None:
    rows = holdout.rows_needed(0.02, 0.1, 0.4)
    assert holdout.detectable(rows, 0.1, 0.4) == pytest.approx(0.02, rel=1e-4)
    assert np.isnan(holdout.detectable(5, 0.1, 0.4))
