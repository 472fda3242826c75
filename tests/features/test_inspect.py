"""A first look: columns found by name and content, windows argued from gaps, and a check that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from any_shop import settings, tables

from features import config, inspect
from features.errors import BadData, CannotWrite, MissingInput, UsageError
from features.ingest import ingest


def log(folder: Path, name: str = "log.csv", **columns: str) -> Path:
    """A log of 60 customers who buy about monthly, under the names given."""
    g = np.random.default_rng(0)
    who = np.repeat(np.arange(60), 12)
    day = np.concatenate([np.cumsum(g.integers(20, 40, 12)) for _ in range(60)])
    frame = pd.DataFrame({"who": who, "when": pd.Timestamp("2021-01-01") + pd.to_timedelta(day, unit="D")})
    frame["paid"] = np.round(g.gamma(2, 20, len(frame)), 2)
    frame = frame.rename(columns={"who": "customer_id", "when": "at", "paid": "amount", **columns})
    file = folder / name
    frame.to_parquet(file, index=False) if name.endswith(".parquet") else frame.to_csv(file, index=False)
    return file


@pytest.mark.parametrize(
    ("who", "when", "paid"),
    [
        ("CustomerID", "InvoiceDate", "Sales"),
        ("household_key", "transaction_timestamp", "sales_value"),
        ("user_id", "order_purchase_timestamp", "payment_value"),
        ("会员编号", "下单时间", "实付金额"),
        ("买家会员名", "订单付款时间", "总金额"),
    ],
)
def test_columns_are_found_by_the_names_shops_use(tmp_path: Path, who: str, when: str, paid: str) -> None:
    file = log(tmp_path, who=who, when=when, paid=paid)
    found = inspect.propose(str(file), tmp_path / "holdfast.toml").columns
    assert found == {"customer_id": who, "at": when, "amount": paid}


def test_a_name_is_believed_only_where_the_content_agrees(tmp_path: Path) -> None:
    """A column called date that holds no dates is not the time; the only column of dates is."""
    frame = pd.read_csv(log(tmp_path, when="moment_of_joy"))
    frame.insert(0, "date", "n/a")
    frame.to_csv(tmp_path / "log.csv", index=False)
    assert inspect.propose(str(tmp_path / "log.csv")).columns["at"] == "moment_of_joy"


def test_a_unit_price_is_taken_where_no_amount_is(tmp_path: Path) -> None:
    frame = pd.read_csv(log(tmp_path, paid="UnitPrice")).assign(Quantity=2, StockCode="x", Description="a thing")
    frame.to_csv(tmp_path / "log.csv", index=False)
    columns = inspect.propose(str(tmp_path / "log.csv")).columns
    assert (columns["unit_price"], columns["quantity"], columns["product_id"]) == ("UnitPrice", "Quantity", "StockCode")
    assert "amount" not in columns


def test_orders_that_were_called_off_are_left_out_with_the_share_said(tmp_path: Path) -> None:
    frame = pd.read_csv(log(tmp_path))
    frame["status"] = np.where(np.arange(len(frame)) % 10 == 0, "cancelled", "delivered")
    frame.to_csv(tmp_path / "log.csv", index=False)
    proposal = inspect.propose(str(tmp_path / "log.csv"), tmp_path / "holdfast.toml")
    assert 'only = { status = ["delivered"] }' in proposal.toml
    assert any("90.0% are delivered" in line and "cancelled" in line for line in proposal.evidence)


def test_the_windows_follow_the_gaps_and_say_why(tmp_path: Path) -> None:
    """Gaps of 20 to 39 days: all come within eight weeks."""
    proposal = inspect.propose(str(log(tmp_path)), tmp_path / "holdfast.toml")
    assert (proposal.horizon, proposal.active) == (56, 112)
    assert any(line.startswith("H = 56 days: 100%") for line in proposal.evidence)
    assert any(line.startswith("bought once: 0.0%") for line in proposal.evidence)


def test_a_log_in_which_nobody_buys_twice_says_so(tmp_path: Path) -> None:
    frame = pd.DataFrame({"customer_id": [f"c{i}" for i in range(300)], "at": pd.date_range("2023-01-01", periods=300)})
    frame.to_csv(tmp_path / "log.csv", index=False)
    said = "\n".join(inspect.propose(str(tmp_path / "log.csv")).evidence)
    assert "nearly all customers buy once" in said
    assert "nobody has bought twice" in said


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_what_is_proposed_can_be_ingested(tmp_path: Path, name: str) -> None:
    file = log(tmp_path, name, who="客户编号", when="日期", paid="金额")
    proposal = inspect.propose(str(file), tmp_path / "holdfast.toml")
    inspect.write(proposal, tmp_path / "holdfast.toml")
    chosen = config.load(tmp_path / "holdfast.toml")
    assert chosen.tables["purchases"].path == name
    assert (chosen.shop.currency, chosen.shop.timezone) == ("CNY", "Asia/Shanghai")
    assert ingest(chosen).customers == 60


def test_dates_with_the_day_first_go_all_the_way(tmp_path: Path) -> None:
    frame = pd.read_csv(log(tmp_path))
    frame["at"] = pd.to_datetime(frame["at"]).dt.strftime("%d/%m/%Y %H:%M")
    frame.to_csv(tmp_path / "log.csv", index=False)
    proposal = inspect.propose(str(tmp_path / "log.csv"), tmp_path / "holdfast.toml")
    inspect.write(proposal, tmp_path / "holdfast.toml")
    report = ingest(config.load(tmp_path / "holdfast.toml"))
    assert report.counts["purchases"]["bad"] == 0


def test_a_table_without_customers_names_its_columns(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("colour,date\nred,2024-01-01\n")
    with pytest.raises(BadData, match="colour, date"):
        inspect.propose(str(tmp_path / "log.csv"))
    with pytest.raises(MissingInput):
        inspect.propose(str(tmp_path / "none.csv"))


def test_settings_are_not_overwritten_unless_told(tmp_path: Path) -> None:
    proposal = inspect.propose(str(log(tmp_path)), tmp_path / "holdfast.toml")
    inspect.write(proposal, tmp_path / "holdfast.toml")
    with pytest.raises(UsageError, match="--force"):
        inspect.write(proposal, tmp_path / "holdfast.toml")
    inspect.write(proposal, tmp_path / "holdfast.toml", force=True)
    with pytest.raises(CannotWrite):
        inspect.write(proposal, tmp_path / "no such folder" / "holdfast.toml")


# -- check -------------------------------------------------------------------------------------------------------------


def test_a_check_counts_what_an_ingest_would_and_writes_nothing(tmp_path: Path) -> None:
    chosen = settings(tmp_path, tables(21))
    before = sorted(tmp_path.rglob("*"))
    found = inspect.check(chosen)
    assert sorted(tmp_path.rglob("*")) == before
    report = ingest(chosen)
    assert {
        name: {k: v for k, v in counts.items() if k != "duplicates"} for name, counts in found.counts.items()
    } == report.counts
    assert found.sound


def test_a_check_names_offending_rows_and_duplicates(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        "customer_id,at,amount\na,2024-01-01,1\na,2024-01-01,1\na,2024-01-01,2\nb,2024-01-02,x\n"
    )
    found = inspect.check(config.build({"tables": {"purchases": {"path": "log.csv"}}}, tmp_path / "holdfast.toml"))
    said = "\n".join(found.lines)
    assert not found.sound
    assert found.counts["purchases"]["duplicates"] == 1
    assert "log.csv line 5: amount 'x'" in said
    assert "1 lines are there more than once" in said


def test_a_check_says_what_each_missing_table_costs(tmp_path: Path) -> None:
    said = "\n".join(inspect.check(settings(tmp_path, {"purchases": tables(1)["purchases"]})).lines)
    for table in set(config.TABLES) - {"purchases"}:
        assert f"  {table}: " in said
    assert "purchases.order_id" not in said


def test_class_balance_is_that_of_the_definition(tmp_path: Path) -> None:
    """At risk: bought in the A days ending on the cutoff; churned: nothing in the H days after it."""
    days = ["2024-01-01", "2024-01-31", "2024-02-01", "2024-03-01"]
    frame = pd.DataFrame({"customer_id": ["old", "gone", "stays", "stays"], "at": days, "amount": 1.0})
    chosen = settings(tmp_path, {"purchases": frame}, windows={"horizon": 29, "active": 2})
    assert any("cutoff 2024-02-01: 2 at risk, 50.0% churned" in line for line in inspect.check(chosen).lines)


def test_cdnow_argues_for_a_quarter_ahead_and_half_a_year_back(real_log: Callable[[str], Path]) -> None:
    proposal = inspect.propose(str(real_log("cdnow") / "transactions.parquet"))
    assert (proposal.horizon, proposal.active) == (91, 182)
    assert proposal.columns["at"] == "ordered_at"


def test_olist_is_told_to_be_a_shop_of_one_time_buyers(real_log: Callable[[str], Path]) -> None:
    proposal = inspect.propose(str(real_log("olist") / "transactions.parquet"))
    assert any("nearly all customers buy once" in line for line in proposal.evidence)
    assert 'only = { status = ["delivered", "shipped"] }' in proposal.toml
    assert proposal.columns["promised_at"] == "estimated_delivery_at"


@pytest.mark.parametrize("written", ["¥9.72", "9,72 €", "1.533,60", "$1,234.50"])
def test_amounts_that_cannot_be_read_are_named_and_never_taken_for_none(tmp_path: Path, written: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("customer_id;at;amount\n".replace(";", "\t") + f"a\t2024-01-01\t{written}\n" * 5, encoding="utf-8")
    comma = path.read_text(encoding="utf-8").replace("\t", '","').splitlines()
    path.write_text("\n".join(f'"{line}"' for line in comma) + "\n", encoding="utf-8")
    with pytest.raises(BadData) as caught:
        inspect.propose(str(path))
    assert "amount" in str(caught.value)
    assert repr(written) in str(caught.value)
