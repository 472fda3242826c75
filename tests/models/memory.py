"""A store in memory with the face of HistoryStore: purchases by customer and day, in buckets by the same hash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.block import Block, EventTable
from features.hashing import bucket_of
from features.store import Market


@dataclass(frozen=True)
class MemoryStore:
    """`log`: customer_id (str), day (int), amount (int, minor units); one row per customer and day."""

    log: pd.DataFrame
    buckets: int = 4
    exponent: int = 2
    has_amounts: bool = True
    currency: str = "USD"
    digest: str = "0" * 64
    tables: tuple[str, ...] = ("purchases",)

    @classmethod
    def of(cls, customer_id: Iterable[str], day: Iterable[int], amount: Iterable[float], **more: int) -> MemoryStore:
        """From lines in major units; lines of one customer and day become one."""
        lines = pd.DataFrame(
            {
                "customer_id": np.asarray(list(customer_id), object),
                "day": np.asarray(list(day), np.int64),
                "amount": np.rint(100 * np.asarray(list(amount), float)).astype(np.int64),
            }
        )
        days = lines.groupby(["customer_id", "day"], as_index=False).amount.sum()
        return cls(days.sort_values(["customer_id", "day"], ignore_index=True), **more)

    def until(self, day: int) -> MemoryStore:
        """The log as it was on a day."""
        return MemoryStore(self.log[self.log.day <= day].reset_index(drop=True), self.buckets, self.exponent)

    @property
    def first_day(self) -> int:
        return int(self.log.day.min())

    @property
    def last_day(self) -> int:
        return int(self.log.day.max())

    def block(self, bucket: int, tables: Iterable[str] | None = None, as_of: int | None = None) -> Block:
        log = self.log if as_of is None else self.log[self.log.day <= as_of]
        log = log[self._bucket(log) == bucket]
        who, ids = pd.factorize(log.customer_id.to_numpy(object))
        amount = log.amount.to_numpy(np.int64).copy()
        measures = {"amount": amount, "lines": np.ones_like(amount), "orders": np.ones_like(amount)}
        day = log.day.to_numpy(np.int64).copy()
        table = EventTable(who.astype(np.int64), day, measures, {}, self.first_day)
        return Block(np.asarray(ids, object), {"purchases": table})

    def _bucket(self, log: pd.DataFrame) -> np.ndarray:
        ids, place = np.unique(log.customer_id.to_numpy(object).astype(str), return_inverse=True)
        return bucket_of(list(ids), self.buckets)[place] if len(ids) else np.zeros(0, np.int64)

    def daily(self, as_of: int | None = None) -> Market:
        log = self.log if as_of is None else self.log[self.log.day <= as_of]
        first, last = int(log.day.min()), int(log.day.max())
        place = log.day.to_numpy() - first
        firsts = ~log.customer_id.duplicated().to_numpy()
        n = last - first + 1
        return Market(
            np.arange(first, last + 1),
            np.bincount(place, minlength=n).astype(np.int64),
            np.bincount(place[firsts], minlength=n).astype(np.int64),
            np.bincount(place, weights=log.amount.to_numpy(), minlength=n).astype(np.int64),
        )
