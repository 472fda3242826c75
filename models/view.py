"""Rows as the models read them, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.snapshot import Snapshot
from models.procedure import Procedure
from models.purchase import Customers, Purchase

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """Rows as the models read them: features (n, k) of the names they were fitted on, and the purchase process's word
    on each row for one horizon: P(no purchase), expected amount of a purchase day, expected spend."""

    X: NDArray[np.float32]
    customers: Customers
    none: Floats
    ticket: Floats
    process_spend: Floats

    @classmethod
    def of(cls, rows: Snapshot, names: tuple[str, ...], process: Purchase, horizon: int) -> View:
        c = Customers.of(rows)
        return cls(matrix(rows, names), c, process.none(c, horizon), process.ticket(c), process.spend(c, horizon))

    def take(self, mask: NDArray[Any]) -> View:
        """The rows of a mask or of positions."""
        return View(
            np.asfortranarray(self.X[mask]),
            self.customers.take(mask),
            self.none[mask],
            self.ticket[mask],
            self.process_spend[mask],
        )

    @property
    def one_time(self) -> NDArray[np.bool_]:
        return self.customers.one_time


@dataclass(frozen=True)
class Outcomes:
    """What came, one entry a row: gone (1: no purchase in the horizon), spend, the day of the snapshot, and how many
    customers the row stands for (`Prepared.training` keeps all rows of a rare outcome and some of the common one)."""

    gone: Floats
    spend: Floats
    cutoff: NDArray[np.int64]
    weight: Floats

    @classmethod
    def of(cls, rows: Snapshot) -> Outcomes:
        spend = rows.labels["spend"]
        weight = rows.labels.get("weight", np.ones(len(spend)))
        return cls((rows.labels["purchase_days"] == 0).astype(np.float64), spend, rows.cutoff, weight)

    @cached_property
    def days(self) -> NDArray[np.int64]:
        return np.unique(self.cutoff)

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """Where each row's day stands among the days."""
        return np.searchsorted(self.days, self.cutoff).astype(np.int64)

    def take(self, mask: NDArray[Any]) -> Outcomes:
        """The rows of a mask or of positions."""
        return Outcomes(self.gone[mask], self.spend[mask], self.cutoff[mask], self.weight[mask])

    @property
    def events(self) -> float:
        """Rows of the rarer outcome."""
        return min(float(self.gone.sum()), float((1 - self.gone).sum()))

    def too_few(self, procedure: Procedure) -> bool:
        """Whether there is too little to fit anything to."""
        return len(self.gone) < procedure.least_customers or self.events < procedure.least_events


def matrix(rows: Snapshot, names: tuple[str, ...]) -> NDArray[np.float32]:
    """The features of these names in their order, chosen by name, never by place."""
    if rows.names == names:
        return rows.X
    place = {name: k for k, name in enumerate(rows.names)}
    return np.asfortranarray(rows.X[:, [place[name] for name in names]])
