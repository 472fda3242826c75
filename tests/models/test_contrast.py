"""Churned against retained, with the effect sizes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models import contrast


def test_effect_is_hedges_g_with_its_interval() -> None:
    """Churned 1, 2, 3 and retained 3, 4, 5: d = -2, g = -2 x (1 - 3/15) = -1.6; variance 6/9 + 2.56/12 = .88."""
    told = contrast.contrast({"x": np.array([1.0, 2, 3, 3, 4, 5])}, np.array([True] * 3 + [False] * 3)).iloc[0]
    assert (told["churned"], told["retained"], told["lift"]) == (2, 4, 0.5)
    assert told["effect"] == pytest.approx(-1.6)
    assert told["high"] - told["effect"] == pytest.approx(1.6448536 * np.sqrt(0.88))


def test_what_is_absent_or_constant_is_left_out() -> None:
    churned = np.array([True, True, False, False])
    columns = {"same": np.ones(4), "rare": np.array([1.0, np.nan, 2, 3]), "fine": np.array([1.0, 2, 3, 5])}
    assert contrast.contrast(columns, churned)["feature"].tolist() == ["fine"]


def test_matched_contrast_takes_out_what_the_cells_explain() -> None:
    """Young customers (cell 0) have low spend 1 +- and churn more; old ones (cell 1) high. Within a cell the
    churned and the retained have the same spend, so the plain contrast finds a difference and the matched one none."""
    cell = np.array([0] * 8 + [1] * 8)
    churned = np.array([True] * 6 + [False] * 2 + [True] * 2 + [False] * 6)
    spend = np.array([0.0, 2, 0, 2, 0, 2, 0, 2] + [9.0, 11] * 4)
    plain, like = (f.iloc[0] for f in (
        contrast.contrast({"spend": spend}, churned), contrast.matched({"spend": spend}, churned, cell)))  # fmt: skip
    assert plain["effect"] < -0.5
    assert like["effect"] == pytest.approx(0.0)
    assert like["low"] < 0 < like["high"]


def test_matched_contrast_weighs_cells_by_the_churned() -> None:
    """Cell 0: three churned, mean 4, retained mean 2: +2; cell 1: two churned, mean 1, retained mean 2: -1. Weighted:
    (3 x 2 - 2 x 1) / 5 = .8. Cell 2 has nobody retained and is left out."""
    x = np.array([3.0, 4, 5, 1, 3, 0, 2, 1, 3, 7, 9])
    churned = np.array([True, True, True, False, False, True, True, False, False, True, True])
    cell = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    told = contrast.matched({"x": x}, churned, cell).iloc[0]
    assert told["churned"] - told["retained"] == pytest.approx(0.8)
    assert told["effect"] == pytest.approx(0.8 / x.std(ddof=1))
    assert (told["churned_n"], told["retained_n"]) == (5, 4)


def test_cells_put_like_with_like() -> None:
    told = contrast.cells(np.array([1.0, 1, 2, 9]), np.array([10.0, 10, 500, 900]), np.array([1, 1, 2, 3], np.int8))
    assert told[0] == told[1]
    assert len(set(told.tolist())) == 3


def test_stated_reasons_are_read_in_both_languages() -> None:
    stated = np.array(["Price too high", "服务态度差", "搬家了", None, "???"], object)
    assert contrast.read_stated(stated).tolist() == ["price", "service", "own life cycle", None, "unknown"]


def test_stated_against_inferred_is_agreement_beyond_chance() -> None:
    """Stated p p s s, inferred p p p s: 3/4 agree; by chance .5 x .75 + .5 x .25 = .5: kappa .5. A fifth stated
    nothing.
    """
    stated = np.array(["price", "price", "service", "service", None], object)
    inferred = np.array(["price", "price", "price", "service", "price"], object)
    table, agree, kappa = contrast.confusion(stated, inferred)
    assert (agree, kappa) == (0.75, 0.5)
    assert table.loc["service", "price"] == 1


def test_root_causes_name_an_owner_and_a_remedy() -> None:
    told = contrast.root_causes(np.array(["price", "product", "product", "unknown"], object), "zh-CN")
    assert told["cause"].tolist() == ["product", "price", "unknown"]
    assert told.iloc[0][["customers", "share", "quoted", "owner"]].tolist() == [2, 0.5, 0.40, "buying"]
    assert told["remedy"].str.len().gt(0).all()
