"""Satisfaction, its proxy, loyalty and their worth, each against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from little_shop import buys, shop

from models import satisfaction
from models.satisfaction import PROXY, SURVEY

NAN = np.nan


def columns(**given: list[float]) -> dict[str, np.ndarray]:
    n = len(next(iter(given.values())))
    return {name: np.asarray(given.get(name, [NAN] * n), float) for name in satisfaction.FEATURES}


def test_proxy_is_neutral_less_what_went_wrong() -> None:
    """An open complaint, recent: .75 - .35 - .20 = .20. A fifth returned, nothing else known: .75 - .5 x .2 = .65. Two
    open complaints weigh as one. Everything wrong: below 0, so 0. Nothing on record: unknown."""
    told = satisfaction.proxy(
        columns(
            open_complaints=[1, NAN, 2, 1, NAN, 0],
            complaints_recent_4h=[1, NAN, 0, 1, NAN, 0],
            return_share=[NAN, 0.2, NAN, 1, NAN, 0],
            late_deliveries=[NAN, NAN, NAN, 1, NAN, NAN],
        )
    )
    assert told[:4] == pytest.approx([0.20, 0.65, 0.40, 0.0])
    assert np.isnan(told[4])
    assert told[5] == 0.75


def test_an_old_answer_gives_way_to_the_proxy_and_nothing_stays_nothing() -> None:
    told = satisfaction.known(
        columns(score_last=[0.9, 0.9, NAN, NAN], days_since_survey=[10, 400, NAN, NAN], return_share=[NAN, 0, 0, NAN]),
        fresh=364,
    )
    assert told.source.tolist() == [SURVEY, PROXY, PROXY, None]
    assert told.value[:3] == pytest.approx([0.9, 0.75, 0.75])
    assert told.coverage == {SURVEY: 0.25, PROXY: 0.5}


def test_agreement_is_rank_correlation_and_auc() -> None:
    """Ten customers in the same order: correlation 1. Dissatisfied (below .4) are the four lowest: AUC 1. Reversed:
    -1, 0.
    """
    ten = np.arange(10) / 10
    assert satisfaction.agreement(ten, ten).correlation == pytest.approx(1.0)
    assert satisfaction.agreement(ten, ten).auc == 1.0
    turned = satisfaction.agreement(-ten, ten)
    assert (turned.correlation, turned.auc) == (pytest.approx(-1.0), 0.0)
    assert np.isnan(satisfaction.agreement(ten[:9], ten[:9]).correlation), "nine are too few to say"


def test_auc_counts_ties_half() -> None:
    """Dissatisfied with proxies .2 and .6, others .6 and .9: of four pairs three right and one tied: 3.5 / 4."""
    a, b = np.array([0.2, 0.6, 0.6, 0.9] + [0.9] * 6), np.array([0.1, 0.2, 0.5, 0.8] + [0.8] * 6)
    assert satisfaction.agreement(a, b).auc == pytest.approx((8 + 7.5) / 16)


def test_loyalty_is_the_geometric_mean_of_what_is_known() -> None:
    """(.9 x 1 x 1 x .5 x 1)^(1/5) = .852; without satisfaction (.45)^(1/4) = .819; after one purchase 0."""
    told = satisfaction.loyalty(
        columns(
            frequency=[10, 10, 1, NAN], gap_variation=[0, 0, NAN, NAN], overdue_ratio=[1, 1, NAN, NAN],
            tenure=[365, 365, 30, NAN],
        ),
        np.array([1.0, NAN, NAN, NAN]),
    )  # fmt: skip
    assert told["loyalty"].to_numpy()[:3] == pytest.approx([0.45 ** (1 / 5), 0.45 ** (1 / 4), 0.0])
    assert np.isnan(told["loyalty"][3])
    assert told["known"].tolist() == [5, 4, 2, 0]


def test_who_becomes_loyal_is_counted_by_cell() -> None:
    """Of three customers with one purchase, silent for less than a quarter of 80 days, one has three a horizon
    later: 1/3, Wilson .0868 to .7293."""
    told = satisfaction.becoming_loyal(
        np.array([1, 1, 1, 2, 3.0]), np.array([0, 10, 19, 30, 5.0]), np.array([3, 1, 2, 3, 4.0]), 80
    )
    first = told.iloc[0]
    assert (first["purchase_days"], first["silent_quarters"], first["customers"]) == (1, 0, 3)
    assert first["share"] == pytest.approx(1 / 3)
    assert told.iloc[1].to_numpy()[:4] == pytest.approx([2, 1, 1, 1.0])


def test_wilson_interval() -> None:
    """5 of 10 at 90 %: z = 1.645, z2/n = .27055: (.5 + .13528 -+ 1.645 sqrt(.025 + .0067639)) / 1.27055."""
    low, high = satisfaction.wilson(5, 10)
    half = 1.6448536 * np.sqrt(0.025 + 1.6448536**2 / 400)
    assert (low, high) == pytest.approx(((0.6352772 - half) / 1.2705543, (0.6352772 + half) / 1.2705543), abs=1e-6)
    assert np.isnan(satisfaction.wilson(0, 0)[0])


def test_quadrants_name_value_first() -> None:
    told = satisfaction.quadrants(np.array([True, False, True, False, True]), np.array([0.9, 0.6, 0.3, 0.59, NAN]))
    assert told.tolist() == ["HH", "LH", "HL", "LL", None]
    assert set(satisfaction.QUADRANTS) == {"HH", "LH", "HL", "LL"}


def test_link_is_the_slope_of_repurchase_on_satisfaction() -> None:
    """Scores 0 and 1, twenty each; 5 of 20 and 15 of 20 buy again: 25 % against 75 %, slope .5, 5 points per tenth."""
    score = np.repeat([0.0, 1.0], 20)
    bought = np.concatenate([np.repeat([1.0, 0], [5, 15]), np.repeat([1.0, 0], [15, 5])])
    told = satisfaction.link(score, bought, np.full(40, None, object)).iloc[0]
    assert (told["satisfied"], told["dissatisfied"], told["difference"]) == (0.75, 0.25, 0.5)
    assert told["slope"] == pytest.approx(0.05)
    # HC1: sum of (x - .5)^2 r^2 = .25 x (5 x .75^2 + 15 x .25^2) x 2 = .25 x 7.5; error sqrt(1.875 x 40/38) / 10
    assert told["high"] - told["slope"] == pytest.approx(1.6448536 * np.sqrt(1.875 * 40 / 38) / 10 / 10, rel=1e-6)


def test_few_scores_make_no_link() -> None:
    assert satisfaction.link(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array(["a", "b"], object)).empty


def test_survey_report_counts_answers_by_kind_and_channel(tmp_path: Path) -> None:
    """Two CSAT mails of 5 and 3 of 5 (1.0 and .5): mean .75; three invitations, one of them without an answer. NPS
    10, 9, 3: two promoters, one detractor: net 1/3."""
    mail = {"at": "2024-01-05", "kind": "csat", "channel": "mail", "invited_at": "2024-01-02"}
    phone = {"at": "2024-01-06", "kind": "nps", "channel": "phone"}
    rows = [{"customer_id": who, "score": score, **mail} for who, score in (("Ann", 5), ("Bob", 3))]
    rows.append({"customer_id": "Cat", **mail, "at": None})
    rows += [{"customer_id": who, "score": score, **phone} for who, score in (("Ann", 10), ("Bob", 9), ("Cat", 3))]
    _, store = shop(tmp_path, {"purchases": buys("Ann", "2024-01-01", "2024-01-31"), "surveys": rows})
    told = satisfaction.answers(store, store.last_day).set_index(["kind", "channel"])
    by_mail, by_phone = told.loc[("csat", "mail")], told.loc[("nps", "phone")]
    figures = by_mail[["answers", "mean", "satisfied", "invited", "response"]].astype(float)
    assert figures.tolist() == pytest.approx([2, 0.75, 0.5, 3, 2 / 3])
    assert by_phone["net"] == pytest.approx(1 / 3)
    assert np.isnan(by_mail["net"])


def test_no_surveys_table_is_an_empty_report(tmp_path: Path) -> None:
    _, store = shop(tmp_path, {"purchases": buys("Ann", "2024-01-01")})
    assert satisfaction.answers(store, store.last_day).empty
