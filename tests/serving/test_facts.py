"""Facts are counted, not predicted: each against a small history worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from corner_shop import make_shop

from features.windows import Windows, to_day
from serving import facts, plainly
from serving.actions import describe

DAY = to_day("2025-06-30")


def on(customer: str, *days: str, **more: object) -> list[dict[str, object]]:
    return [{"customer_id": customer, "at": day, "amount": 10.0, "category": "c", **more} for day in days]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """a: every ten days, then silent for 20; once lost in between for longer than 60 days. b: bought once."""
    purchases = [
        *on("a", "2025-01-01", "2025-01-11", "2025-04-21", "2025-05-01", "2025-05-21", "2025-05-31"),
        *on("a", "2025-06-10", amount=50.0, discount=10.0, category="d"),
        *on("b", "2025-06-30"),
        *on("late", "2025-07-01"),
    ]
    data = {
        "purchases": pd.DataFrame(purchases),
        "returns": pd.DataFrame([{"customer_id": "a", "at": "2025-06-12", "amount": 11.0}]),
        "complaints": pd.DataFrame(
            [
                {"customer_id": "a", "at": "2025-06-01", "kind": "service", "resolved_at": "2025-06-03"},
                {"customer_id": "a", "at": "2025-06-20", "kind": "service", "resolved_at": "2025-07-09"},
            ]
        ),
        "surveys": pd.DataFrame(
            [{"customer_id": "a", "at": "2025-06-25", "score": 4}, {"customer_id": "b", "at": "2024-01-01", "score": 1}]
        ),
        "campaigns": pd.DataFrame(
            [
                {"customer_id": "a", "at": "2025-06-05", "campaign_id": "x", "control": False},
                {"customer_id": "a", "at": "2025-06-15", "campaign_id": "y", "control": True},
                {"customer_id": "a", "at": "2025-03-01", "campaign_id": "z", "control": False},
            ]
        ),
        "customers": pd.DataFrame(
            [
                {
                    "customer_id": "a",
                    "birth_date": "1990-07-04",
                    "consent_email": True,
                    "vip": False,
                    "region": "North",
                },
                {"customer_id": "b", "birth_date": None, "consent_email": None, "vip": True, "region": None},
            ]
        ),
    }
    folder: Path = tmp_path_factory.mktemp("facts")
    shop = make_shop(folder / "shop", {"windows": {"horizon": 30, "active": 60}}, data)
    return facts.read(shop.store, DAY, Windows(30, 60)).set_index("customer_id")


def test_who_bought_later_is_not_there(people: pd.DataFrame) -> None:
    assert people.index.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("fact", "a", "b"),
    [
        ("silence", 20, 0),
        ("purchase_days", 7, 1),
        ("usual_gap", 10, np.nan),  # gaps 10, 100, 10, 20, 10, 10
        ("tenure", 180, 0),
        ("times_lost", 1, 0),  # one gap of 100 days, longer than 60
        ("order_value", 110 / 7, 10),
        ("revenue_while_active", 110 * 30 / 160, 10),  # 160 days from first to last; a single visit counts one horizon
        ("growth", 50 / 20, np.nan),  # 1 to 30 June against 2 to 31 May
        ("satisfaction", 0.75, np.nan),  # 4 of 1..5; the other answer is too old
        ("open_complaints", 1, 0),  # the second is settled later than is known
        ("complaints_year", 2, 0),
        ("returned_share", 11 / 110, 0),
        ("contacts", 1, 0),  # one held out, one too long ago
        ("days_to_birthday", 4, np.nan),
        ("consent_email", 1, np.nan),
        ("consent_sms", np.nan, np.nan),
        ("vip", 0, 1),
        ("carts", np.nan, np.nan),
    ],
)
def test_a_fact_by_hand(people: pd.DataFrame, fact: str, a: float, b: float) -> None:
    assert people.loc["a", fact] == pytest.approx(a, nan_ok=True)
    assert people.loc["b", fact] == pytest.approx(b, nan_ok=True)


def test_words_are_none_where_they_were_not_said(people: pd.DataFrame) -> None:
    assert people.loc["a", "region"] == "North"
    assert pd.isna(people.loc["b", "region"])
    assert people["store"].isna().all()


def test_plain_reasons_name_what_is_unusual(people: pd.DataFrame) -> None:
    told = plainly.reasons(describe(people.reset_index().assign(stage="stable", worth=1.0)))
    assert told.loc[0, "reason_1_feature"] == "open_complaints"
    assert told.loc[0, "reason_2_en"] == "20 days without a purchase, usually 10"
    assert told.loc[0, "reason_2_zh"] == "20天未购买，通常间隔10天"
    assert (told.loc[0, "reason_2_value"], told.loc[0, "reason_2_usual"]) == (20.0, 10.0)
    assert told.loc[1, "reason_1_en"] == "bought once"
    assert pd.isna(told.loc[1, "reason_3_en"])
