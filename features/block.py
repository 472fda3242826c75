"""The value that travels from the store to History: some customers with all their rows, as plain arrays.

A block holds whole customers, is independent of every other block, and knows nothing of cutoffs. Days are whole days
since 1970-01-01 in the shop's time zone. Measures are whole numbers (minor units of the currency, counts, thousandths),
so that sums of them are exact in float64 below 2**53 and cannot depend on how customers are put into blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """A column of words as codes. `code` has one entry per row, -1 where the word is absent; `words[code]` is the word.

    Words are in ascending order and hold just those of the block, so the codes of one customer's words keep their
    order whatever else is in the block or comes later.
    """

    code: Ints
    words: NDArray[np.object_]


@dataclass(frozen=True)
class EventTable:
    """Rows of one table, sorted by (who, day). `who` is the customer's place in the block, `day` the day the row became
    known. An absent measure is 0 and its companion `<name>_known` (0 or 1, summable) says so. `since` is the first day
    of the table's records in the whole store: a window that opens before it is absent, not 0."""

    who: Ints
    day: Ints
    measures: Mapping[str, Ints] = field(default_factory=dict)
    words: Mapping[str, Words] = field(default_factory=dict)
    since: int | None = None


@dataclass(frozen=True)
class Block:
    """`customers` are ids exactly as given; `tables` lacks the tables that the shop does not have (an empty table the
    shop has is there, with no rows)."""

    customers: NDArray[np.object_]
    tables: Mapping[str, EventTable]


def parts(block: Block, customers: int) -> Iterator[Block]:
    """The block cut into blocks of at most so many customers, in order."""
    for first in range(0, len(block.customers), customers):
        last = min(first + customers, len(block.customers))
        yield Block(block.customers[first:last], {n: _rows(t, first, last) for n, t in block.tables.items()})


def _rows(table: EventTable, first: int, last: int) -> EventTable:
    lo, hi = np.searchsorted(table.who, (first, last))
    return EventTable(
        table.who[lo:hi] - first,
        table.day[lo:hi],
        {name: values[lo:hi] for name, values in table.measures.items()},
        {name: Words(column.code[lo:hi], column.words) for name, column in table.words.items()},
        table.since,
    )
