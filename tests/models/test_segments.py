"""Segmentations against scores and indices worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from little_shop import buys, shop

from models import segments

NAN = np.nan


def test_fifths_score_alike_what_is_alike() -> None:
    assert segments.fifths(np.arange(1.0, 11)).tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert segments.fifths(np.array([1.0, 2, 3, 4, 5]), low_is_good=True).tolist() == [5, 4, 3, 2, 1]
    assert segments.fifths(np.array([7.0, 7, 7, NAN]))[:3].tolist() == [3, 3, 3]


def test_rfm_names_segments() -> None:
    """Ten customers with recency 1..10 and frequency and money 10..1: the first two score 5 5 5, the last two 1 1 1."""
    up, down = np.arange(1.0, 11), np.arange(10.0, 0, -1)
    told = segments.rfm(up, down, down)
    assert told.iloc[0].tolist() == [5, 5, 5, "champions"]
    assert told.iloc[9].tolist() == [1, 1, 1, "asleep"]
    turned = segments.rfm(down, down, down)
    assert (turned["segment"][0], turned["segment"][9]) == ("slipping champions", "new")


def test_every_buyer_has_a_segment_and_a_prospect_has_none() -> None:
    draw = np.random.default_rng(7)
    recency = np.append(draw.integers(0, 400, 500), NAN).astype(float)
    told = segments.rfm(recency, draw.integers(1, 9, 501).astype(float), draw.gamma(1, 50, 501))
    assert told["segment"][:500].notna().all()
    assert told["segment"][500] is None or pd.isna(told["segment"][500])


def test_value_need_and_preference_say_what_is_unknown() -> None:
    told = segments.value_need_preference(
        np.array(["high", None], object), np.array(["toys", None], object), np.array([0.4, NAN])
    )
    assert told.tolist() == ["high / toys / changing", "unknown / unknown / unknown"]


def test_favourite_category_is_the_most_bought(tmp_path: Path) -> None:
    rows = [*buys("Ann", "2024-01-01", "2024-01-02", category="toys"), *buys("Ann", "2024-01-03", category="books"),
            *buys("Bob", "2024-01-01", category="toys"), *buys("Bob", "2024-01-02", category="books")]  # fmt: skip
    config, store = shop(tmp_path, {"purchases": rows})
    assert segments.favourites(store, store.last_day, config.span) == {"Ann": "toys", "Bob": "books"}


def groups(n: int = 60) -> dict[str, np.ndarray]:
    """Two kinds of customers far apart: often and lately for much, once and long ago for little."""
    draw = np.random.default_rng(3)
    kind = np.arange(n) % 2
    return {
        "recency": np.where(kind, 300, 5) + draw.integers(0, 5, n).astype(float),
        "frequency": np.where(kind, 1, 40) + draw.integers(0, 2, n).astype(float),
        "spend_2h": np.where(kind, 1, 900) + draw.random(n),
        "ticket_mean": np.where(kind, 5, 50) + draw.random(n),
        "categories": np.where(kind, 1, 9).astype(float),
    }


def test_clusters_find_what_is_there_in_whatever_order() -> None:
    columns, ids = groups(), np.array([f"c{n}" for n in range(60)], object)
    code = segments.cluster(columns, ids, 2).assign(columns)
    assert segments.rand_index(code, np.arange(60) % 2) == 1.0
    turned = segments.cluster({n: v[::-1] for n, v in columns.items()}, ids[::-1], 2)
    assert (turned.assign(columns) == code).all()


def test_customers_without_a_figure_are_in_no_cluster() -> None:
    columns, ids = groups(), np.array([f"c{n}" for n in range(60)], object)
    made = segments.cluster(columns, ids, 2)
    columns["recency"][0] = NAN
    code = made.assign(columns)
    assert code[0] == -1
    assert made.describe(columns, code)["customers"].sum() == 59


def test_adjusted_rand_index() -> None:
    """Pairs together: 2 in a, 1 in b, 1 in both, of 6: (1 - 1/3) / (1.5 - 1/3) = 4/7."""
    assert segments.rand_index(np.array([1, 1, 2, 2]), np.array([1, 1, 2, 3])) == pytest.approx(4 / 7)
    assert segments.rand_index(np.array([0, 0, 1, -1]), np.array([5, 5, 3, 3])) == 1.0
    assert np.isnan(segments.rand_index(np.array([0]), np.array([0])))


PEOPLE = [
    {"customer_id": "Ann", "birth_date": "1990-06-01", "gender": "female", "region": "north", "income": 100.0},
    {"customer_id": "Bob", "birth_date": "1950-06-01", "gender": "male", "region": "south", "income": 900.0},
]


def test_people_are_binned_and_the_unknown_left_unknown(tmp_path: Path) -> None:
    """Ann is 33 on 2024-01-31, Bob 73; Cat is not in the customers table."""
    everybody = [row for who in ("Ann", "Bob") for row in buys(who, "2024-01-01")]
    config, store = shop(tmp_path, {"purchases": [*everybody, *buys("Cat", "2024-01-31")], "customers": PEOPLE})
    told = segments.people(store, store.last_day, config.span).set_index("customer_id")
    assert told.loc[["Ann", "Bob"], "age"].tolist() == ["25-34", "65+"]
    assert told.loc["Bob", "income"] == "fifth 4", "the upper of two lies at three quarters"
    assert told.loc["Cat"].isna().all()


def test_attitudes_count_the_latest_answer_and_impute_nothing(tmp_path: Path) -> None:
    rows = [
        {"customer_id": "Ann", "at": "2024-01-01", "question": "why", "answer": "price"},
        {"customer_id": "Ann", "at": "2024-01-05", "question": "why", "answer": "quality"},
        {"customer_id": "Bob", "at": "2024-01-05", "question": "why", "answer": "price"},
    ]
    config, store = shop(tmp_path, {"purchases": buys("Cat", "2024-01-31"), "attitudes": rows})
    told = segments.attitudes(store, store.last_day, config.span)
    assert told.to_numpy().tolist() == [["why", "price", 1, 0.5], ["why", "quality", 1, 0.5]]
    plain = tmp_path / "plain"
    plain.mkdir()
    config, store = shop(plain, {"purchases": buys("Cat", "2024-01-31")})
    assert segments.attitudes(store, store.last_day, config.span).empty


def test_lookalike_lifts_with_intervals() -> None:
    """20 of 40 in the north are of high value, 10 of 60 in the south; of all 30 %: lifts 1.67 and .56."""
    frame = pd.DataFrame({"customer_id": range(100), "region": ["north"] * 40 + ["south"] * 60})
    high = np.array([True] * 20 + [False] * 20 + [True] * 10 + [False] * 50)
    told = segments.lookalike(frame, high)
    assert told["value"].tolist() == ["north", "south"]
    assert told["lift"].to_numpy() == pytest.approx([0.5 / 0.3, (1 / 6) / 0.3])


def test_ordering_is_a_weighted_mean_of_percentiles_of_what_is_known() -> None:
    """Percentiles of value 10, 20: 1/4 and 3/4. The first has nothing else: 25. The second has loyalty alone in its
    column (percentile 1/2): (.5 x .75 + .3 x .5) / .8 = 65.6."""
    told = segments.ordering(np.array([10.0, 20.0, NAN]), np.array([NAN, 0.9, NAN]), np.array([NAN, NAN, NAN]))
    assert told[:2] == pytest.approx([25.0, 65.625])
    assert np.isnan(told[2])


def test_scope_keeps_those_with_all_of_its_words() -> None:
    words = {"region": np.array(["north", "south", None], object), "store": np.array(["S1", "S1", "S1"], object)}
    assert segments.within(words, {"region": "north", "store": "S1"}).tolist() == [True, False, False]
    assert not segments.within(words, {"country": "x"}).any()
