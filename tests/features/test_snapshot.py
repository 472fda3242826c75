"""Snapshots: the same rows however they are made, labels closed by what is known, files whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from story import CUTOFF, SHOP, WINDOWS

from features import catalogue, laws, population, snapshot
from features.block import Block, parts
from features.errors import CannotWrite, UsageError
from features.snapshot import Snapshot

BIG = laws.example(11, customers=60, days=500, rate=0.03)
CUTOFFS = [BIG.shop.last_day - 40 * k for k in range(1, 6)]


def same(a: Snapshot, b: Snapshot) -> bool:
    """Equal bit by bit, in any order of rows."""
    first, second = (np.lexsort((s.cutoff, s.customer_id.astype(str))) for s in (a, b))
    columns = [(a.X[:, k], b.X[:, k]) for k in range(len(a.names))]
    columns += [(a.labels[name], b.labels[name]) for name in a.labels]
    return a.names == b.names and all(
        np.array_equal(x[first].view(np.uint8), y[second].view(np.uint8)) for x, y in columns
    )


@pytest.fixture(scope="module")
def whole() -> Snapshot:
    return snapshot.build(BIG.shop, CUTOFFS, BIG.windows)


def test_a_row_is_a_customer_and_a_cutoff(whole: Snapshot) -> None:
    assert whole.X.shape == (len(whole), len(catalogue.select(BIG.shop.tables)))
    assert whole.X.dtype == np.float32
    assert whole.X.flags.f_contiguous
    assert len(set(zip(whole.customer_id, whole.cutoff, strict=True))) == len(whole)


@pytest.mark.parametrize("buckets", [2, 7])
def test_buckets_do_not_show(whole: Snapshot, buckets: int) -> None:
    assert same(whole, snapshot.build(replace(BIG.shop, buckets=buckets), CUTOFFS, BIG.windows))


def test_parts_do_not_show(whole: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "parts", lambda block, _: parts(block, 7))
    assert same(whole, snapshot.build(BIG.shop, CUTOFFS, BIG.windows))


def test_processes_do_not_show(whole: Snapshot) -> None:
    assert same(whole, snapshot.build(replace(BIG.shop, buckets=3), CUTOFFS, BIG.windows, jobs=2))


def test_one_cutoff_is_the_same_as_among_many(whole: Snapshot) -> None:
    one = snapshot.build(BIG.shop, CUTOFFS[:1], BIG.windows)
    assert same(whole.take(whole.cutoff == CUTOFFS[0]), one)


def test_what_became_known_later_is_not_there() -> None:
    then = CUTOFFS[-1] + 10
    known = snapshot.build(BIG.shop, CUTOFFS[-1:], BIG.windows, as_of=then)
    assert same(known, snapshot.build(BIG.shop.upto(then), CUTOFFS[-1:], BIG.windows, as_of=then))
    assert np.isnan(known.labels["churned"]).all()


def test_a_cutoff_after_the_last_day_is_refused() -> None:
    with pytest.raises(UsageError, match="after the last day"):
        snapshot.build(SHOP, [CUTOFF + 1], WINDOWS)


def test_a_population_for_other_cutoffs_is_refused() -> None:
    frozen = population.freeze(SHOP, [CUTOFF - 1], WINDOWS)
    with pytest.raises(UsageError, match="other cutoffs"):
        snapshot.build(SHOP, [CUTOFF], WINDOWS, population=frozen, as_of=CUTOFF)


def test_a_column_by_its_name(whole: Snapshot) -> None:
    assert np.array_equal(whole.column("recency"), whole.X[:, whole.names.index("recency")])
    with pytest.raises(UsageError, match="no feature"):
        whole.column("recncy")


def test_nobody_at_risk_is_no_rows() -> None:
    empty = snapshot.build(SHOP, [CUTOFF - 405], WINDOWS)
    assert len(empty) == 0
    assert empty.X.shape == (0, len(empty.names))


def test_the_written_file_is_what_was_built(whole: Snapshot, tmp_path: Path) -> None:
    out = tmp_path / "snapshot.parquet"
    assert snapshot.write(BIG.shop, CUTOFFS, BIG.windows, out) == len(whole)
    table = pq.read_table(out)
    assert table.column_names == ["customer_id", "cutoff", *whole.names, *(f"label_{name}" for name in whole.labels)]
    assert table["customer_id"].to_pylist() == list(whole.customer_id)
    for k, name in enumerate(whole.names):
        np.testing.assert_array_equal(table[name].to_numpy(), whole.X[:, k])
    assert table["gap_mean"].null_count == np.isnan(whole.column("gap_mean")).sum()


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite):
        snapshot.write(SHOP, [CUTOFF], WINDOWS, tmp_path / "gone" / "snapshot.parquet", as_of=CUTOFF)
    with pytest.raises(RuntimeError, match="interrupted"):
        snapshot.write(Torn(SHOP.rows, buckets=2), [CUTOFF], WINDOWS, tmp_path / "snapshot.parquet", as_of=CUTOFF)
    assert not list(tmp_path.iterdir())


class Torn(laws.Shop):
    """A store whose second bucket cannot be read."""

    def block(self, bucket: int, *more: object, **named: object) -> Block:
        if bucket == 1:
            raise RuntimeError("interrupted")
        return super().block(bucket, *more, **named)  # type: ignore[arg-type]
