"""The lifecycle-profit ledger against a ledger kept by hand, to the cent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_shop import buys, shop

from features.windows import to_day
from models import profit
from models.profit import Ledger, Scenario, spread

TABLES = {
    "purchases": [
        # Ann: books on the first day, then books and, new to her, toys.
        {"customer_id": "Ann", "at": "2024-01-01", "amount": 100.0, "category": "books", "discount": 10.0, "cost": 60},
        {"customer_id": "Ann", "at": "2024-01-31", "amount": 60.0, "category": "books", "discount": 0.0, "cost": 30.0},
        {"customer_id": "Ann", "at": "2024-01-31", "amount": 40.0, "category": "toys", "discount": 0.0, "cost": 20.0},
        # Bob: once.
        {"customer_id": "Bob", "at": "2024-01-16", "amount": 50.0, "category": "toys", "discount": 0.0, "cost": 35.0},
    ],
    "returns": [{"customer_id": "Ann", "at": "2024-01-10", "amount": 20.0}],
    "costs": [
        {"customer_id": "Ann", "at": "2024-01-01", "amount": 12.0, "kind": "acquisition"},
        {"customer_id": "Bob", "at": "2024-01-16", "amount": 8.0, "kind": "acquisition"},
        {"customer_id": "Ann", "at": "2024-01-05", "amount": 6.0, "kind": "service"},
        {"customer_id": "Bob", "at": "2024-01-20", "amount": 1.0, "kind": "concession"},
        {"customer_id": "Zoe", "at": "2024-01-20", "amount": 3.0, "kind": "activation"},
        {"customer_id": "", "at": "2024-01-25", "amount": 5.01, "kind": "retention"},
        {"customer_id": "", "at": "2024-01-25", "amount": 2.0, "kind": "acquisition", "channel": "web"},
        {"customer_id": "", "at": "2024-01-25", "amount": 4.0, "kind": "other", "channel": "radio"},
    ],
    "campaigns": [{"customer_id": "Ann", "at": "2024-01-15", "campaign_id": "c", "cost": 0.5, "control": False}],
    "referrals": [{"customer_id": "Ann", "at": "2024-01-12", "referred_id": "Bob"}],
    "customers": [
        {"customer_id": "Ann", "joined_at": "2024-01-01", "channel": "web"},
        {"customer_id": "Bob", "joined_at": "2024-01-01", "channel": "shop"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, pd.DataFrame]:
    config, store = shop(tmp_path_factory.mktemp("ledger"), TABLES, windows={"horizon": 10, "active": 20})
    ledger = profit.run(store, store.last_day, config.span, margin=0.3, discount_rate=0.0)
    return ledger, ledger.reconcile(store)


def account(ledger: Ledger, who: str) -> dict[str, float]:
    row = int(np.flatnonzero(ledger.customer_id == who)[0])
    table = ledger.of(row)
    return dict(zip(table["line"], table["amount"], strict=True)) | {"profit": float(ledger.profit[row]) / ledger.scale}


def test_one_customers_ledger_is_what_a_pencil_makes_of_it(kept: tuple[Ledger, pd.DataFrame]) -> None:
    """Ann paid 200, of which 40 in a category new to her; got 10 off; sent 20 back; her goods cost 110.

    Gross profit at list price 200 + 10 - 20 - 110 = 80, of which 40/200 = 16 is cross-sale and 64 base. Concession
    10. Acquisition 12 and the web's 2 (she is the only one from the web). Retention: half of 5.01 is 2.505, the odd
    cent goes to the first customer, so 2.51, and .50 of contacts: 3.01. Service: beginners cost 6 over 2 purchase
    days in the first 20 days (1 January; Bob's 16 January): 3 a purchase day, so Ann at a beginner's rate 6 for two
    days, saved 0. One recommendation saves what acquiring costs: (14 + 8) / 2 = 11. Cash: 64 + 16 - 6 + 0 - 10 - 14
    - 3.01 = 46.99."""
    ledger, _ = kept
    assert account(ledger, "Ann") == pytest.approx(
        {
            "base": 64.0, "cross": 16.0, "serving": -6.0, "saving": 0.0, "concession": -10.0, "acquisition": -14.0,
            "activation": 0.0, "retention": -3.01, "other": 0.0, "referral": 11.0, "profit": 46.99,
        }
    )  # fmt: skip


def test_saving_is_what_serving_cost_less_than_a_beginner(kept: tuple[Ledger, pd.DataFrame]) -> None:
    """Bob: 50 - 35 = 15 base, a rebate of 1, 8 of acquisition, 2.50 of retention; serving him should have cost 3
    and cost nothing: a saving of 3. Cash: 15 - 1 - 8 - 2.50 = 3.50."""
    bob = account(kept[0], "Bob")
    assert (bob["serving"], bob["saving"]) == (-3.0, 3.0)
    assert bob["profit"] == pytest.approx(3.50)


def test_a_lead_that_cost_something_and_never_bought_is_in_the_ledger(kept: tuple[Ledger, pd.DataFrame]) -> None:
    ledger, _ = kept
    zoe = account(ledger, "Zoe")
    assert (zoe["activation"], zoe["profit"]) == (-3.0, -3.0)
    assert ledger.first_day[ledger.customer_id == "Zoe"] == profit.NEVER


def test_ledger_reconciles_with_the_store_to_the_cent(kept: tuple[Ledger, pd.DataFrame]) -> None:
    """Paid 250, returned 20, costs 12 + 8 + 6 + 1 + 3 + 5.01 + 2 + 4 = 41.01, of which the radio's 4 fit nobody."""
    ledger, table = kept
    told = table.set_index("source")
    assert told["ledger"].to_dict() == {"purchases.amount": 250.0, "returns.amount": 20.0, "costs.amount": 41.01}
    assert (told["difference"] == 0).all()
    assert ledger.unallocated == {"other": 400}


def test_a_missing_table_makes_a_line_missing_and_not_zero(tmp_path: Path) -> None:
    config, store = shop(tmp_path, {"purchases": buys("Ann", "2024-01-01", amount=100.0)})
    ledger = profit.run(store, store.last_day, config.span, margin=0.3, discount_rate=0.1)
    table = ledger.totals().set_index("line")
    assert table.loc["base", "amount"] == 30.0
    assert "70%" in table.loc["base", "note"]
    assert table.drop("base")["amount"].isna().all()
    assert table.loc["service" if "service" in table.index else "serving", "lacks"] == "costs"
    assert table.loc["cross", "lacks"] == "purchases.category"
    assert ledger.lacking == tuple(table.drop("base").index)
    assert ledger.assumed == "assumed"


def test_present_value_discounts_to_the_first_purchase(tmp_path: Path) -> None:
    """100 on the first day and 100 a year (365.25 days, here 365) later at a margin of .5 and 10 % a year:
    50 + 50 / 1.1^(365/365.25) = 95.457."""
    config, store = shop(tmp_path, {"purchases": buys("Ann", "2023-01-01", "2024-01-01", amount=100.0)})
    ledger = profit.run(store, store.last_day, config.span, margin=0.5, discount_rate=0.1)
    assert ledger.npv[0] == pytest.approx(50 + 50 / 1.1 ** (365 / 365.25), abs=1e-9)


def test_without_discounting_present_value_is_the_profit(kept: tuple[Ledger, pd.DataFrame]) -> None:
    ledger, _ = kept
    assert ledger.npv == pytest.approx(ledger.profit / ledger.scale)


def test_ledger_of_a_past_day_knows_nothing_later(tmp_path: Path) -> None:
    config, store = shop(tmp_path, TABLES, windows={"horizon": 10, "active": 20})
    ledger = profit.run(store, to_day("2024-01-09"), config.span, margin=0.3, discount_rate=0.0)
    ann = account(ledger, "Ann")
    assert ann["base"] == 100 + 10 - 60
    assert "Bob" not in set(ledger.customer_id[ledger.parts["paid"] > 0])


def test_negative_word_of_mouth_is_a_scenario_beside_the_ledger(kept: tuple[Ledger, pd.DataFrame]) -> None:
    """.5 dissatisfied x 9 told x 2 % deterred x worth 100 = 9; unknown satisfaction stays unknown."""
    ledger, _ = kept
    told = ledger.word_of_mouth(np.array([0.5, np.nan, 0.0]), 100.0, Scenario())
    assert told[:1] == pytest.approx([-9.0])
    assert np.isnan(told[1])
    assert told[2] == 0


@given(st.integers(-(10**9), 10**9), st.integers(1, 500))
def test_spreading_adds_up_and_is_even(amount: int, members: int) -> None:
    parts = spread(amount, members)
    assert int(parts.sum()) == amount
    assert parts.max() - parts.min() <= 1


def test_file_of_the_ledger_adds_up_and_keeps_missing_missing(kept: tuple[Ledger, pd.DataFrame]) -> None:
    ledger, _ = kept
    frame = ledger.frame()
    cash = [line.name for line in ledger.lines if line.cash]
    assert frame[cash].sum(axis=1).to_numpy() == pytest.approx(frame["profit"].to_numpy())


@pytest.mark.parametrize("name", ["cdnow", "olist"])
def test_real_logs_reconcile(real_log, tmp_path: Path, name: str) -> None:
    log = pd.read_parquet(real_log(name) / "transactions.parquet", columns=["customer_id", "ordered_at", "amount"])
    log = log.dropna().head(20_000).rename(columns={"ordered_at": "at"})
    config, store = shop(tmp_path, {"purchases": log})
    ledger = profit.run(store, store.last_day, config.span, margin=0.3, discount_rate=0.1)
    table = ledger.reconcile(store)
    assert (table["difference"] == 0).all()
    assert table["ledger"][0] == pytest.approx(round(log["amount"].clip(lower=0).sum(), 2))
