"""Lists on their way out: CSV, Excel, Parquet, JSON, or a table in the terminal.

Whoever opens an export must get what was listed and nothing else. A spreadsheet takes text that begins with = + - @ or
a control character for a formula and runs it, so such text is quoted in CSV and written as text in Excel; ids stay
exactly as given ('00123' keeps its zeros, '1E5' stays four letters). The held-out are never exported, only counted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from features.errors import CannotWrite, UsageError
from features.windows import to_date
from serving.publish import Published, parquet_bytes
from serving.words import COLUMNS, Word, column_words, say

BOM = "\ufeff"
FORMULA = re.compile("^[\\s\0\u200b-\u200f\u2060\ufeff]*[=+\\-@\t\r\n\0＝＋－＠﹢﹣﹦﹫−]")
CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
FORMATS = ("csv", "xlsx", "parquet", "json")
EXCEL_CELL = 32_767
TRAIL = ".exports.jsonl"


def to(published: Published, name: str, kind: str, out: Path, language: str = "en", *, bom: bool | None = None) -> Path:
    """Write one published list to a file and answer with its path.

    `kind` is csv, xlsx, parquet or json. CSV begins with a byte order mark in Chinese, or where `bom` asks for one:
    Excel would read it in the wrong alphabet otherwise. Column names stay those of the documentation, in every
    language. Raises UsageError for an unknown kind, MissingInput for an unknown list, CannotWrite where the disk
    refuses.
    """
    content = as_bytes(published, name, kind, language, bom=bom)
    aside = out.with_name(f".{out.name}.part")
    said = {"path": str(out.resolve()), "list": name, "kind": kind, "language": language, "bom": bom}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        os.replace(aside, out)
        _remember(published, said | {"sha256": hashlib.sha256(content).hexdigest()})
    except OSError as error:
        raise CannotWrite("the export cannot be written", where=str(out), got=str(error)) from None
    return out


def remembered(home: Path) -> list[dict[str, Any]]:
    """The exports made so far, in order: path, publication, list, kind, language, bom, sha256. A file that was written
    twice stands there twice."""
    trail = home / TRAIL
    return [json.loads(line) for line in trail.read_text(encoding="utf-8").splitlines()] if trail.exists() else []


def _remember(published: Published, said: Mapping[str, Any]) -> None:
    """Write down that names left the house, so that a person can be taken out of the file again."""
    with (published.folder.parent / TRAIL).open("a", encoding="utf-8") as trail:
        trail.write(json.dumps({**said, "publication": published.id}, ensure_ascii=False, sort_keys=True) + "\n")


def as_bytes(published: Published, name: str, kind: str, language: str = "en", *, bom: bool | None = None) -> bytes:
    """One published list as the bytes of a file; the same list gives the same bytes. Each row ends with the `list_id`
    that its disposition must name."""
    rows = published.rows(name).assign(list_id=published.list_id(name))
    if kind == "csv":
        return csv_bytes(rows, bom=language.startswith("zh") if bom is None else bom)
    writers: Mapping[str, Callable[[], bytes]] = {
        "xlsx": lambda: xlsx_bytes(rows, name, notes(published, name, language)),
        "parquet": lambda: parquet_bytes(rows),
        "json": lambda: json_bytes(rows, published, name),
    }
    if kind not in writers:
        raise UsageError("there is no such format", allowed=", ".join(FORMATS), got=kind)
    return writers[kind]()


def csv_bytes(rows: pd.DataFrame, *, bom: bool = False) -> bytes:
    """Rows as CSV that no spreadsheet can run: text that would be a formula gets a leading apostrophe. Missing is
    empty."""
    sink = io.StringIO()
    writer = csv.writer(sink, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    writer.writerow([harmless(str(column)) for column in rows.columns])
    for row in rows.itertuples(index=False):
        writer.writerow([_cell(value) for value in row])
    return ((BOM if bom else "") + sink.getvalue()).encode("utf-8", "surrogatepass")


def harmless(value: str) -> str:
    """Text that a spreadsheet leaves alone: as it is, or behind an apostrophe where it would be taken for a formula."""
    return "'" + value if FORMULA.match(value) else value


def xlsx_bytes(rows: pd.DataFrame, name: str, about: list[str]) -> bytes:
    """Rows as an Excel workbook: every text is stored as text, never as formula, link or number; a second sheet says
    what the list is."""
    import xlsxwriter

    sink = io.BytesIO()
    options = {
        "in_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
        "nan_inf_to_errors": False,
    }
    with xlsxwriter.Workbook(sink, options) as book:
        book.set_properties({"created": pd.Timestamp("1980-01-01").to_pydatetime()})
        sheet = book.add_worksheet(name)
        _fill(sheet, rows, book.add_format({"bold": True}), book.add_format({"num_format": "@"}))
        notes_sheet = book.add_worksheet("about")
        for line, text in enumerate(about):
            notes_sheet.write_string(line, 0, _printable(text))
    return sink.getvalue()


def _fill(sheet: Any, rows: pd.DataFrame, bold: Any, plain: Any) -> None:
    for column, title in enumerate(rows.columns):
        sheet.write_string(0, column, _printable(str(title)), bold)
    for line, row in enumerate(rows.itertuples(index=False), start=1):
        for column, value in enumerate(row):
            if missing(value):
                continue
            if isinstance(value, bool):
                sheet.write_boolean(line, column, value)
            elif isinstance(value, (int, float)):
                sheet.write_number(line, column, float(value))
            else:
                sheet.write_string(line, column, _printable(str(value)), plain)
    sheet.freeze_panes(1, 2)
    if len(rows.columns):
        sheet.autofilter(0, 0, len(rows), len(rows.columns) - 1)


def json_bytes(rows: pd.DataFrame, published: Published, name: str) -> bytes:
    """The list with what is said about it: {"list", "as_of", "summary", "rows"}; missing is null."""
    records = [
        {str(column): None if missing(value) else value for column, value in zip(rows.columns, row, strict=True)}
        for row in rows.itertuples(index=False)
    ]
    content = {
        "list": published.list_id(name),
        "as_of": str(to_date(published.as_of)),
        "summary": published.summary["lists"][name],
        "rows": records,
    }
    return (json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1, default=_plain) + "\n").encode()


def notes(published: Published, name: str, language: str) -> list[str]:
    """What is said about a list, a line each: the shop, the day, how many, how many held out, whether there is
    skill."""
    about = published.summary["lists"][name]
    lines = [
        say(
            Word.ABOUT,
            language,
            shop=published.summary["shop"],
            list=say(Word(name), language),
            day=str(to_date(published.as_of)),
            bundle=published.summary["bundle"],
            horizon=published.summary["horizon"],
        ),
        say(
            Word.COUNTS,
            language,
            shown=f"{about['shown']:,}",
            held_out=f"{about['held_out']:,}",
            exempt=f"{about['exempt']:,}",
            new=f"{about['new']:,}",
            back=f"{about['back']:,}",
            stays=f"{about['stays']:,}",
            left=f"{about['left']:,}",
        ),
    ]
    return lines + [text[language] for text in about["says"]]


def table(published: Published, name: str, language: str = "en", *, most: int = 20, width: int | None = None) -> str:
    """The first rows of a list as a table for the terminal, with what is said about it above and how many more
    below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = published.rows(name)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS[name]:
        grid.add_column(column_words(column, language), justify=column.justify, overflow="fold")
    for _, row in rows.head(most).iterrows():
        grid.add_row(*[Text(visible(column.show(row, language))) for column in COLUMNS[name]])
    console = Console(width=width, file=io.StringIO(), force_terminal=False, highlight=False)
    for line in notes(published, name, language):
        console.print(Text(visible(line)))
    console.print(grid if len(rows) else Text(say(Word.EMPTY, language)))
    if len(rows) > most:
        console.print(Text(say(Word.MORE, language, more=f"{len(rows) - most:,}")))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def visible(text: str) -> str:
    """Text for a terminal: control characters, which could move the cursor or hide a line, are shown as a mark."""
    return re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", text)


def missing(value: object) -> bool:
    """None, NaN and pandas' NA."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _cell(value: object) -> str:
    if missing(value):
        return ""
    if isinstance(value, float):
        return repr(float(value))
    return harmless(value) if isinstance(value, str) else str(value)


def _printable(text: str) -> str:
    """What XML can hold, and Excel: control characters as their code, no more than a cell takes."""
    return CONTROL.sub(lambda found: f"_x{ord(found.group()):04X}_", text)[:EXCEL_CELL]


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    return value.item()
