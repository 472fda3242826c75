"""Printed tables line up, in Chinese too, and differences are called what they are."""

from __future__ import annotations

import numpy as np

from training import printed
from training.metrics import Estimate


def test_columns_line_up_where_letters_are_wide() -> None:
    lines = printed.aligned(["", "AUC"], [["成长", "0.7"], ["decline", "0.65"]])
    assert lines == ["            AUC", "  成长      0.7", "  decline  0.65"]
    assert {printed.width(line) for line in lines} == {15}


def test_what_is_missing_is_a_dash() -> None:
    assert printed.number("auc", np.nan) == "–"
    assert printed.difference("auc", Estimate(np.nan, np.nan, np.nan)) == "–"
    assert printed.interval("auc", Estimate(0.7, np.nan, np.nan)) == "0.7000"


def test_a_difference_is_better_worse_or_cannot_be_told_apart() -> None:
    """Less log loss is better, more AUC is better, and a level is neither."""
    below, above, around = Estimate(-0.02, -0.03, -0.01), Estimate(0.02, 0.01, 0.03), Estimate(0.0, -0.01, 0.01)
    assert printed.verdict("log_loss", below) == "better"
    assert printed.verdict("log_loss", above) == "worse"
    assert printed.verdict("auc", above) == "better"
    assert printed.verdict("auc", around) == "cannot be told apart"
    assert printed.verdict("level", above) == ""
    assert printed.difference("log_loss", below) == "-0.0200 (-0.0300 to -0.0100)"
