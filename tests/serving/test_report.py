"""The report and the card of a little shop, read as a reader would: from the files and the lines."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from little_shop import buys, shop

from features.errors import MissingInput, UsageError
from features.windows import to_day
from serving import card, chapters, findings, page, pictures, report
from serving.page import Chapter, Missing, Picture, Table, Text
from serving.pictures import Series

MONTHS = [f"2024-{month:02}-{day:02}" for month in range(1, 7) for day in (1, 15)]
TABLES = {
    "purchases": [
        *buys("Ann", *MONTHS, amount=20.0, category="books", cost=12.0),
        *buys("Bob", *MONTHS[:4], amount=10.0, category="toys", cost=6.0),
        *buys("=Cat|<b>", "2024-06-10", amount=5.0, category="toys", cost=3.0),
    ],
    "surveys": [
        {"customer_id": "Ann", "at": "2024-06-12", "score": 5},
        {"customer_id": "Bob", "at": "2024-02-20", "score": 1},
    ],
    "complaints": [{"customer_id": "Bob", "at": "2024-02-16", "kind": "product"}],
    "costs": [{"customer_id": "Ann", "at": "2024-01-01", "amount": 4.0, "kind": "acquisition"}],
}  # fmt: skip
WINDOWS = {"horizon": 30, "active": 60}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    config, _ = shop(tmp_path_factory.mktemp("full"), TABLES, windows=WINDOWS)
    return report.run(config)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    rows = [{k: row[k] for k in ("customer_id", "at")} for row in TABLES["purchases"]]
    config, _ = shop(tmp_path_factory.mktemp("bare"), {"purchases": rows}, windows=WINDOWS)
    return report.run(config)


def read(told: report.Report, name: str) -> pd.DataFrame:
    return pd.read_parquet(told.folder / "tables" / f"{name}.parquet")


def test_profit_in_the_file_is_the_pencils(full: report.Report) -> None:
    """Paid 240 + 40 + 5 = 285; goods 144 + 24 + 3 = 171; 114 gross, all of it base (nobody bought a new category); 4 of
    acquisition: 110. Ann is charged the 4."""
    ledger = read(full, "ledger").set_index("label")["amount"]
    assert (ledger["base profit"], ledger["acquisition cost"]) == (114.0, -4.0)
    by = read(full, "ledger_by_customer").set_index("customer_id")
    assert by.loc["Ann", "profit"] == 240 - 144 - 4
    assert by["profit"].sum() == 110.0
    checks = read(full, "reconciliation")
    assert (checks["difference"] == 0).all()


def test_stages_in_the_file_are_a_pencils(full: report.Report) -> None:
    """On 15 June: Ann bought 5 days... today is 2024-06-15. Ann buys twice a month to the end: stable. Bob's last is 15
    February: lapsed. Cat bought once five days ago: exploration."""
    who = read(full, "customers").set_index("customer_id")
    assert who["stage_life"].to_dict() == {"Ann": "stable", "Bob": "lapsed", "=Cat|<b>": "exploration"}
    stages = read(full, "stages_simple").set_index("stage")["customers"].to_dict()
    assert stages == {"prospect": 0, "new": 1, "loyal": 1, "lost": 1}
    assert who.loc["Ann", "satisfaction_source"] == "survey"
    assert who.loc["Ann", "satisfaction"] == 1.0


def test_weekly_figures_in_the_file_are_a_pencils(full: report.Report) -> None:
    """The week of 9 to 15 June: Cat's 5 and Ann's 20, two orders."""
    latest = read(full, "kpis_latest").set_index("label")["value"]
    assert latest["revenue"] == "25.00"
    assert latest["orders"] == "2.00"
    assert latest["paid per order"] == "12.50"


def test_every_table_of_the_pages_is_a_file_and_pictures_are_xml(full: report.Report) -> None:
    tables = [block.name for c in full.chapters for block in c.blocks if isinstance(block, Table)]
    assert len(tables) == len(set(tables))
    for name in tables:
        assert (full.folder / "tables" / f"{name}.parquet").exists()
    drawn = [block for c in full.chapters for block in c.blocks if isinstance(block, Picture)]
    assert len(drawn) >= 8
    for picture in drawn:
        ET.fromstring((full.folder / "pictures" / f"{picture.name}.svg").read_text(encoding="utf-8"))


def test_html_needs_nothing_beside_itself_and_escapes_what_customers_wrote(full: report.Report) -> None:
    text = (full.folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)|url\(|@import", text)
    assert "<b>" not in text
    assert "@media print" in text


def test_what_is_missing_is_said_and_is_not_zero(bare: report.Report) -> None:
    """A shop with customer and day only: money is units, and no table can tell satisfaction, cost or origin."""
    said = "\n".join(bare.missing)
    for table in (
        "returns",
        "complaints",
        "surveys",
        "events",
        "campaigns",
        "costs",
        "referrals",
        "customers",
        "attitudes",
    ):
        assert f"No table {table}:" in said
    assert "needs the table events" in said
    ledger = read(bare, "ledger").set_index("label")
    assert ledger.loc["acquisition cost", "amount"] != ledger.loc["acquisition cost", "amount"], "absent is NaN"
    assert ledger.loc["acquisition cost", "lacks"] == "costs"
    everybody = read(bare, "customers")
    assert everybody["satisfaction"].isna().all()
    assert everybody["quadrant"].isna().all()
    assert everybody["churn_probability"].isna().all()


def test_the_same_day_gives_the_same_bytes(tmp_path: Path) -> None:
    config, _ = shop(tmp_path, TABLES, windows=WINDOWS)
    one = report.run(config, out=tmp_path / "one")
    two = report.run(config, out=tmp_path / "two")
    assert one.files == two.files
    for name in one.files:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes(), name


def test_a_past_day_knows_nothing_later(tmp_path: Path) -> None:
    config, _ = shop(tmp_path, TABLES, windows=WINDOWS)
    told = report.run(config, as_of=to_day("2024-05-31"))
    assert told.folder.name == "2024-05-31"
    assert "=Cat|<b>" not in set(read(told, "customers")["customer_id"])
    with pytest.raises(UsageError):
        report.run(config, as_of=to_day("2023-01-01"))


def test_report_speaks_chinese(tmp_path: Path) -> None:
    language = {"name": "小店", "currency": "CNY", "language": "zh-CN"}
    config, _ = shop(tmp_path, TABLES, windows=WINDOWS, shop=language)
    told = report.run(config)
    text = (told.folder / "report.md").read_text(encoding="utf-8")
    for word in ("生命周期阶段", "稳定期", "获取成本", "每周指标", "活跃客户数", "没有attitudes表"):
        assert word in text
    assert 'lang="zh-CN"' in (told.folder / "report.html").read_text(encoding="utf-8")


# -- the card ----------------------------------------------------------------------------------------------------------


def test_card_tells_one_customer(tmp_path: Path) -> None:
    """Ann: 12 purchase days, last on 15 June, 240 in all; her complaint rate is 0 of 12 days because complaints are
    kept, and her returns are unknown because none are."""
    config, _ = shop(tmp_path, TABLES, windows=WINDOWS)
    lines = "\n".join(card.run(config, "Ann").lines)
    assert "bought on 12 days in all" in lines
    assert "spent 240.00 EUR in all" in lines
    assert re.search(r"Exploration, growth, stable, decline\s+stable", lines)
    assert re.search(r"profit\s+92\.00", lines)
    assert "Satisfaction 1.00 of 1 (survey)" in lines
    assert "return_share: no returns on record yet" in lines
    assert "No forecasts" in lines
    assert "loyalty programme" in lines


def test_card_of_nobody_is_refused(tmp_path: Path) -> None:
    config, _ = shop(tmp_path, TABLES, windows=WINDOWS)
    with pytest.raises(MissingInput):
        card.run(config, "Nobody")
    with pytest.raises(MissingInput):
        card.run(config, "=Cat|<b>", as_of=to_day("2024-05-31"))


def test_card_speaks_chinese_and_is_html(tmp_path: Path) -> None:
    config, _ = shop(tmp_path, TABLES, windows=WINDOWS, shop={"language": "zh-CN", "currency": "CNY"})
    made = card.run(config, "Bob")
    assert "已流失" in "\n".join(made.lines)
    assert "<b>" not in card.run(config, "=Cat|<b>").html


def test_forecasts_join_the_report_and_the_card(tmp_path: Path) -> None:
    """Ann alone is forecast: 20 % to churn, 10 of margin if still buying: 2 at risk, all of it in the stable stage.
    Her CLV of 50 joins her profit of 92 and is all the equity there is."""
    config, _ = shop(tmp_path, TABLES, windows=WINDOWS)
    row = {"customer_id": "Ann", "churn_probability": 0.2, "expected_spend": 30.0, "value_if_active": 10.0, "clv": 50.0}
    f = replace(findings.find(config), forecasts=pd.DataFrame([row]), why_no_forecasts="")
    tables = {b.name: b.frame for c in chapters.write(f) for b in c.blocks if isinstance(b, Table)}
    by_stage = tables["by_stage"].set_index("stage")
    assert by_stage.loc["stable", "value at risk"] == pytest.approx(2.0)
    assert by_stage.loc["stable", "budget share"] == 1.0
    assert np.isnan(by_stage.loc["lapsed", "value at risk"])
    assert tables["summary"].set_index("figure").loc["customer equity (expected CLV, summed)", "value"] == 50.0
    assert f.clv[f.now.row("Ann")] == 142.0
    lines = "\n".join(card.of(f, "Ann").lines)
    assert "Churn probability in 30 days 20%, expected spend 30.00 EUR, CLV 50.00 EUR" in lines
    assert "No forecast: not at risk" in "\n".join(card.of(f, "Bob").lines)


# -- pages and pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (None, "", "—"), (float("nan"), ".1%", "—"), (0.256, ".1%", "25.6%"), (1234567, "", "1,234,567"),
        (0.0, "", "0"), (0.01234, "", "0.0123"), (True, "", "✓"), (pd.Timestamp("2024-01-02"), "", "2024-01-02"),
        ("x", ".1%", "x"),
    ],
)  # fmt: skip
def test_cells_are_shown_in_their_format(value: object, form: str, shown: str) -> None:
    assert page.show(value, form) == shown


def test_long_tables_say_how_much_is_left_out() -> None:
    table = Table("t", pd.DataFrame({"n": range(5)}), "caption", most=2)
    text = page.html("a", "b", [Chapter("c", "d", [table])], "en")
    assert "3 more in tables/t.parquet" in text


def test_markdown_holds_the_same_words() -> None:
    blocks = [
        Text("one"),
        Missing("two"),
        Picture("p", "<svg/>", "three"),
        Table("t", pd.DataFrame({"a|b": ["x|y"]}), "four"),
    ]
    text = page.markdown("title", "sub", [Chapter("c", "chapter", blocks)])
    assert "> two" in text
    assert "![three](pictures/p.svg)" in text
    assert "a\\|b" in text
    assert "x\\|y" in text


def test_ticks_are_round_and_cover() -> None:
    assert pictures.nice(0, 7.3) == [0, 2, 4, 6, 8]
    assert pictures.nice(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    ticks = pictures.nice(-3, 4)
    assert ticks[0] <= -3
    assert ticks[-1] >= 4


def test_lines_break_where_a_value_is_absent_and_bands_follow() -> None:
    values = np.array([1.0, np.nan, 3.0, 2.0])
    svg = pictures.lines(range(4), [Series("a", values, values - 1, values + 1)], x_name="x", y_name="<y>")
    root = ET.fromstring(svg)
    path = next(e for e in root.iter() if e.tag.endswith("path"))
    assert path.attrib["d"].count("M") == 2
    assert path.attrib["d"].count("L") == 1
    assert any(e.tag.endswith("polygon") for e in root.iter())
    ET.fromstring(pictures.lines(range(2), [Series("none", np.full(2, np.nan))], x_name="", y_name="n"))


def test_bars_and_grids_keep_chinese_as_text_and_absent_absent() -> None:
    svg = pictures.bars(["稳定期", "b"], np.array([3.0, np.nan]), y_name="n")
    assert "稳定期" in svg
    assert "—" in svg
    shaded = ET.fromstring(pictures.grid(["r"], ["a", "b"], np.array([[0.5, np.nan]]), y_name="n"))
    assert sum(e.tag.endswith("rect") for e in shaded.iter()) == 1
