"""A page: headings, paragraphs, tables, pictures and things that are missing, written as HTML or as Markdown.

What a chapter says is values; how it looks is decided here once. The HTML file needs nothing beside itself and is
made to be printed; the Markdown file holds the same words and tables, with the pictures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

Language: TypeAlias = str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Missing:
    """What could not be said, and what it needs."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table. `formats` by column: a format for numbers (",.2f", ".1%", "days"); the rest by their kind. `name` is the
    Parquet file it becomes."""

    name: str
    frame: pd.DataFrame
    caption: str
    formats: Mapping[str, str] = field(default_factory=dict)
    most: int = 40


@dataclass(frozen=True)
class Picture:
    """An SVG with its caption; `name` is its file beside the Markdown."""

    name: str
    svg: str
    caption: str


Block: TypeAlias = Text | Missing | Table | Picture


@dataclass(frozen=True)
class Chapter:
    """A heading and its blocks."""

    name: str
    title: str
    blocks: Sequence[Block]


def show(value: Any, form: str = "") -> str:
    """A cell: absent is a dash, shares and money by the column's format, whole numbers without decimals."""
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return "—"
    if isinstance(value, bool):
        return "✓" if value else ""
    if isinstance(value, int | float):
        return format(value, form or _usual(value))
    return str(value.date()) if isinstance(value, pd.Timestamp) else str(value)


def _usual(value: float) -> str:
    return ",.0f" if value == round(value) else ",.3g"


def cells(table: Table) -> Iterator[list[str]]:
    """The rows that are shown, as text."""
    frame = table.frame.head(table.most)
    columns = [
        [show(value, table.formats.get(str(name), "")) for value in frame[name].tolist()] for name in frame.columns
    ]
    for row in zip(*columns, strict=True):
        yield list(row)


def html(title: str, subtitle: str, chapters: Sequence[Chapter], language: Language) -> str:
    """One self-contained file."""
    contents = "".join(f'<li><a href="#{c.name}">{escape(c.title)}</a></li>' for c in chapters)
    body = "".join(_chapter(c) for c in chapters)
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><main><header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>"
        f"<nav><ol>{contents}</ol></nav>{body}</main></body></html>\n"
    )


def _chapter(chapter: Chapter) -> str:
    blocks = "".join(_block(block) for block in chapter.blocks)
    return f'<section id="{chapter.name}"><h2>{escape(chapter.title)}</h2>{blocks}</section>'


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Missing(text):
            return f'<p class="missing">{escape(text)}</p>'
        case Picture(_, svg, caption):
            return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    numeric = [table.frame[name].dtype.kind in "iuf" for name in table.frame.columns]
    head = "".join(
        f"<th{' class=n' if number else ''}>{escape(str(name))}</th>"
        for name, number in zip(table.frame.columns, numeric, strict=True)
    )
    classes = [" class=n" if number else "" for number in numeric]
    rows = ""
    for row in cells(table):
        rows += "<tr>" + "".join(f"<td{c}>{escape(cell)}</td>" for cell, c in zip(row, classes, strict=True)) + "</tr>"
    more = len(table.frame) - table.most
    rest = f'<p class="more">… {more:,} more in tables/{table.name}.parquet</p>' if more > 0 else ""
    return (
        f"<figure><figcaption>{escape(table.caption)}</figcaption><div "
        f"class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{rest}</figure>"
    )


def markdown(title: str, subtitle: str, chapters: Sequence[Chapter]) -> str:
    """The same as Markdown; pictures are files under pictures/."""
    lines = [f"# {title}", "", subtitle, ""]
    for chapter in chapters:
        lines += [f"## {chapter.title}", ""]
        for block in chapter.blocks:
            lines += [*_markdown(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(block: Block) -> Iterator[str]:
    match block:
        case Text(text):
            yield text
        case Missing(text):
            yield f"> {text}"
        case Picture(name, _, caption):
            yield f"![{caption}](pictures/{name}.svg)"
        case Table():
            yield f"**{block.caption}**"
            yield ""
            yield "| " + " | ".join(_safe(str(name)) for name in block.frame.columns) + " |"
            yield "|" + "".join("---:|" if block.frame[n].dtype.kind in "iuf" else "---|" for n in block.frame.columns)
            for row in cells(block):
                yield "| " + " | ".join(_safe(cell) for cell in row) + " |"


def _safe(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def plain(chapters: Sequence[Chapter]) -> Iterator[str]:
    """The same as lines for a terminal, without pictures."""
    for chapter in chapters:
        yield ""
        yield chapter.title
        for block in chapter.blocks:
            match block:
                case Text(text) | Missing(text):
                    yield f"  {text}"
                case Table():
                    yield from _plain_table(block)


def _plain_table(table: Table) -> Iterator[str]:
    rows = [[str(name) for name in table.frame.columns], *cells(table)]
    width = [max(_columns(row[k]) for row in rows) for k in range(len(rows[0]))]
    numeric = [table.frame[name].dtype.kind in "iuf" for name in table.frame.columns]
    yield f"  {table.caption}"
    for row in rows:
        padded = [
            " " * (w - _columns(cell)) + cell if number else cell + " " * (w - _columns(cell))
            for cell, w, number in zip(row, width, numeric, strict=True)
        ]
        yield ("    " + "  ".join(padded)).rstrip()


def _columns(text: str) -> int:
    """Columns a text takes on a terminal: a Chinese character takes two."""
    return sum(2 if ord(char) > 0x2E80 else 1 for char in text)


STYLE = """
:root{color-scheme:light}
body{margin:0;background:#fff;color:#1c2733;
font:15px/1.55 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.25rem}
h1{font-size:1.7rem;margin:0}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;border-bottom:2px solid #1f6f8b;padding-bottom:.2rem}
header p,.more,figcaption{color:#5d6b78}
nav ol{columns:2;padding-left:1.3rem}
figure{margin:1.1rem 0;break-inside:avoid}
figcaption{font-weight:600;margin-bottom:.3rem}
svg{max-width:100%;height:auto}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.86rem}
th,td{padding:.22rem .6rem;border-bottom:1px solid #d9dfe4;text-align:left;vertical-align:top}
th{background:#f2f5f7}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.missing{background:#fbf3e6;border-left:4px solid #b8862b;padding:.5rem .8rem}
@media print{
main{max-width:none;padding:0}
nav{display:none}
a{color:inherit;text-decoration:none}
table{font-size:8pt}
}
"""
