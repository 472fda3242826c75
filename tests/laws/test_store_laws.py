"""The laws from files to snapshot: however a history came in, the rows that come out are the same, bit for bit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import config, ingest, snapshot
from features.errors import UsageError
from features.laws import PROCESS
from features.population import freeze
from features.snapshot import Snapshot
from features.store import HistoryStore
from features.windows import Windows, to_day

WINDOWS, START = Windows(20, 45), to_day("2023-03-01")
CUTOFFS = [START + day for day in (40, 75, 110)]
FEW = settings(max_examples=max(1, int(os.environ.get("HOLDFAST_EXAMPLES", "50")) // 10))
Tables = Mapping[str, pd.DataFrame]

shops = st.builds(lambda seed: raw_tables(np.random.default_rng(seed)), st.integers(0, 2**32 - 1))


def raw_tables(draw: np.random.Generator) -> dict[str, pd.DataFrame]:
    """A small shop's tables as a shop would export them, every kind of line among them."""

    def table(rows: int) -> pd.DataFrame:
        day = draw.integers(START, START + 140, rows)
        who = draw.choice(["007", "7", "NA", "zoë", "c1", "c2"], rows)
        return pd.DataFrame({"customer_id": who, "at": pd.to_datetime(day, unit="D")})

    def later(at: pd.Series) -> pd.Series:
        moved = at + pd.to_timedelta(draw.integers(0, 12, len(at)), unit="D")
        return moved.where(draw.random(len(at)) < 0.7)

    def some(words: Sequence[str], rows: int) -> pd.Series:
        return pd.Series(draw.choice([*words, None], rows), dtype="str")

    bought = table(int(draw.integers(20, 90)))
    n = len(bought)
    bought["amount"] = np.round(draw.normal(20, 25, n), 2)
    bought["order_id"] = draw.integers(0, n // 2 + 1, n).astype(str)
    bought["product_id"], bought["category"] = some("pqrs", n), some("xyz", n)
    bought["channel"], bought["store"] = some(("web", "shop"), n), some("ns", n)
    bought["quantity"], bought["cost"] = draw.integers(1, 4, n), np.round(draw.uniform(1, 9, n), 2)
    bought["discount"] = pd.Series(np.round(draw.uniform(0, 3, n), 2)).where(draw.random(n) < 0.8)
    bought["promised_at"], bought["delivered_at"] = bought["at"] + pd.Timedelta(days=4), later(bought["at"])
    complaints = table(12)
    complaints["kind"] = draw.choice(["product", "service", "price"], 12)
    complaints["answered_at"], complaints["resolved_at"] = later(complaints["at"]), later(complaints["at"])
    surveys = table(12).assign(score=draw.integers(1, 6, 12), kind="csat")
    surveys["invited_at"] = surveys["at"] - pd.Timedelta(days=2)
    events = table(40).assign(kind=draw.choice(["visit", "view", "search", "cart", "checkout"], 40))
    events["category"] = some("xyz", 40)
    sent = table(25).assign(campaign_id="spring", cost=0.1, channel=draw.choice(["mail", "sms"], 25))
    sent["control"] = draw.random(25) < 0.2
    sent["opened_at"], sent["redeemed_at"] = later(sent["at"]), later(sent["at"])
    told = table(5).assign(referred_id=draw.choice(["a", "b"], 5))
    joined = pd.DataFrame({"customer_id": ["007", "7", "NA"], "joined_at": pd.to_datetime([START - 5] * 3, unit="D")})
    joined["region"] = draw.choice(["north", "south"], 3)
    return {
        "purchases": bought,
        "complaints": complaints,
        "surveys": surveys,
        "events": events,
        "campaigns": sent,
        "referrals": told,
        "customers": joined,
    }


def ingested(folder: Path, tables: Tables) -> config.Config:
    """The tables written to files and taken in."""
    folder.mkdir()
    for name, rows in tables.items():
        rows.to_parquet(folder / f"{name}.parquet", index=False)
    said = {"tables": {name: {"path": f"{name}.parquet"} for name in tables}, "ingest": {"max_bad_share": 0.5}}
    chosen = config.build(said, folder / "holdfast.toml")
    ingest.ingest(chosen)
    return chosen


def snapshot_of(chosen: config.Config, cutoffs: Sequence[int], as_of: int) -> Snapshot:
    """Every feature and label of everybody known, with the population of this very store."""
    store = HistoryStore(ingest.history_folder(chosen))
    population = freeze(store, cutoffs, WINDOWS, process=PROCESS)
    return snapshot.build(store, cutoffs, WINDOWS, at="known", population=population, as_of=as_of, horizons=[7])


def assert_same(was: Snapshot, now: Snapshot) -> None:
    first, second = (np.lexsort((s.cutoff, s.customer_id.astype(str))) for s in (was, now))
    assert list(was.customer_id[first]) == list(now.customer_id[second])
    assert was.names == now.names
    for k, name in enumerate(was.names):
        np.testing.assert_array_equal(was.X[first, k], now.X[second, k], err_msg=name)
    for name in was.labels:
        np.testing.assert_array_equal(was.labels[name][first], now.labels[name][second], err_msg=name)


@FEW
@given(tables=shops, seed=st.integers(0, 1000))
def test_the_order_of_the_files_rows_changes_nothing(tables: Tables, seed: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        was = snapshot_of(ingested(Path(place) / "was", tables), CUTOFFS, START + 139)
        shuffled = {name: rows.sample(frac=1, random_state=seed) for name, rows in tables.items()}
        assert_same(was, snapshot_of(ingested(Path(place) / "now", shuffled), CUTOFFS, START + 139))


@FEW
@given(tables=shops, seed=st.integers(0, 1000))
def test_a_history_split_over_deltas_is_the_same_history(tables: Tables, seed: int) -> None:
    draw = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as place:
        was = snapshot_of(ingested(Path(place) / "was", tables), CUTOFFS, START + 139)
        late = {name: draw.random(len(rows)) < 0.3 for name, rows in tables.items() if name != "customers"}
        for name, rows in late.items():
            rows[0], rows[1] = False, True  # each part has a row
            assert len(tables[name]) == len(rows)
        first = {name: rows[~late[name]] if name in late else rows for name, rows in tables.items()}
        chosen = ingested(Path(place) / "now", first)
        for name in late:
            delta = Path(place) / f"{name}.parquet"
            tables[name][late[name]].to_parquet(delta, index=False)
            ingest.append(chosen, name, delta)
        assert_same(was, snapshot_of(chosen, CUTOFFS, START + 139))
        ingest.compact(HistoryStore(ingest.history_folder(chosen)))
        assert_same(was, snapshot_of(chosen, CUTOFFS, START + 139))


@FEW
@given(tables=shops)
def test_files_that_end_at_the_cutoff_give_the_same_rows_there(tables: Tables) -> None:
    """What is dated later, answers and deliveries among it, is not known yet."""
    cutoff = CUTOFFS[1]
    end = pd.Timestamp(cutoff, unit="D")
    with tempfile.TemporaryDirectory() as place:
        was = snapshot_of(ingested(Path(place) / "was", tables), [cutoff], cutoff)
        known = {}
        for name, rows in tables.items():
            day = rows["joined_at"] if name == "customers" else rows["at"]
            known[name] = rows[day <= end].copy()
            for column in ("answered_at", "resolved_at", "opened_at", "redeemed_at", "delivered_at"):
                if column in known[name]:
                    known[name][column] = known[name][column].where(known[name][column] <= end)
        assert_same(was, snapshot_of(ingested(Path(place) / "now", known), [cutoff], cutoff))


def test_the_same_delta_twice_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    tables = raw_tables(np.random.default_rng(3))
    chosen = ingested(tmp_path / "shop", tables)
    delta = tmp_path / "delta.parquet"
    tables["purchases"].head(5).assign(customer_id="late").to_parquet(delta, index=False)
    ingest.append(chosen, "purchases", delta)
    was = snapshot_of(chosen, CUTOFFS, START + 139)
    with pytest.raises(UsageError, match="already has this file"):
        ingest.append(chosen, "purchases", delta)
    assert_same(was, snapshot_of(chosen, CUTOFFS, START + 139))
