"""History against the plainest way to say the same: ten features in pandas on real logs, and its own small promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from story import CUTOFF, SHOP, WINDOWS

from features import catalogue, snapshot
from features.block import Block, EventTable
from features.errors import UsageError
from features.history import History
from features.laws import Rows, Shop
from features.windows import Windows, to_day

TEN = (
    "recency",
    "tenure",
    "frequency",
    "purchase_days_1h",
    "spend_4h",
    "ticket_mean",
    "ticket_largest",
    "gap_mean",
    "gap_median",
    "gap_std",
)


def in_pandas(days: pd.DataFrame, cutoff: int, windows: Windows) -> pd.DataFrame:
    """The ten features as anybody would write them: one group-by per idea, for one cutoff."""
    known = days[days.day <= cutoff].sort_values(["customer_id", "day"])
    gap = known.day - known.groupby("customer_id").day.shift()
    by, gaps = known.groupby("customer_id"), gap.groupby(known.customer_id)
    first, last = by.day.min(), by.day.max()
    found = pd.DataFrame({"recency": cutoff - last, "tenure": cutoff - first, "frequency": by.size()})
    horizon = known[known.day > cutoff - windows.horizon].groupby("customer_id").size()
    found["purchase_days_1h"] = horizon.reindex(found.index, fill_value=0)
    four = known[known.day > cutoff - 4 * windows.horizon].groupby("customer_id").amount.sum()
    found["spend_4h"] = four.reindex(found.index, fill_value=0) / 100
    if cutoff - 4 * windows.horizon + 1 < days.day.min():
        found["spend_4h"] = np.nan
    found["ticket_mean"], found["ticket_largest"] = by.amount.mean() / 100, by.amount.max() / 100
    found["gap_mean"], found["gap_median"] = gaps.mean(), gaps.median()
    found["gap_std"] = gaps.std(ddof=0).where(by.size() > 2)
    return found[found.recency < windows.active]


@pytest.mark.parametrize(
    ("log", "cutoffs"), [("cdnow", ["1997-07-31", "1997-12-31", "1998-03-31"]), ("olist", ["2017-12-31", "2018-05-31"])]
)
def test_ten_features_are_those_of_plain_pandas_on_a_real_log(
    log: str, cutoffs: list[str], real_log: Callable[[str], Path]
) -> None:
    lines = pd.read_parquet(real_log(log) / "transactions.parquet", columns=["customer_id", "ordered_at", "amount"])
    lines = lines[lines.amount > 0]
    lines = lines.assign(
        day=(lines.ordered_at.dt.floor("D") - pd.Timestamp("1970-01-01")).dt.days,
        amount=(lines.amount * 100).round().astype(np.int64),
    )
    days = lines.groupby(["customer_id", "day"], as_index=False).amount.sum()
    shop, windows = OneBlock(days), Windows(91, 182)
    made = snapshot.build(shop, [to_day(c) for c in cutoffs], windows, features=catalogue.named(TEN))
    for cutoff in map(to_day, cutoffs):
        rows = made.take(made.cutoff == cutoff)
        expected = in_pandas(days, cutoff, windows).sort_index()
        order = np.argsort(rows.customer_id.astype(str))
        assert list(rows.customer_id[order]) == list(expected.index)
        np.testing.assert_allclose(rows.X[order], expected[list(TEN)].to_numpy(float), rtol=1e-6)


class OneBlock:
    """A store of purchases alone, in one bucket."""

    tables, buckets, exponent = ("purchases",), 1, 2

    def __init__(self, days: pd.DataFrame) -> None:
        days = days.sort_values(["customer_id", "day"])
        self.last_day = int(days.day.max())
        ids, who = np.unique(days.customer_id.to_numpy(object), return_inverse=True)
        amount = days.amount.to_numpy(np.int64)
        measures = {"amount": amount, "lines": np.ones_like(amount)}
        self._block = Block(
            ids, {"purchases": EventTable(who, days.day.to_numpy(np.int64), measures, {}, int(days.day.min()))}
        )

    def block(self, bucket: int, tables: object = None, as_of: int | None = None) -> Block:
        table = self._block.tables["purchases"]
        known = table.day <= (self.last_day if as_of is None else as_of)
        measures = {name: values[known] for name, values in table.measures.items()}
        return Block(
            self._block.customers,
            {"purchases": EventTable(table.who[known], table.day[known], measures, {}, table.since)},
        )


@pytest.fixture
def h() -> History:
    return History(SHOP.block(0), [CUTOFF - 8, CUTOFF], WINDOWS, at="seen")


def test_rows_are_customer_major(h: History) -> None:
    assert list(zip(h.customer_id, h.cut - CUTOFF, strict=True)) == [("ann", -8), ("ann", 0), ("bob", -8), ("bob", 0)]


@pytest.mark.parametrize(
    ("at", "there"),
    [("at risk", ["ann"]), ("lapsed", ["bob"]), ("seen", ["ann", "bob"]), ("known", ["ann", "bob", "cat"])],
)
def test_who_has_a_row(at: str, there: list[str]) -> None:
    visit = Rows(np.array(["cat"], object), np.array([CUTOFF - 1]), {"visit": np.array([1])})
    shop = Shop({"purchases": SHOP.rows["purchases"], "events": visit})
    assert list(History(shop.block(0), [CUTOFF], WINDOWS, at=at).customer_id) == there  # type: ignore[arg-type]


@pytest.mark.parametrize("cutoffs", [[], [5, 4], [3, 3], [-1]])
def test_cutoffs_out_of_order_are_refused(cutoffs: list[int]) -> None:
    with pytest.raises(UsageError, match="ascending"):
        History(SHOP.block(0), cutoffs, WINDOWS)


def test_a_day_before_1970_is_refused() -> None:
    table = EventTable(np.array([0]), np.array([-1]), {"amount": np.array([1])}, {}, -1)
    with pytest.raises(UsageError, match="1970"):
        History(Block(np.array(["a"], object), {"purchases": table}), [3], WINDOWS)


def test_what_is_asked_for_in_vain_is_noted() -> None:
    h = History(Shop({"purchases": SHOP.rows["purchases"]}).block(0), [CUTOFF], WINDOWS)
    assert np.isnan(h.count(table="returns")).all()
    assert np.isnan(h.total("margin")).all()
    assert h.absent == {"returns", "purchases.margin"}


def test_sums_are_exact_where_floats_are_not() -> None:
    """A wholesale order of a trillion minor units beside a cent, in a block whose running sums pass 2**53 and 2**63."""
    amount = np.array([4 * 10**18, 4 * 10**18, 1, 10**12, 7], np.int64)
    who, day = np.array([0, 1, 2, 2, 2]), np.array([10, 10, 10, 11, 12])
    table = EventTable(who, day, {"amount": amount}, {}, 10)
    h = History(Block(np.array(["a", "b", "c"], object), {"purchases": table}), [12], Windows(2, 30))
    assert list(h.total("amount", 2)) == [0, 0, 10**12 + 7]
    assert h.total("amount")[2] == 10**12 + 8


def test_the_horizon_is_the_window_of_a_later_cutoff(h: History) -> None:
    assert list(h.later(8).count(8)) == [2, 0, 0, 0]  # Ann came 6 and 3 days before the second cutoff


def test_the_empty_block_has_no_rows() -> None:
    none = EventTable(np.empty(0, np.int64), np.empty(0, np.int64), {"amount": np.empty(0, np.int64)}, {}, None)
    h = History(Block(np.empty(0, object), {"purchases": none}), [5], WINDOWS)
    assert len(h) == 0
    assert all(len(made(h)) == 0 for made in catalogue.catalogue().values())
