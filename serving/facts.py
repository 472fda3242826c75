"""Plain facts about customers: what a list prints beside a forecast, and what the action rules ask.

Nothing here is predicted. Each fact is one question to the history at the list's day, so it is known by then, and it is
absent (NaN, None) where the shop lacks the table or the customer lacks the event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.block import Block
from features.errors import MissingInput
from features.history import Floats, History
from features.store import HistoryStore
from features.windows import Windows

YEAR = 365
FATIGUE_DAYS = 91
WANTED = (
    "purchases",
    "lines",
    "returns",
    "complaints",
    "complaints_resolved",
    "surveys",
    "events",
    "campaigns",
    "referrals",
    "customers",
)


def read(store: HistoryStore, as_of: int, windows: Windows) -> pd.DataFrame:
    """One row for every customer who has bought by `as_of`, ordered by customer_id; the columns are FACTS and WORDS.

    Days are day numbers, money is in the shop's currency, shares are 0..1.
    """
    parts = [
        _part(History(block, [as_of], windows, at="seen", exponent=store.exponent)) for block in _blocks(store, as_of)
    ]
    if not parts:
        raise MissingInput("nobody has bought by that day", where=str(store.folder))
    return pd.concat(parts, ignore_index=True).sort_values("customer_id", ignore_index=True)


def _blocks(store: HistoryStore, as_of: int) -> Iterator[Block]:
    return (block for block in store.blocks(WANTED, as_of) if len(block.customers))


def _part(h: History) -> pd.DataFrame:
    with np.errstate(invalid="ignore", divide="ignore"):
        columns: dict[str, NDArray[np.float64] | NDArray[np.object_]] = {"customer_id": h.customer_id}
        columns |= {name: fact(h) for name, fact in FACTS.items()}
        columns |= {name: h.word(name, table="customers") for name in WORDS}
        columns["category"] = h.word("category", table="lines")
    return pd.DataFrame(columns)


def _flag(name: str) -> Callable[[History], Floats]:
    """A yes or no of the customers table; NaN where it was not said."""

    def fact(h: History) -> Floats:
        known = h.value(f"{name}_known", table="customers")
        return np.where(known == 1, h.value(name, table="customers"), np.nan)

    return fact


def lately(h: History, last: int, table: str, measure: str | None = None) -> Floats:
    """Rows (or a measure) of the last days. Where the shop's records begin inside the window, what is on record is all
    there is to go by; NaN only where there is no such table or nothing is on record yet."""

    def ask(days: int | None) -> Floats:
        return h.count(days, table=table) if measure is None else h.total(measure, days, table=table)

    windowed = ask(last)
    return np.where(np.isnan(windowed), ask(None), windowed)


def times_lost(h: History) -> Floats:
    """How often the customer has been lost: gaps longer than the active window, and the present silence if it is."""
    before = np.nan_to_num(h.above("gap", np.full(len(h), float(h.A)), None, "gaps"))
    return np.asarray(before + (h.days_since() >= h.A), float)


def order_value(h: History) -> Floats:
    """Mean amount of a purchase day."""
    return h.money() / h.count()


def revenue_while_active(h: History) -> Floats:
    """Revenue that an active stretch as long as the horizon brought: all revenue over the days from the first purchase
    to the last (at least a horizon, so that a single visit does not stand for one a day)."""
    life = np.maximum(h.days_since_first() - h.days_since(), h.H)
    return np.asarray(h.money() * h.H / life, float)


def growth(h: History) -> Floats:
    """Spend of the last horizon over that of the horizon before; NaN without any before."""
    before = h.money(h.H, h.H)
    return np.where(before > 0, h.money(h.H) / np.where(before > 0, before, 1.0), np.nan)


def satisfaction(h: History) -> Floats:
    """The latest survey score of the last year, 0 to 1; NaN without one."""
    known = h.value("score_known", table="surveys")
    recent = h.days_since("surveys") < YEAR
    return np.where((known == 1) & recent, h.value("score", table="surveys") / 1e6, np.nan)


def open_complaints(h: History) -> Floats:
    """Complaints opened and not settled."""
    return h.count(table="complaints") - h.count(table="complaints_resolved")


def returned_share(h: History) -> Floats:
    """Money sent back in the last year over money spent in it."""
    spent, returned = lately(h, YEAR, "purchases", "amount"), lately(h, YEAR, "returns", "amount")
    return np.where(spent > 0, returned / np.where(spent > 0, spent, 1.0), np.nan)


def discount_share(h: History) -> Floats:
    """Discount of the last year over what its purchases would have cost without it; NaN where it is not recorded."""
    given, paid = lately(h, YEAR, "purchases", "discount"), lately(h, YEAR, "purchases", "amount")
    return np.where(paid + given > 0, given / np.where(paid + given > 0, paid + given, 1.0), np.nan)


def contacts(h: History) -> Floats:
    """Contacts by campaigns in the last 91 days, controls not counted."""
    return lately(h, FATIGUE_DAYS, "campaigns") - lately(h, FATIGUE_DAYS, "campaigns", "control")


def carts(h: History) -> Floats:
    """Carts of the last 14 days that came after the last purchase."""
    carts = lately(h, 14, "events", "cart")
    return np.where(h.days_since("events") < h.days_since(), carts, 0.0 * carts)


def days_to_birthday(h: History) -> Floats:
    """Days from the cutoff to the next birthday, 0 on the day; NaN where it is not known."""
    known = h.value("birth_day_known", table="customers") == 1
    born = np.where(known, h.value("birth_day", table="customers"), 0.0)
    born = born.astype("datetime64[D]") if born.dtype.kind == "M" else born.astype(np.int64).astype("datetime64[D]")
    of_year = (born - born.astype("datetime64[Y]")).astype(np.int64)
    day = h.cut.astype("datetime64[D]")
    today = (day - day.astype("datetime64[Y]")).astype(np.int64)
    return np.where(known, (of_year - today) % YEAR, np.nan).astype(float)


FACTS: Mapping[str, Callable[[History], Floats]] = {
    "last_purchase": lambda h: h.value("day"),
    "silence": lambda h: h.days_since(),
    "usual_gap": lambda h: h.gap_quantile(0.5),
    "long_gap": lambda h: h.gap_quantile(0.9),
    "purchase_days": lambda h: h.count(),
    "tenure": lambda h: h.days_since_first(),
    "times_lost": times_lost,
    "order_value": order_value,
    "revenue_while_active": revenue_while_active,
    "growth": growth,
    "satisfaction": satisfaction,
    "open_complaints": open_complaints,
    "complaints_year": lambda h: lately(h, YEAR, "complaints"),
    "days_since_survey": lambda h: h.days_since("surveys"),
    "returned_share": returned_share,
    "discount_share": discount_share,
    "contacts": contacts,
    "days_since_contact": lambda h: h.days_since("campaigns"),
    "carts": carts,
    "views": lambda h: lately(h, 28, "events", "view"),
    "searches": lambda h: lately(h, 28, "events", "search"),
    "categories": lambda h: h.distinct("category", YEAR, table="lines"),
    "referrals": lambda h: h.count(table="referrals"),
    "days_to_birthday": days_to_birthday,
    "points": lambda h: h.value("points", table="customers"),
    "consent_email": _flag("consent_email"),
    "consent_sms": _flag("consent_sms"),
    "consent_phone": _flag("consent_phone"),
    "vip": _flag("vip"),
}
WORDS = ("region", "store", "tier")
