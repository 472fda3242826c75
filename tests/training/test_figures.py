"""Pictures are the same bytes for the same numbers, keep text as text, and show what the table says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pandas as pd
import pytest

from training import figures

DECILES = pd.DataFrame(
    {
        "group": [1, 2, 3],
        "customers": [10, 10, 10],
        "predicted": [0.1, 0.4, 0.8],
        "churned": [0.2, 0.4, 0.7],
        "lower": [0.1, 0.3, 0.6],
        "upper": [0.3, 0.5, 0.8],
        "expected_spend": [1.0, 5.0, 20.0],
        "spend": [2.0, 4.0, 22.0],
        "coverage": [0.95, 0.9, 0.85],
    }
)
CURVE = pd.DataFrame({"share": [0.0, 0.5, 1.0], "caught": [0.0, 0.8, 1.0]})
LEVELS = pd.DataFrame(
    [
        {"cutoff": 10_000 + 30 * i, "metric": m, "value": 1.0 + i / 50, "lower": 0.9, "upper": 1.2}
        for i in range(3)
        for m in ("level", "total")
    ]
)
PICTURES: dict[str, Callable[[str], str]] = {
    "reliability": lambda title: figures.reliability(DECILES, title),
    "gain": lambda title: figures.gain({"holdfast": CURVE, "最近购买": CURVE}, title),
    "spend": lambda title: figures.spend_by_decile(DECILES, "USD", title),
    "level": lambda title: figures.level(LEVELS, title),
    "coverage": lambda title: figures.coverage(DECILES, title=title),
    "bars": lambda title: figures.bars(["cadence", "money"], [0.2, 0.5], "mean |contribution|", title),
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_numbers_give_the_same_bytes(name: str) -> None:
    assert PICTURES[name]("a title") == PICTURES[name]("a title")


@pytest.mark.parametrize("name", PICTURES)
def test_text_stays_text_and_no_date_is_written(name: str) -> None:
    svg = PICTURES[name]("流失校准图")
    words = ["".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.tag.endswith("}text")]
    assert "流失校准图" in words
    assert not re.search(r"<dc:date>", svg)
    assert len(svg) < 60_000


def test_every_cutoff_of_the_level_is_named_by_its_date() -> None:
    svg = figures.level(LEVELS)
    assert all(day in svg for day in ("1997-05-19", "1997-06-18", "1997-07-18"))
