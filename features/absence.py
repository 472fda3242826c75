"""Absence: when a feature has no value, said in words and as a rule, so that "missing" is a fact and never a guess.

A rule answers, for every row of a History and a number of days (the feature's window, or the horizon), whether the
feature is NaN there. Absences join with `|`. That a table is not kept, or has no record by the cutoff, need not be
said: it holds for every table a feature names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.history import Bools, Floats, History

Rule = Callable[[History, int], Bools]


@dataclass(frozen=True)
class Absence:
    """When a feature is NaN: `text` for people, `rule` for the laws."""

    text: str
    rule: Rule

    def __or__(self, other: Absence) -> Absence:
        return Absence(f"{self.text}; {other.text}", lambda h, last: self.rule(h, last) | other.rule(h, last))


def unless(text: str, there: Callable[[History, int], Floats | Bools]) -> Absence:
    """Absent unless a number is above 0 (NaN is not) or a condition holds."""
    return Absence(text, lambda h, last: ~(there(h, last) > 0))


def opens_before_records(table: str, times: int = 1) -> Absence:
    """The window, or so many of its lengths, reaches back beyond the table's first record."""
    what = "the purchase log" if table == "purchases" else f"the first of the {table.replace('_', ' ')} on record"
    reach = {1: "the window", 2: "twice the window", 3: "three times the window"}[times]
    return Absence(f"{reach} reaches back beyond {what}", lambda h, last: ~(h.recorded_days(table) >= times * last))


def no_column(table: str, column: str) -> Absence:
    """The shop's table lacks the column."""
    name = column.removesuffix("_known").removesuffix("_id")
    return Absence(f"the shop records no {name} of {table}", lambda h, _: np.full(len(h), not h.has(table, column)))


def is_none(words: NDArray[np.object_]) -> Bools:
    """Where a word is absent."""
    return np.array([word is None for word in words], bool)


NEVER = Absence("never", lambda h, _: np.zeros(len(h), bool))
NO_PURCHASE = unless("no purchase yet", lambda h, _: h.count())
NO_GAP = unless("fewer than two purchase days: there is no gap yet", lambda h, _: h.count() - 1)
TWO_GAPS = unless("fewer than three purchase days: there are no two gaps yet", lambda h, _: h.count() - 2)
BEFORE_RECORDS = opens_before_records("purchases")
NOTHING_BOUGHT = unless("nothing was bought in the window", lambda h, last: h.count(last))
NOTHING_BEFORE = unless("nothing was bought before the window", lambda h, last: h.count(before=last))
CHANGE = opens_before_records("purchases", 2) | unless(
    "nothing was bought in the equally long window before", lambda h, last: h.count(last, before=last)
)
FIRST_DAY = unless("the first purchase was on the cutoff day, or there is none", lambda h, _: h.days_since_first())


def undeclared(h: History, last: int) -> Bools:
    """The rule of an absence given in words alone: nobody can check it."""
    raise NotImplementedError("this absence was given in words alone")
