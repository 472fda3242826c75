"""Ingest: every row has one fate, sums reconcile with the source to the cent, and every table finds its place."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv as pacsv
import pytest
from any_shop import all_said, settings, tables
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st

from features import config, intake
from features.block import EventTable
from features.config import Config
from features.errors import BadData, UsageError
from features.ingest import IngestReport, append, buckets_for, history_folder, ingest
from features.store import HistoryStore
from features.windows import to_day


def shop(folder: Path, csv: str, **more: Any) -> Config:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.csv").write_text(csv, encoding="utf-8")
    table = {"path": "log.csv", **more.pop("table", {})}
    return config.build({"tables": {"purchases": table}, **more}, folder / "holdfast.toml")


def taken(chosen: Config, as_of: int | None = None) -> tuple[IngestReport, HistoryStore]:
    report = ingest(chosen, as_of)
    return report, HistoryStore(history_folder(chosen))


def one(folder: Path, table: str, *rows: dict[str, Any], name: str = "") -> EventTable:
    """The stored table of a customer "c" who bought on 1 January and has these rows in a table."""
    frames = {"purchases": pd.DataFrame({"customer_id": ["c"], "at": ["2024-01-01"], "amount": [10.0]})}
    frames[table] = pd.DataFrame(list(rows)).assign(customer_id="c")
    _, store = taken(settings(folder, frames))
    return store.block(0).tables[name or table]


def words(table: EventTable, name: str) -> list[str | None]:
    column = table.words[name]
    return [None if code < 0 else column.words[code] for code in column.code]


# -- fates -------------------------------------------------------------------------------------------------------------

FATES = """customer_id,at,amount,status
a,2024-01-01,1.10,paid
,2024-01-01,2,paid
a,2024-01-02,two,paid
a,2024-01-02,0,paid
a,2024-01-03,-0.50,paid
a,2024-02-01,9,paid
a,2024-01-04,5,void
b,2024-01-05,3,paid
"""


def test_every_row_has_one_fate_and_they_add_up(tmp_path: Path) -> None:
    chosen = shop(tmp_path, FATES, table={"only": {"status": ["paid"]}}, ingest={"max_bad_share": 0.2})
    report, store = taken(chosen, as_of=to_day("2024-01-31"))
    fates = report.counts["purchases"]
    assert fates == {
        "read": 8, "kept": 3, "filtered": 1, "guests": 1, "bad": 1, "later": 1, "erased": 0, "free": 1, "bought": 2,
    }  # fmt: skip
    assert fates["read"] == sum(n for fate, n in fates.items() if fate not in ("read", "bought"))
    assert store.last_day == to_day("2024-01-05")
    assert store.total("purchases", "amount") == 410
    assert store.total("returns", "amount") == 50


def test_a_row_that_cannot_be_used_lies_in_quarantine_with_line_and_reason(tmp_path: Path) -> None:
    report, _ = taken(shop(tmp_path, FATES, ingest={"max_bad_share": 0.2}))
    assert report.quarantine is not None
    (row,) = pacsv.read_csv(report.quarantine).to_pylist()
    assert (row["line"], row["column"], row["value"]) == (4, "amount", "'two'")
    assert row["file"].endswith("log.csv")
    assert str(report.quarantine) in "\n".join(report.lines)


def test_too_many_bad_rows_stop_the_ingest_and_leave_the_store_alone(tmp_path: Path) -> None:
    _, store = taken(shop(tmp_path, "customer_id,at,amount\na,2024-01-01,1\n"))
    with pytest.raises(BadData) as refused:
        ingest(shop(tmp_path, FATES))
    assert "1 of 8 rows" in str(refused.value)
    assert "log.csv line 4: amount 'two'" in str(refused.value)
    assert HistoryStore(store.folder).digest == store.digest
    assert (store.folder / "quarantine-refused.csv").exists()


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        ("customer_id,at,amount\n", "no rows"),
        ("customer_id,at,amount\na,2024-01-01,-1\n", "positive"),
        ("customer_id,at,amount\n,2024-01-01,1\n", "without a customer"),
        ("customer_id,at,amount\na,2024-01-01,0\n", "amount 0"),
    ],
)
def test_a_table_without_a_purchase_says_what_it_has_instead(tmp_path: Path, csv: str, says: str) -> None:
    with pytest.raises(BadData, match=says):
        ingest(shop(tmp_path, csv))


def test_equal_lines_are_all_kept(tmp_path: Path) -> None:
    """Two equal lines may be two pieces of one product: nothing is dropped on a suspicion."""
    line = "a,2024-01-01,5,o1,p1\n"
    _, store = taken(shop(tmp_path, "customer_id,at,amount,order_id,product_id\n" + 2 * line))
    bought = store.block(0).tables["purchases"]
    assert (
        bought.measures["amount"].tolist(),
        bought.measures["lines"].tolist(),
        bought.measures["orders"].tolist(),
    ) == ([1000], [2], [1])


# -- money and counts --------------------------------------------------------------------------------------------------


@quickly(max_examples=20)
@given(st.lists(st.integers(-9_999_999, 9_999_999), min_size=1, max_size=60))
def test_sums_reconcile_with_the_source_to_the_cent(tmp_path_factory: pytest.TempPathFactory, cents: list[int]) -> None:
    rows = "".join(f"c{i % 3},2024-01-{1 + i % 28:02d},{Decimal(c).scaleb(-2)}\n" for i, c in enumerate([*cents, 1]))
    _, store = taken(shop(tmp_path_factory.mktemp("sums"), "customer_id,at,amount\n" + rows))
    back = store.total("returns", "amount") if "returns" in store.tables else 0
    assert store.total("purchases", "amount") == sum(c for c in cents if c > 0) + 1
    assert back == -sum(c for c in cents if c < 0)
    assert store.total("purchases", "amount") == sum(
        int(b.tables["purchases"].measures["amount"].sum()) for b in store.blocks()
    )


@pytest.mark.parametrize(("currency", "exponent", "minor"), [("JPY", 0, 20), ("USD", 2, 1999), ("KWD", 3, 19990)])
def test_the_currency_decides_the_minor_unit(tmp_path: Path, currency: str, exponent: int, minor: int) -> None:
    _, store = taken(shop(tmp_path, "customer_id,at,amount\na,2024-01-01,19.99\n", shop={"currency": currency}))
    assert (store.exponent, store.total("purchases", "amount")) == (exponent, minor)


def test_without_amounts_each_line_counts_one_unit(tmp_path: Path) -> None:
    _, store = taken(shop(tmp_path, "customer_id,at\na,2024-01-01\na,2024-01-01\n"))
    assert (store.has_amounts, store.exponent, store.total("purchases", "amount")) == (False, 0, 2)


def test_unit_price_times_quantity_is_the_amount(tmp_path: Path) -> None:
    csv = "customer_id,at,unit_price,quantity\na,2024-01-01,2.55,6\na,2024-01-02,2.55,-2\n"
    _, store = taken(shop(tmp_path, csv))
    assert (store.total("purchases", "amount"), store.total("returns", "amount")) == (1530, 510)


def test_a_sum_is_known_only_where_every_line_of_the_day_has_it(tmp_path: Path) -> None:
    csv = "customer_id,at,amount,cost,quantity\na,2024-01-01,5,2,1.5\na,2024-01-01,5,,1\na,2024-01-02,5,3,\n"
    measures = taken(shop(tmp_path, csv))[1].block(0).tables["purchases"].measures
    assert (measures["cost"].tolist(), measures["cost_known"].tolist()) == ([0, 300], [0, 1])
    assert (measures["quantity"].tolist(), measures["quantity_known"].tolist()) == ([2500, 0], [1, 0])


def test_orders_and_sessions_are_counted_once_wherever_their_lines_are(tmp_path: Path) -> None:
    """An order whose lines come in two files is still one order of the day."""
    csv = "customer_id,at,amount,order_id\na,2024-01-01,5,o1\na,2024-01-01,5,o1\na,2024-01-01,5,o2\na,2024-01-01,5,\n"
    chosen = shop(tmp_path, csv)
    _, store = taken(chosen)
    assert store.block(0).tables["purchases"].measures["orders"].tolist() == [3]
    (tmp_path / "more.csv").write_text("customer_id,at,amount,order_id\na,2024-01-01,5,o1\na,2024-01-01,5,o9\n")
    append(chosen, "purchases", tmp_path / "more.csv")
    assert HistoryStore(store.folder).block(0).tables["purchases"].measures["orders"].tolist() == [4]


def test_amounts_too_large_to_add_exactly_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"c,2024-01-01,{99_999_999_999 - i}\n" for i in range(1000))
    with pytest.raises(BadData, match="too large"):
        ingest(shop(tmp_path, "customer_id,at,amount\n" + rows))


# -- tables ------------------------------------------------------------------------------------------------------------


def test_what_becomes_known_later_lies_on_its_own_day(tmp_path: Path) -> None:
    opened = {
        "at": "2024-01-05",
        "kind": "price",
        "answered_at": "2024-01-07",
        "resolved_at": "2024-01-20",
        "satisfied": True,
    }
    asked = one(tmp_path / "a", "complaints", opened)
    answered = one(tmp_path / "a", "complaints", opened, name="complaints_answered")
    settled = one(tmp_path / "a", "complaints", opened, name="complaints_resolved")
    assert [t.day.tolist() for t in (asked, answered, settled)] == [
        [to_day(f"2024-01-{d}")] for d in ("05", "07", "20")
    ]
    assert "satisfied" not in asked.measures, "what is known at the end is not known at the start"
    assert settled.measures["satisfied"].tolist() == [1]
    assert (answered.measures["waited"].tolist(), settled.measures["waited"].tolist()) == ([2], [15])


def test_an_answer_after_the_as_of_day_is_not_known(tmp_path: Path) -> None:
    frames = {
        "purchases": pd.DataFrame({"customer_id": ["c"], "at": ["2024-01-01"], "amount": [1.0]}),
        "complaints": pd.DataFrame({"customer_id": ["c"], "at": ["2024-01-05"], "resolved_at": ["2024-02-05"]}),
    }
    _, store = taken(settings(tmp_path, frames), as_of=to_day("2024-01-31"))
    block = store.block(0)
    assert len(block.tables["complaints"].day) == 1
    assert len(block.tables["complaints_resolved"].day) == 0


def test_scores_are_millionths_between_worst_and_best(tmp_path: Path) -> None:
    table = one(
        tmp_path, "surveys",
        {"at": "2024-01-05", "score": 9, "kind": "nps"}, {"at": "2024-01-06", "score": 4, "kind": "review"},
        {"at": "2024-01-07", "score": None, "kind": "exit"}, {"at": "2024-01-08", "score": 1, "kind": "csat"},
    )  # fmt: skip
    assert table.measures["score"].tolist() == [900_000, 750_000, 0, 0]
    assert table.measures["score_known"].tolist() == [1, 1, 0, 1]


def test_an_invitation_without_an_answer_is_an_invitation(tmp_path: Path) -> None:
    rows = [
        {"at": "2024-01-06", "invited_at": "2024-01-05", "score": 3},
        {"at": None, "invited_at": "2024-01-09", "score": None},
    ]
    assert len(one(tmp_path, "surveys", *rows).day) == 1
    assert one(tmp_path, "surveys", *rows, name="invitations").day.tolist() == [
        to_day("2024-01-05"),
        to_day("2024-01-09"),
    ]


def test_events_are_counted_by_kind_day_and_category(tmp_path: Path) -> None:
    rows = [
        {"at": "2024-01-05", "kind": "view", "category": "a", "session_id": "s"},
        {"at": "2024-01-05", "kind": "view", "category": "b", "session_id": "s"},
        {"at": "2024-01-05", "kind": "cart", "category": "b", "session_id": "t"},
    ]
    day = one(tmp_path, "events", *rows)
    assert {name: values.tolist() for name, values in day.measures.items()} == {
        "visit": [0], "view": [2], "search": [0], "cart": [1], "checkout": [0], "sessions": [2],
    }  # fmt: skip
    by = one(tmp_path, "events", *rows, name="event_lines")
    assert (words(by, "category"), by.measures["cart"].tolist()) == (["a", "b"], [0, 1])


def test_deliveries_are_known_when_they_came(tmp_path: Path) -> None:
    csv = (
        "customer_id,at,amount,promised_at,delivered_at\n"
        "c,2024-01-01,5,2024-01-05,2024-01-08\nc,2024-01-01,5,2024-01-05,\nc,2024-01-02,5,,2024-01-03\n"
    )
    table = taken(shop(tmp_path, csv))[1].block(0).tables["deliveries"]
    assert table.day.tolist() == [to_day("2024-01-03"), to_day("2024-01-08")]
    assert table.measures["late_days"].tolist() == [0, 3]
    assert table.measures["late_days_known"].tolist() == [0, 1]
    assert table.measures["waited"].tolist() == [1, 7]


def test_costs_without_a_customer_are_kept_apart(tmp_path: Path) -> None:
    frames = {
        "purchases": pd.DataFrame({"customer_id": ["c"], "at": ["2024-01-01"], "amount": [1.0]}),
        "costs": pd.DataFrame(
            {
                "customer_id": ["c", None],
                "at": "2024-01-02",
                "amount": [1.5, 99.0],
                "kind": "service",
                "channel": [None, "web"],
            }
        ),
    }
    _, store = taken(settings(tmp_path, frames))
    assert store.block(0).tables["costs"].measures["amount"].tolist() == [150]
    assert store.shared_costs().to_pylist() == [
        {"day": to_day("2024-01-02"), "amount": 9900, "kind": "service", "channel": "web", "cohort": None}
    ]


def test_a_customer_is_the_last_files_and_dated_by_what_is_known_first(tmp_path: Path) -> None:
    frames = {
        "purchases": pd.DataFrame(
            {"customer_id": ["a", "b"], "at": ["2024-01-03", "2024-01-02"], "amount": [1.0, 1.0]}
        ),
        "customers": pd.DataFrame(
            {
                "customer_id": ["a", "b", "c"],
                "joined_at": ["2023-12-01", None, None],
                "tier": ["new", "new", "new"],
                "vip": [1, 0, None],
            }
        ),
    }
    chosen = settings(tmp_path, frames)
    _, store = taken(chosen)
    table = store.block(0).tables["customers"]
    assert store.block(0).customers[table.who].tolist() == ["a", "b"], "of c nothing is known that has a day"
    assert table.day.tolist() == [to_day("2023-12-01"), to_day("2024-01-02")]
    assert (table.measures["vip"].tolist(), table.measures["vip_known"].tolist()) == ([1, 0], [1, 1])
    pd.DataFrame({"customer_id": ["b"], "joined_at": [None], "tier": ["gold"]}).to_parquet(tmp_path / "news.parquet")
    append(chosen, "customers", tmp_path / "news.parquet")
    assert words(HistoryStore(store.folder).block(0).tables["customers"], "tier") == ["new", "gold"]


def test_a_table_that_knows_orders_finds_their_customers(tmp_path: Path) -> None:
    frames = {
        "purchases": pd.DataFrame(
            {"customer_id": ["a", "b", None], "at": "2024-01-01", "amount": 1.0, "order_id": ["o1", "o2", "o3"]}
        ),
        "surveys": pd.DataFrame({"order_id": ["o2", "o9", "o3"], "at": "2024-01-02", "score": 5}),
    }
    chosen = settings(tmp_path, frames)
    report, store = taken(chosen)
    assert (report.counts["surveys"]["kept"], report.counts["surveys"]["guests"]) == (1, 2)
    assert len(store.customer("b").tables["surveys"].day) == 1
    pd.DataFrame({"order_id": ["o1"], "at": ["2024-01-03"], "score": [1]}).to_parquet(tmp_path / "more.parquet")
    append(chosen, "surveys", tmp_path / "more.parquet")
    assert len(HistoryStore(store.folder).customer("a").tables["surveys"].day) == 1
    frames["purchases"] = frames["purchases"].drop(columns="order_id")
    with pytest.raises(BadData, match="order_id"):
        ingest(settings(tmp_path, frames))


def test_a_declared_table_without_rows_is_there_and_one_the_shop_lacks_is_not(tmp_path: Path) -> None:
    frames = {
        "purchases": pd.DataFrame({"customer_id": ["c"], "at": ["2024-01-01"], "amount": [1.0]}),
        "complaints": pd.DataFrame({"customer_id": ["c"], "at": ["2024-01-01"], "kind": ["price"]}).iloc[:0],
    }
    _, store = taken(settings(tmp_path, frames))
    assert store.tables == ("purchases", "complaints")
    assert len(store.block(0).tables["complaints"].day) == 0


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "buckets"), [(0, 1), (70_000, 1), (1_000_000, 8), (10_000_000, 64), (10**9, 256)])
def test_small_logs_get_few_buckets_and_huge_ones_many(rows: int, buckets: int) -> None:
    assert buckets_for(rows) == buckets


def test_spilling_to_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = tables(9, lines=300)
    expected = all_said(taken(settings(tmp_path / "memory", frames))[1])
    monkeypatch.setattr(intake, "SPILL", 0)
    chosen = settings(tmp_path / "disk", frames)
    assert all_said(taken(chosen)[1]) == expected
    assert not (history_folder(chosen) / ".spill").exists()


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    frames = tables(13)
    digests = [taken(settings(tmp_path / name, frames))[0].digest for name in ("one", "one")]
    first, second = (
        {p.name: p.read_bytes() for p in sorted((history_folder(c) / "parts").rglob("*.parquet"))}
        for c in (settings(tmp_path / "a", frames), settings(tmp_path / "b", frames))
        if taken(c)
    )
    assert first == second
    assert digests[0] != digests[1], "the generation is part of the manifest"


def test_a_table_that_is_none_cannot_be_appended(tmp_path: Path) -> None:
    chosen = shop(tmp_path, "customer_id,at\na,2024-01-01\n")
    ingest(chosen)
    with pytest.raises(UsageError, match="purchases"):
        append(chosen, "sales", tmp_path / "log.csv")


# -- real logs ---------------------------------------------------------------------------------------------------------


def test_cdnow_reconciles_with_pandas(tmp_path: Path, real_log: Callable[[str], Path]) -> None:
    file = real_log("cdnow") / "transactions.parquet"
    table = {"path": str(file), "columns": {"at": "ordered_at"}}
    _, store = taken(config.build({"tables": {"purchases": table}}, tmp_path / "holdfast.toml"))
    log = pd.read_parquet(file)
    log = log[log.amount > 0]
    assert store.total("purchases", "amount") == round(log.amount.sum() * 100)
    assert store.rows("purchases") == len(log.groupby(["customer_id", log.ordered_at.dt.floor("D")]))
    assert store.customers_total == log.customer_id.nunique()
    assert int(store.daily().firsts.sum()) == log.customer_id.nunique()


def test_olist_reconciles_with_pandas(tmp_path: Path, real_log: Callable[[str], Path]) -> None:
    """Cancelled orders are left out, reviews find their customers by order, deliveries their lateness."""
    folder = real_log("olist")
    orders = {
        "path": str(folder / "transactions.parquet"),
        "columns": {"at": "ordered_at", "status": "order_status", "promised_at": "estimated_delivery_at"},
        "only": {"status": ["delivered", "shipped"]},
    }
    reviews = {"path": str(folder / "reviews.parquet"), "columns": {"at": "answered_at", "score": "review_score"}}
    said = {
        "tables": {"purchases": orders, "surveys": reviews},
        "ingest": {"max_bad_share": 0.05},
        "shop": {"currency": "BRL"},
    }
    report, store = taken(config.build(said, tmp_path / "holdfast.toml"))
    log = pd.read_parquet(orders["path"])
    log = log[log.order_status.isin(["delivered", "shipped"]) & (log.amount > 0)]
    answers = pd.read_parquet(reviews["path"])
    answers = answers[answers.answered_at.notna()].merge(log[["order_id"]], on="order_id")
    came = log.assign(
        **{name: log[name].dt.floor("D") for name in ("ordered_at", "delivered_at", "estimated_delivery_at")}
    )
    came = came.dropna(subset="delivered_at").drop_duplicates(
        ["customer_id", "ordered_at", "delivered_at", "estimated_delivery_at"]
    )
    late = (came.delivered_at - came.estimated_delivery_at).dt.days.clip(lower=0).sum()
    assert store.total("purchases", "amount") == round(log.amount.sum() * 100)
    assert report.counts["surveys"]["kept"] == len(answers)
    assert store.total("surveys", "score") == int(((answers.review_score - 1) / 4 * 1e6).sum())
    assert store.total("deliveries", "late_days") == int(late)
    assert np.isclose(report.counts["surveys"]["bad"] / report.counts["surveys"]["read"], 0.039, atol=0.001)
