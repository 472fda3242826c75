"""Where everybody stands on one day: a stage in each scheme, a value tier, and the figures they follow from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.history import Floats, History
from features.lifecycle.measures import compute, tables_of
from features.lifecycle.passes import Columns, gather, histories
from features.lifecycle.taxonomy import Schemes, Stage
from features.snapshot import Store
from features.windows import Windows

TIERS = ("none", "low", "mid", "high")
"""Value tiers by code. `none`: nothing was spent in the window that value is measured over, or it is not known."""

WORDS = {
    "region": "customers",
    "channel": "customers",
    "tier": "customers",
    "gender": "customers",
    "store": "customers",
}
"""Words of a customer that pages group by, and the table they stand in."""

Progress = Callable[[str], None] | None


@dataclass(frozen=True)
class Standing:
    """Everybody known on `as_of`, in the store's order; n rows.

    `columns` float64 (n) by feature or measure, `words` objects (n), `codes` int8 (n) by scheme: places in the scheme's
    `stages`. `missing` names for each scheme that was not applied the tables it needs. `edges`: from which value on a
    customer is of mid and of high value.
    """

    as_of: int
    windows: Windows
    schemes: Schemes
    currency: str
    customer_id: NDArray[np.object_]
    columns: Mapping[str, Any]
    words: Mapping[str, NDArray[np.object_]]
    codes: Mapping[str, NDArray[np.int8]]
    missing: Mapping[str, tuple[str, ...]]
    edges: tuple[float, float]

    def __len__(self) -> int:
        return len(self.customer_id)

    def column(self, name: str) -> Floats:
        """A column the standing holds, float64 (n)."""
        return np.broadcast_to(np.asarray(self.columns[name], np.float64), len(self))

    @cached_property
    def tier(self) -> NDArray[np.int8]:
        """Value tier of each customer, a place in TIERS."""
        return tiers(self.column(self.schemes.value), self.edges)

    @cached_property
    def bought(self) -> NDArray[np.bool_]:
        """Who has bought at all."""
        return ~np.isnan(self.column("recency"))

    @cached_property
    def at_risk(self) -> NDArray[np.bool_]:
        """Who bought in the active window."""
        return self.column("recency") < self.windows.active

    def stages(self, scheme: str) -> NDArray[np.object_]:
        """Stage names in a scheme."""
        return self.schemes[scheme].names(self.codes[scheme])

    def stage_of(self, scheme: str, row: int) -> Stage:
        """A customer's stage in a scheme."""
        return self.schemes[scheme].stages[int(self.codes[scheme][row])]

    def say(self, scheme: str, row: int, language: str) -> str:
        """Why the customer of a row stands where the scheme puts him."""
        stage = self.stage_of(scheme, row)
        return self.schemes.say(stage, self.columns, row, language, self.currency)

    def row(self, customer_id: str) -> int | None:
        """The row of a customer; None where he is not known by then."""
        found = np.flatnonzero(self.customer_id == customer_id)
        return int(found[0]) if len(found) else None


def tiers(value: Floats, edges: tuple[float, float]) -> NDArray[np.int8]:
    """Places in TIERS: nothing spent (or not known), below the first edge, between the edges, from the second edge
    on.
    """
    some = value > 0
    return (some.astype(np.int8) + (some & (value >= edges[0])) + (some & (value >= edges[1]))).astype(np.int8)


def look(
    store: Store,
    as_of: int,
    windows: Windows,
    schemes: Schemes,
    *,
    extra: Sequence[str] = (),
    currency: str = "",
    edges: tuple[float, float] | None = None,
    progress: Progress = None,
) -> Standing:
    """Everybody's standing on a day: one pass over the store.

    `extra` are further features or measures to keep. `edges` takes the value tiers from elsewhere, so that two days can
    be compared on one scale; by default they are the day's own.
    """
    found = gather(histories(store, [as_of], windows), asks(store, schemes, extra))
    if progress:
        progress(f"standing of {len(found['customer_id']):,} customers")
    return of(store, as_of, windows, schemes, found=found, extra=extra, currency=currency, edges=edges)


def asks(store: Store, schemes: Schemes, extra: Sequence[str] = ()) -> Callable[[History], Columns]:
    """What a walk over the store has to answer for a standing: for those who ask for more in the same walk."""
    names, words = _names(schemes, extra), _kept_words(store)
    return lambda h: {**compute(h, names), **_words(h, words)}


def of(
    store: Store,
    as_of: int,
    windows: Windows,
    schemes: Schemes,
    *,
    found: Columns,
    extra: Sequence[str] = (),
    currency: str = "",
    edges: tuple[float, float] | None = None,
) -> Standing:
    """The standing from what a walk of the day answered to `asks`."""
    names, words, empty = _names(schemes, extra), _kept_words(store), np.empty(0)
    numbers = {name: found.get(name, empty) for name in names}
    edges = schemes.edges(numbers[schemes.value]) if edges is None else edges
    full, rows = schemes.complete(numbers, windows, edges), len(found["customer_id"])
    missing = {one.name: lacks for one in schemes.taxonomies if (lacks := one.lacks(store.tables))}
    return Standing(
        as_of=as_of,
        windows=windows,
        schemes=schemes,
        currency=currency,
        customer_id=found["customer_id"],
        columns=full,
        words={word: found.get(f"word {word}", np.empty(0, object)) for word in words},
        codes={one.name: one.assign(full, rows) for one in schemes.taxonomies if one.name not in missing},
        missing=missing,
        edges=edges,
    )


def _names(schemes: Schemes, extra: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*schemes.columns, "recency", *extra)))


def _kept_words(store: Store) -> list[str]:
    return [word for word, table in WORDS.items() if table in store.tables]


def _words(h: History, words: Sequence[str]) -> dict[str, NDArray[np.object_]]:
    return {f"word {word}": h.word(word, table=WORDS[word]) for word in words}


def unread(schemes: Schemes, tables: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns of the rules that are absent throughout because the shop lacks a table, and which."""
    return {
        name: lacks for name in schemes.columns if (lacks := tuple(t for t in tables_of(name) if t not in set(tables)))
    }
