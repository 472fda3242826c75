"""One walk over a store: every customer known, part by part, as a History.

Whatever the lifecycle pages need is a question asked of each part and then put together, so a million customers are
never in memory with all their rows. Parts are cut as the snapshot cuts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import parts
from features.errors import UsageError
from features.history import At, History
from features.population import Population
from features.snapshot import ROWS_A_PART, Store
from features.windows import Windows

Columns = Mapping[str, NDArray[Any]]


def histories(
    store: Store,
    cutoffs: Sequence[int],
    windows: Windows,
    *,
    at: At = "known",
    tables: Sequence[str] | None = None,
    as_of: int | None = None,
    population: Population | None = None,
) -> Iterator[History]:
    """A History for each part of the store, in the store's order; parts without a row are left out.

    `tables` limits what is read (all by default), `as_of` hides what became known later (the last cutoff by default).
    Raises UsageError for a cutoff after the last day that is known.
    """
    last = max(cutoffs)
    known = last if as_of is None else as_of
    if last > known:
        raise UsageError("a cutoff lies after the last day that is known", got=str(last), allowed=str(known))
    for bucket in range(store.buckets):
        block = store.block(bucket, tables, known)
        for part in parts(block, max(1_000, ROWS_A_PART // len(cutoffs))):
            h = History(part, cutoffs, windows, at=at, population=population, exponent=store.exponent)
            if len(h):
                yield h


def gather(walk: Iterator[History], answer: Callable[[History], Columns]) -> dict[str, NDArray[Any]]:
    """The columns that `answer` gives for each part, put together; `customer_id` and `cutoff` with them.

    A column that a part answers must be answered by every part. No part at all gives empty columns of ids and cutoffs.
    """
    pieces: dict[str, list[NDArray[Any]]] = {"customer_id": [], "cutoff": []}
    for h in walk:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for name, values in {"customer_id": h.customer_id, "cutoff": h.cut, **answer(h)}.items():
                pieces.setdefault(name, []).append(values)
    if not pieces["customer_id"]:
        return {"customer_id": np.empty(0, object), "cutoff": np.empty(0, np.int64)}
    return {name: np.concatenate(parts) for name, parts in pieces.items()}
