"""Dispositions coming back: what was done with listed customers, row by row.

A team sends back a file, or the desk one row at a time; both go through the same checks. A bad row is refused by its
number with the reason and the good ones are taken; sending the same file twice changes nothing. A held-out customer
who was contacted all the same is taken in and counted: that has happened, and the effect must know. An undo is a row
of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features.errors import BadData, MissingInput
from serving.ledger import Ledger

WHAT = ("contacted", "offered", "refused", "unreachable", "do_not_contact", "note", "undo")
COLUMNS = ("list_id", "customer_id", "at", "what", "channel", "cost", "by", "note", "follow_up_on")
REQUIRED = COLUMNS[:4]
TOUCHES = ("contacted", "offered", "refused")


@dataclass(frozen=True)
class Refused:
    """A row that was not taken: its number (the first row under the head is 1), the column, what it said, and why."""

    row: int
    column: str
    value: str
    why: str


@dataclass(frozen=True)
class Receipt:
    """What became of the rows: taken now, there already, refused; and how many concern the held-out."""

    taken: int
    there: int
    refused: tuple[Refused, ...]
    held_out: int

    @property
    def lines(self) -> list[str]:
        """The receipt, a line each."""
        told = [f"{self.taken:,} dispositions taken, {self.there:,} there already, {len(self.refused):,} refused"]
        told += [f"row {bad.row}: {bad.column} {bad.value!r} {bad.why}" for bad in self.refused]
        if self.held_out:
            told.append(f"{self.held_out:,} of them concern held-out customers: counted, and reported with the effect")
        return told


def read(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV, Excel-CSV (BOM) or Parquet file, every value as the text it is.

    Raises MissingInput where there is no file, BadData where it is no table or lacks a required column.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path).astype(object)
        else:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingInput("there is no file of dispositions", where=str(path)) from None
    except (ValueError, OSError) as error:
        raise BadData("the dispositions are not a table", where=str(path), got=str(error).splitlines()[0]) from None
    if missing := [name for name in REQUIRED if name not in table.columns]:
        raise BadData(
            "the dispositions lack a column",
            where=str(path),
            allowed=", ".join(COLUMNS),
            got=f"no {', '.join(missing)}",
        )
    named = [name for name in COLUMNS if name in table.columns]
    return [{k: _text(v) for k, v in zip(named, row, strict=True)} for row in table[named].itertuples(index=False)]


def take(ledger: Ledger, rows: Sequence[Mapping[str, str]], actor: str = "dispose") -> Receipt:
    """Check rows one by one and write the good ones to the ledger in one transaction."""
    lists = {str(one["id"]): str(one["as_of"]) for one in ledger.lists().to_dict("records")}
    arms: dict[str, dict[str, str]] = {}
    good: list[dict[str, Any]] = []
    refused: list[Refused] = []
    for number, row in enumerate(rows, start=1):
        checked = _check(ledger, row, lists, arms)
        if isinstance(checked, dict):
            good.append(checked)
        else:
            refused.append(Refused(number, *checked))
    taken = ledger.dispose(good, actor) if good else 0
    held = sum(1 for row in good if row["held_out"] and row["what"] in TOUCHES)
    return Receipt(taken, len(good) - taken, tuple(refused), held)


def take_file(ledger: Ledger, path: str | Path, actor: str = "dispose") -> Receipt:
    """`read` and `take`."""
    return take(ledger, read(path), actor)


def _check(
    ledger: Ledger, row: Mapping[str, str], lists: Mapping[str, str], arms: dict[str, dict[str, str]]
) -> dict[str, Any] | tuple[str, str, str]:
    """A row ready for the ledger, or (column, value, why not)."""
    given = {name: row.get(name, "") for name in COLUMNS}
    if empty := [name for name in REQUIRED if not given[name]]:
        return empty[0], "", "is missing"
    if given["list_id"] not in lists:
        known = ", ".join(list(lists)[-3:]) or "nothing has been published"
        return "list_id", given["list_id"], f"no such list was published; the latest are {known}"
    if given["what"] not in WHAT:
        return "what", given["what"], f"is none of {', '.join(WHAT)}"
    arm = _arm(ledger, given["list_id"], given["customer_id"], arms)
    if arm is None:
        return "customer_id", given["customer_id"], "is not on this list"
    return _dated(given, lists[given["list_id"]], arm == "held out")


def _dated(given: Mapping[str, str], listed: str, held_out: bool) -> dict[str, Any] | tuple[str, str, str]:
    """The row with its times read and its optional columns."""
    day = _day(given["at"])
    if day is None:
        return "at", given["at"], "is no date or time (YYYY-MM-DD, with or without HH:MM)"
    if str(day) < listed:
        return "at", given["at"], f"lies before the list's day, {listed}"
    return _optional(given, day, held_out)


def _optional(given: Mapping[str, str], day: date, held_out: bool) -> dict[str, Any] | tuple[str, str, str]:
    """The row with its optional columns read."""
    cost, follow_up = _number(given["cost"]), _day(given["follow_up_on"])
    if given["cost"] and (cost is None or cost < 0):
        return "cost", given["cost"], "is no amount of 0 or more"
    if given["follow_up_on"] and (follow_up is None or follow_up < day):
        return "follow_up_on", given["follow_up_on"], "is no date on or after the row's own"
    texts = {name: given[name] or None for name in ("channel", "by", "note")}
    head = {name: given[name] for name in REQUIRED}
    return {**head, "day": day, **texts, "cost": cost, "follow_up_on": follow_up, "held_out": held_out}


def _arm(ledger: Ledger, list_id: str, customer: str, arms: dict[str, dict[str, str]]) -> str | None:
    """The arm of a customer on a list; None where he is not on it."""
    if list_id not in arms:
        entries = ledger.entries(list_id)
        arms[list_id] = dict(zip(entries["customer_id"], entries["arm"], strict=True))
    return arms[list_id].get(customer)


def _text(value: object) -> str:
    """A cell as text; absent is empty, a date without a time is a date."""
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, datetime) and value == datetime.combine(value.date(), datetime.min.time()):
        return str(value.date())
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _day(text: str) -> date | None:
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
