"""An export holds what was listed and nothing else, and no spreadsheet can run any of it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest
from corner_shop import Shop
from hypothesis import given
from hypothesis import strategies as st

from features.errors import CannotWrite, MissingInput, UsageError
from serving import export
from serving.publish import Published

LEADS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
BODIES = ("1+1", "cmd|' /C calc'!A0", 'HYPERLINK("http://x","y")', "SUM(A1:A9)", "2")
FORMULAS = [lead + body for lead in LEADS for body in BODIES]

HOSTILE_IDS = [
    "00123",
    "NA",
    "1E5",
    "nan",
    "",
    " 7",
    "客户甲",
    "a,b",
    'say "x"',
    "line\nbreak",
    "é",
    "TRUE",
    "2026-01-02",
    "x" * 300,
]


def table_of(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"customer_id": pd.Series(ids, dtype=object), "value": 1.5, "missing": float("nan")})


def read_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def cells(content: bytes) -> list[list[object]]:
    return [list(row) for row in openpyxl.load_workbook(io.BytesIO(content)).worksheets[0].iter_rows(values_only=True)]


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_what_a_spreadsheet_would_run_is_text_in_csv(text: str) -> None:
    cell = read_csv(export.csv_bytes(table_of([text])))[1][0]
    assert cell == "'" + text
    assert not cell.startswith(LEADS)


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_what_a_spreadsheet_would_run_is_text_in_excel(text: str) -> None:
    book = export.xlsx_bytes(table_of([text]), "list", [text])
    sheets = openpyxl.load_workbook(io.BytesIO(book))
    assert sheets.worksheets[0]["A2"].data_type == "s"
    assert sheets.worksheets[1]["A1"].data_type == "s"
    with zipfile.ZipFile(io.BytesIO(book)) as parts:
        assert b"<f>" not in b"".join(parts.read(name) for name in parts.namelist())


@pytest.mark.parametrize("text", [" =1", "\u200b=1", "\ufeff+1", "\u00a0@x", "\u2060-1"], ids=ascii)
def test_a_formula_behind_blanks_is_text_too(text: str) -> None:
    assert export.harmless(text) == "'" + text


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=30), min_size=1, max_size=5))
def test_any_text_comes_back_from_csv_or_is_quoted(ids: list[str]) -> None:
    back = [row[0] if row else "" for row in read_csv(export.csv_bytes(table_of(ids)))[1:]]
    assert [
        one.removeprefix("'") if given_.startswith(LEADS) else one for one, given_ in zip(back, ids, strict=True)
    ] == [one if not export.FORMULA.match(one) or one.startswith(LEADS) else "'" + one for one in ids]


@pytest.mark.parametrize("bom", [True, False])
def test_ids_stay_exactly_as_given(bom: bool) -> None:
    rows = table_of(HOSTILE_IDS)
    content = export.csv_bytes(rows, bom=bom)
    assert content.startswith(b"\xef\xbb\xbf") == bom
    assert [row[0] for row in read_csv(content)[1:]] == HOSTILE_IDS
    got = [row[0] or "" for row in cells(export.xlsx_bytes(rows, "list", []))[1:]]
    assert got == HOSTILE_IDS


def test_what_is_missing_is_empty_everywhere() -> None:
    rows = table_of(["a"])
    assert read_csv(export.csv_bytes(rows))[1] == ["a", "1.5", ""]
    assert cells(export.xlsx_bytes(rows, "list", []))[1] == ["a", 1.5, None]


def test_control_characters_cannot_break_a_workbook() -> None:
    assert cells(export.xlsx_bytes(table_of(["a\x01b\x1f"]), "list", []))[1][0] == "a_x0001_b_x001F_"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    from corner_shop import make_shop

    return make_shop(tmp_path_factory.mktemp("export") / "shop").score()


@pytest.mark.parametrize("name", ["early-warning", "retention", "win-back"])
@pytest.mark.parametrize("kind", export.FORMATS)
def test_the_held_out_are_in_no_export(published: Published, name: str, kind: str) -> None:
    held = set(published.held_out.loc[published.held_out["list"] == name, "customer_id"])
    shown = set(published.rows(name)["customer_id"])
    assert held
    assert not held & shown
    content = export.as_bytes(published, name, kind)
    ids = {
        "csv": lambda: {row[1] for row in read_csv(content)[1:]},
        "xlsx": lambda: {row[1] for row in cells(content)[1:]},
        "parquet": lambda: set(pq.read_table(io.BytesIO(content))["customer_id"].to_pylist()),
        "json": lambda: {row["customer_id"] for row in json.loads(content)["rows"]},
    }[kind]()
    assert ids == shown


@pytest.mark.parametrize("kind", export.FORMATS)
def test_the_same_list_gives_the_same_bytes(published: Published, kind: str) -> None:
    assert export.as_bytes(published, "retention", kind) == export.as_bytes(published, "retention", kind)


def test_chinese_csv_begins_with_a_mark(published: Published) -> None:
    assert export.as_bytes(published, "retention", "csv", "zh-CN").startswith(b"\xef\xbb\xbf")
    assert not export.as_bytes(published, "retention", "csv", "en").startswith(b"\xef\xbb\xbf")
    assert export.as_bytes(published, "retention", "csv", "en", bom=True).startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_the_table_says_how_many_are_held_out_and_shows_none(published: Published, language: str) -> None:
    told = export.table(published, "retention", language, most=500, width=400)
    about = published.summary["lists"]["retention"]
    assert f"{about['held_out']}" in told
    assert not any(
        f" {one} " in told for one in published.held_out.loc[published.held_out["list"] == "retention", "customer_id"]
    )
    assert ("Suggested action" in told) == (language == "en")


def test_a_terminal_shows_no_control_characters() -> None:
    assert export.visible("a\x1b[2Jb\u202ec") == "a\ufffd[2Jb\ufffdc"


def test_an_export_is_written_whole_and_remembered(published: Published, tmp_path: Path) -> None:
    out = export.to(published, "retention", "csv", tmp_path / "new" / "list.csv")
    assert out.read_bytes() == export.as_bytes(published, "retention", "csv")
    assert [p.name for p in out.parent.iterdir()] == ["list.csv"]
    assert export.remembered(published.folder.parent)[-1]["path"] == str(out)


def test_what_cannot_be_exported_says_so(published: Published, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="format"):
        export.as_bytes(published, "retention", "pdf")
    with pytest.raises(MissingInput):
        export.as_bytes(published, "hold-out", "csv")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite):
        export.to(published, "retention", "csv", tmp_path / "file" / "list.csv")


def test_without_skill_every_list_says_so(shop: Shop) -> None:
    published = shop.score(skill=False)
    for name in ("early-warning", "retention", "win-back"):
        assert "No skill" in export.table(published, name, "en", width=300)
        assert "无预测能力" in export.table(published, name, "zh-CN", width=300)
        assert "No skill" in json.loads(export.as_bytes(published, name, "json"))["summary"]["says"][0]["en"]


def test_every_exported_row_names_the_list_its_disposition_needs(published: Published) -> None:
    rows = pd.read_csv(io.BytesIO(export.as_bytes(published, "retention", "csv")))
    assert set(rows["list_id"]) == {published.list_id("retention")}
