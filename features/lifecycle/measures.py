"""What stage rules ask of a History beyond the catalogue: who is known without a purchase, membership, word of mouth.

These hold for customers who have never bought, of whom a model knows nothing, so they are no features; the rules of
`stages.toml` read both by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from features.catalogue import Unit, catalogue
from features.history import Floats, History

MILLION = 1_000_000


@dataclass(frozen=True)
class Measure:
    """A float64 per row in `unit`, NaN where it is absent; `tables` are the ones it reads."""

    name: str
    unit: Unit
    tables: tuple[str, ...]
    doc: str
    function: Callable[[History], Floats]

    def __call__(self, h: History) -> Floats:
        return np.asarray(self.function(h), np.float64)


MEASURES: dict[str, Measure] = {}


def measure(unit: Unit, *tables: str) -> Callable[[Callable[[History], Floats]], Callable[[History], Floats]]:
    """Enter a function into MEASURES under its own name."""

    def enter(function: Callable[[History], Floats]) -> Callable[[History], Floats]:
        doc = " ".join((function.__doc__ or "").split())
        MEASURES[function.__name__] = Measure(function.__name__, unit, tables, doc, function)
        return function

    return enter


def known(name: str) -> bool:
    """Whether there is a feature or measure of this name."""
    return name in MEASURES or name in catalogue()


def unit_of(name: str) -> Unit:
    """The unit of a feature or measure."""
    return MEASURES[name].unit if name in MEASURES else catalogue()[name].unit


def tables_of(name: str) -> tuple[str, ...]:
    """The tables that a feature or measure reads."""
    return MEASURES[name].tables if name in MEASURES else catalogue()[name].tables


def compute(h: History, names: Iterable[str]) -> dict[str, Floats]:
    """Features and measures by name, float64 (rows) each."""
    features: Mapping[str, Callable[[History], Floats]] = catalogue()
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return {name: (MEASURES[name] if name in MEASURES else features[name])(h) for name in names}


# -- known without a purchase ------------------------------------------------------------------------------------------


@measure("days")
def days_known(h: History) -> Floats:
    """Days since anything was first known of the customer, in whatever table."""
    first = [h.days_since_first(table) for table in h.block.tables if len(h.block.tables[table].day)]
    return np.fmax.reduce(first) if first else h.nan


@measure("flag", "customers")
def registered(h: History) -> Floats:
    """Whether the customers table has the customer; absent without that table."""
    return np.where(np.isnan(h.count(table="customers")), np.nan, h.count(table="customers") > 0)


@measure("flag", "customers")
def member(h: History) -> Floats:
    """Whether the customer has a tier or points in the loyalty programme; absent without those columns."""
    tier, points = h.has("customers", "tier"), h.has("customers", "points_known")
    if not (tier or points):
        return h.nan
    belongs = np.zeros(len(h), bool)
    if tier:
        belongs |= h.word("tier", table="customers") != None  # noqa: E711  element by element
    if points:
        belongs |= h.total("points", table="customers") > 0
    return belongs.astype(np.float64)


# -- the funnel --------------------------------------------------------------------------------------------------------


@measure("count", "events")
def checkouts(h: History) -> Floats:
    """Checkouts begun in the last H days; absent where the window opens before the events do."""
    return h.total("checkout", h.H, table="events")


# -- word of mouth -----------------------------------------------------------------------------------------------------


@measure("count", "surveys")
def praises(h: History) -> Floats:
    """Reviews that give three quarters of the scale or more: word of mouth that was seen."""
    if not h.has("surveys", "kind"):
        return h.nan
    words = h.events("surveys").words["kind"]
    review = np.append(np.asarray(words.words == "review", bool), False)[words.code]
    praise = h.derive("praise", lambda m: review & (m["score"] >= 0.75 * MILLION), "surveys")
    return h.total(praise, table="surveys")
