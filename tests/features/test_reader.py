"""Files and databases: whatever they hold comes in under our names, in batches, with the place it came from."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from features import reader
from features.errors import BadConfiguration, BadData, HoldfastError, MissingInput, ServiceAway, UsageError
from features.reader import batches, day_order, line_of, names_of, source_of
from features.tables import CONTRACTS

PURCHASES = CONTRACTS["purchases"]


def rows_of(
    path: str,
    columns: Mapping[str, str] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    table: str | None = None,
) -> pa.Table:
    source = source_of("purchases", path, columns or {}, only or {}, table)
    pieces = [batch.rows for batch in batches(source, PURCHASES, names_of(source, PURCHASES))]
    return pa.concat_tables(pieces, promote_options="permissive")


def refusal(path: str | Path, **more: Any) -> HoldfastError:
    with pytest.raises(HoldfastError) as refused:
        rows_of(str(path), **more)
    return refused.value


CSV = (
    'customer_id,at,amount\n00123,2024-01-01,1.50\nNA,2024-01-02,2\n" x",2024-01-03,3\n9007199254740993,2024-01-04,4\n'
)
IDS = ["00123", "NA", " x", "9007199254740993"]


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.tsv", "log.txt", "log.parquet", "bom.csv"])
def test_every_kind_of_file_gives_the_same_ids(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name.endswith(".parquet"):
        pd.DataFrame({"customer_id": IDS, "at": ["2024-01-01"] * 4, "amount": [1.0] * 4}).to_parquet(file)
    elif name.endswith(".gz"):
        file.write_bytes(gzip.compress(CSV.encode()))
    else:
        text = {"log.tsv": CSV.replace(",", "\t"), "log.txt": CSV.replace(",", ";")}.get(name, CSV)
        file.write_bytes((b"\xef\xbb\xbf" if name == "bom.csv" else b"") + text.encode())
    assert rows_of(str(file))["customer_id"].to_pylist() == IDS


def test_a_glob_reads_its_files_in_order_and_tells_them_apart(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("customer_id,at,amount\nb,2024-01-01,1\n")
    (tmp_path / "a.csv").write_text("at,customer_id\n2024-01-01,a\n")
    source = source_of("purchases", str(tmp_path / "*.csv"), {}, {}, None)
    read = list(batches(source, PURCHASES, names_of(source, PURCHASES)))
    assert [(Path(batch.file).name, batch.place, batch.rows["customer_id"].to_pylist()) for batch in read] == [
        ("a.csv", 0, ["a"]),
        ("b.csv", 1, ["b"]),
    ]


def test_a_database_table_is_read_and_its_password_never_shown(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as base:
        base.execute("create table orders (who text, at text, amount real)")
        base.executemany(
            "insert into orders values (?, ?, ?)", [("00123", "2024-01-01", 1.5), ("NA", "2024-01-02", None)]
        )
    read = rows_of(f"sqlite:///{tmp_path}/shop.db", {"customer_id": "who"}, table="orders")
    assert read["customer_id"].to_pylist() == ["00123", "NA"]
    assert isinstance(refusal(f"sqlite:///{tmp_path}/shop.db", table="none"), MissingInput)
    assert isinstance(refusal(f"sqlite:///{tmp_path}/shop.db"), UsageError)
    assert isinstance(refusal("nosuch://base/shop", table="orders"), UsageError)
    away = refusal("postgresql+psycopg://me:secret@127.0.0.1:1/shop", table="orders")
    assert isinstance(away, ServiceAway)
    assert "secret" not in str(away)


def test_the_shops_names_become_ours(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("uid,when,customer_id,extra\nu,2024-01-01,not me,x\n")
    read = rows_of(str(tmp_path / "log.csv"), {"customer_id": "uid", "at": "when"})
    assert read.to_pylist() == [{"customer_id": "u", "at": "2024-01-01"}]


def test_only_keeps_rows_by_our_names_or_theirs(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"customer_id": ["a", "b"], "at": "2024-01-01", "order_status": ["paid", "void"], "flag": [1, 2]}
    )
    frame.to_parquet(tmp_path / "log.parquet")
    for only in ({"status": ["paid"]}, {"flag": ["1"]}):
        read = rows_of(str(tmp_path / "log.parquet"), {"status": "order_status"}, only)
        assert read.filter(reader.keep_only(read, only))["customer_id"].to_pylist() == ["a"]


@pytest.mark.parametrize(
    ("text", "more", "kind", "says"),
    [
        ("custmer_id,at\n", {}, BadData, 'customer_id = "custmer_id"'),
        ("customer_id,at,at\n", {}, BadData, "same name"),
        ("", {}, BadData, "no header"),
        ("customer_id,at\n", {"columns": {"amount": "paid"}}, BadData, "'paid'"),
        ("customer_id,at\n", {"columns": {"custmer": "customer_id"}}, BadConfiguration, "did you mean 'customer_id'"),
        ("customer_id,at\n", {"only": {"sttus": ["x"]}}, BadConfiguration, "'sttus'"),
        ("客户,at\n".encode("gb18030"), {}, BadData, "iconv"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_message(
    tmp_path: Path, text: str | bytes, more: Any, kind: type, says: str
) -> None:
    (tmp_path / "log.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused = refusal(tmp_path / "log.csv", **more)
    assert isinstance(refused, kind)
    assert says in str(refused)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(CSV)
    assert "orders.csv" in str(refusal(tmp_path / "order.csv"))
    assert "folder" in str(refusal(tmp_path))
    assert isinstance(refusal(tmp_path / "*.parquet"), MissingInput)
    (tmp_path / "orders.xls").write_text("")
    assert isinstance(refusal(tmp_path / "orders.xls"), UsageError)


def test_a_parquet_file_cut_short_or_nested(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pd.DataFrame({"customer_id": ["a"] * 999, "at": ["2024-01-01"] * 999}).to_parquet(whole)
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-40])
    assert isinstance(refusal(tmp_path / "cut.parquet"), BadData)
    pd.DataFrame({"customer_id": [["a"]], "at": ["2024-01-01"]}).to_parquet(tmp_path / "nested.parquet")
    assert "lists" in str(refusal(tmp_path / "nested.parquet"))


def test_lines_with_too_many_or_too_few_fields_are_named_by_their_line(tmp_path: Path) -> None:
    """Blank lines at the end are no rows; the lines after a misfit keep their numbers."""
    (tmp_path / "log.csv").write_text("customer_id,at\na,2024-01-01\nb\nc,2024-01-01\nd,e,f\ng,2024-01-02\n\n\n")
    source = source_of("purchases", str(tmp_path / "log.csv"), {}, {}, None)
    (batch,) = batches(source, PURCHASES, names_of(source, PURCHASES))
    assert batch.rows["customer_id"].to_pylist() == ["a", "c", "g"]
    lines = [line for line, _ in batch.skipped]
    assert lines == [3, 5]
    assert [line_of(batch.file, row, lines) for row in range(3)] == [2, 4, 6]


def test_a_field_may_hold_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('customer_id,at\n"a\nb",2024-01-01\n')
    assert rows_of(str(tmp_path / "log.csv"))["customer_id"].to_pylist() == ["a\nb"]


@pytest.mark.parametrize(
    ("dates", "order"),
    [
        (["2024-01-13"], ""),
        (["13/01/2024", "02/03/2024"], "dmy"),
        (["01/13/2024"], "mdy"),
        (["1.2.2024 8:26", "31.1.2024"], "dmy"),
    ],
)
def test_the_whole_table_tells_whether_the_day_comes_first(tmp_path: Path, dates: list[str], order: str) -> None:
    (tmp_path / "log.csv").write_text("at\n" + "\n".join(dates) + "\n")
    source = source_of("purchases", str(tmp_path / "log.csv"), {}, {}, None)
    assert day_order(source, "at") == order


@pytest.mark.parametrize("dates", [["01/02/2024"], ["13/01/2024", "01/13/2024"]])
def test_dates_that_could_be_either_are_refused(tmp_path: Path, dates: list[str]) -> None:
    (tmp_path / "log.csv").write_text("at\n" + "\n".join(dates) + "\n")
    source = source_of("purchases", str(tmp_path / "log.csv"), {}, {}, None)
    with pytest.raises(BadData, match="YYYY-MM-DD"):
        day_order(source, "at")
