"""The store: what a block holds, and that deltas, cuts, kills, erasures and compaction leave the right store."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from any_shop import FIRST, all_said, plain, settings, tables
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st

from features import hashing, ingest
from features.errors import BadData, MissingInput, TryAgain, UsageError
from features.ingest import append, compact, erase, history_folder
from features.publish import writing
from features.store import HistoryStore
from features.windows import to_day

LINES = [
    ("b", "2024-03-02", 5.0, "web"),
    ("a", "2024-03-01", 19.99, "web"),
    ("a", "2024-03-01", 0.1, "shop"),
    ("a", "2024-02-27", 3.0, "shop"),
    ("a", "2024-03-05", -3.0, "shop"),
]


def little(folder: Path, lines: list[tuple[str, str, float, str]] | None = None) -> HistoryStore:
    frame = pd.DataFrame(lines or LINES, columns=["customer_id", "at", "amount", "channel"])
    chosen = settings(folder, {"purchases": frame})
    ingest.ingest(chosen)
    return HistoryStore(history_folder(chosen))


def test_a_block_holds_customers_days_and_whole_cents(tmp_path: Path) -> None:
    """Customers in order, rows by customer and day, lines of a day added, the largest line's channel."""
    block = little(tmp_path).block(0)
    bought = block.tables["purchases"]
    assert block.customers.tolist() == ["a", "b"]
    assert bought.who.tolist() == [0, 0, 1]
    assert bought.day.tolist() == [to_day("2024-02-27"), to_day("2024-03-01"), to_day("2024-03-02")]
    assert bought.measures["amount"].tolist() == [300, 2009, 500]
    assert bought.measures["lines"].tolist() == [1, 2, 1]
    assert bought.measures["orders"].tolist() == [1, 1, 1]
    channel = bought.words["channel"]
    assert channel.words[channel.code].tolist() == ["shop", "web", "web"]
    assert bought.since == to_day("2024-02-27")


def test_a_negative_line_is_a_return_and_no_visit(tmp_path: Path) -> None:
    back = little(tmp_path).block(0).tables["returns"]
    assert (back.day.tolist(), back.measures["amount"].tolist()) == ([to_day("2024-03-05")], [300])
    assert back.since == to_day("2024-02-27"), "returns can be told since purchases are recorded"


def test_of_two_largest_lines_the_first_word_is_the_days(tmp_path: Path) -> None:
    lines = [("a", "2024-03-01", 5.0, "web"), ("a", "2024-03-01", 5.0, "shop"), ("a", "2024-03-01", 1.0, "app")]
    words = little(tmp_path, lines).block(0).tables["purchases"].words["channel"]
    assert words.words[words.code].tolist() == ["shop"]


def test_the_market_by_day_has_no_gaps_and_adds_up(tmp_path: Path) -> None:
    market = little(tmp_path).daily()
    assert market.day.tolist() == list(range(to_day("2024-02-27"), to_day("2024-03-02") + 1))
    assert market.visits.tolist() == [1, 0, 0, 1, 1]
    assert market.firsts.tolist() == [1, 0, 0, 0, 1]
    assert market.spend.tolist() == [300, 0, 0, 2009, 500]


def test_one_customer_is_the_block_of_that_customer(tmp_path: Path) -> None:
    store = little(tmp_path)
    block = store.customer("b")
    assert block.customers.tolist() == ["b"]
    assert block.tables["purchases"].measures["amount"].tolist() == [500]
    assert block.tables["purchases"].words["channel"].words.tolist() == ["web"]
    with pytest.raises(MissingInput, match="nobody"):
        store.customer("nobody")


def test_a_block_of_some_tables_has_the_same_customers(tmp_path: Path) -> None:
    chosen = settings(tmp_path, tables(3))
    ingest.ingest(chosen)
    store = HistoryStore(history_folder(chosen))
    some = store.block(0, tables=["complaints"])
    assert list(some.tables) == ["complaints"]
    assert some.customers.tolist() == store.block(0).customers.tolist()
    assert plain(some)["complaints"] == plain(store.block(0))["complaints"]


def test_a_store_travels_to_another_process_as_its_folder(tmp_path: Path) -> None:
    store = little(tmp_path)
    store.block(0)
    assert plain(pickle.loads(pickle.dumps(store)).block(0)) == plain(store.block(0))


def test_no_store_and_a_damaged_one_are_said(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="holdfast ingest"):
        HistoryStore(tmp_path / "none")
    store = little(tmp_path)
    file = store.folder / store.manifest.parts[0].files["purchases"].path
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    with pytest.raises(BadData, match="purchases"):
        HistoryStore(store.folder)
    file.write_bytes(bytes([*good[:40], good[40] ^ 1, *good[41:]]))
    with pytest.raises(BadData, match="changed"):
        HistoryStore(store.folder).verify()


def test_a_damaged_store_is_built_anew(tmp_path: Path) -> None:
    store = little(tmp_path)
    before = all_said(store)
    (store.folder / "manifest-000001.json").write_bytes(b"{")
    assert all_said(little(tmp_path)) == before


@quickly(max_examples=6)
@given(st.integers(0, 10_000), st.integers(1, 2))
def test_deltas_equal_the_full_rebuild_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, deltas: int
) -> None:
    """Any history, cut into files at random (late lines and split days among them), gives the same blocks."""
    folder = tmp_path_factory.mktemp("deltas")
    whole = tables(seed)
    ingest.ingest(settings(folder / "whole", whole))
    g = np.random.default_rng(seed)
    pieces = {name: g.integers(0, deltas + 1, len(frame)) for name, frame in whole.items()}
    for places in pieces.values():
        places[0] = 0
    pieces["purchases"][:6] = 0
    chosen = settings(folder / "pieces", {name: frame[pieces[name] == 0] for name, frame in whole.items()})
    ingest.ingest(chosen)
    for delta in range(1, deltas + 1):
        for name, frame in whole.items():
            if (pieces[name] == delta).any():
                file = folder / "pieces" / f"{name}-{delta}.parquet"
                frame[pieces[name] == delta].to_parquet(file, index=False)
                append(chosen, name, file)
    rebuilt, grown = HistoryStore(folder / "whole/var/history"), HistoryStore(history_folder(chosen))
    expected = all_said(rebuilt)
    assert all_said(grown) == expected
    tidy = compact(grown)
    assert all_said(tidy) == expected
    assert {name: entry.sums for name, entry in tidy.manifest.tables.items()} == {
        name: entry.sums for name, entry in rebuilt.manifest.tables.items()
    }
    assert tidy.customers_total == rebuilt.customers_total


@quickly(max_examples=8)
@given(st.integers(0, 10_000), st.integers(0, 59))
def test_the_order_of_rows_and_the_days_to_come_do_not_show(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cut: int
) -> None:
    """Shuffled rows give the same blocks; a block as of a day is the block of a store that was told no more."""
    folder, whole = tmp_path_factory.mktemp("order"), tables(seed)
    shuffled = {name: frame.sample(frac=1, random_state=seed) for name, frame in whole.items()}
    ingest.ingest(settings(folder / "a", whole))
    ingest.ingest(settings(folder / "b", shuffled))
    store = HistoryStore(folder / "a/var/history")
    assert all_said(store) == all_said(HistoryStore(folder / "b/var/history"))
    as_of = to_day(FIRST.date()) + cut
    if store.first_day <= as_of:
        ingest.ingest(settings(folder / "c", whole), as_of=as_of)
        then = HistoryStore(folder / "c/var/history")
        assert [plain(block) for block in then.blocks()] == [plain(block) for block in store.blocks(as_of=as_of)]
        assert then.daily().visits.tolist() == store.daily(as_of).visits.tolist()[: len(then.daily().visits)]


def test_how_many_buckets_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight buckets hold the customers of one, each with the same rows."""
    ingest.ingest(settings(tmp_path / "one", tables(5)))
    monkeypatch.setattr(ingest, "ROWS_PER_BUCKET", 20)
    ingest.ingest(settings(tmp_path / "eight", tables(5)))
    one, many = HistoryStore(tmp_path / "one/var/history"), HistoryStore(tmp_path / "eight/var/history")
    assert (one.buckets, many.buckets >= 8) == (1, True)
    everyone = one.block(0).customers.tolist()
    assert sorted(i for block in many.blocks() for i in block.customers) == everyone
    for customer in everyone:
        assert plain(one.customer(customer)) == plain(many.customer(customer))


def test_ids_that_collide_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hash that knows one value only, every customer still has the own rows."""
    expected = all_said(little(tmp_path / "honest"))
    monkeypatch.setattr(hashing, "fnv1a", lambda texts: np.zeros(len(texts), np.uint64))
    assert all_said(little(tmp_path / "colliding")) == expected


@quickly(max_examples=20)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=12, unique=True))
def test_ids_stay_exactly_as_given(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    folder = tmp_path_factory.mktemp("ids")
    store = little(folder, [(i, "2024-03-01", float(n + 1), "web") for n, i in enumerate(ids)])
    block = store.block(0)
    assert block.customers.tolist() == sorted(ids, key=str.encode)
    cents = block.tables["purchases"].measures["amount"]
    assert {i: int(c) for i, c in zip(block.customers, cents, strict=True)} == {
        i: 100 * (n + 1) for n, i in enumerate(ids)
    }


# -- erasure -----------------------------------------------------------------------------------------------------------


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_erasure_leaves_no_trace_and_touches_nobody_else(tmp_path: Path) -> None:
    """The id is in no byte of any file: not in rows, not where others referred the customer, not in quarantine."""
    gone, frames = "gone-7731", tables(11)
    for name, frame in frames.items():
        frame.loc[frame.index[:3], "customer_id"] = gone
        frames[name] = frame.drop_duplicates("customer_id") if name == "customers" else frame
    frames["referrals"].loc[frames["referrals"].index[-1], "referred_id"] = gone
    frames["returns"]["amount"] = frames["returns"]["amount"].astype(object)
    frames["returns"] = frames["returns"].astype({"amount": str})
    frames["returns"].loc[frames["returns"].index[-1], "amount"] = f"see {gone}"
    chosen = settings(tmp_path, frames, ingest={"max_bad_share": 0.5})
    ingest.ingest(chosen)
    store = HistoryStore(history_folder(chosen))
    assert gone.encode() in bytes_of(store.folder)
    others = [i for block in store.blocks() for i in block.customers if i != gone]
    before = [plain(store.customer(i, tables=["purchases", "lines", "complaints"])) for i in others]

    receipt = erase(store, gone)

    after = HistoryStore(store.folder)
    assert gone.encode() not in bytes_of(store.folder)
    assert [plain(after.customer(i, tables=["purchases", "lines", "complaints"])) for i in others] == before
    assert after.customers_total == store.customers_total - 1
    assert (
        after.block(0).tables["referrals"].who.size
        == store.block(0).tables["referrals"].who.size - receipt.removed["referrals"]
    )
    assert (receipt.generation, receipt.digest) == (after.generation, after.digest)
    assert gone not in str(receipt)
    after.verify()


def test_the_erased_do_not_come_back(tmp_path: Path) -> None:
    """Neither with a new ingest of the same tables nor with a delta."""
    store = little(tmp_path)
    chosen = settings(tmp_path, {"purchases": pd.read_parquet(tmp_path / "purchases.parquet")})
    erase(store, "a")
    report = ingest.ingest(chosen)
    assert report.counts["purchases"]["erased"] == 4
    pd.DataFrame(
        [("a", "2024-04-01", 1.0), ("c", "2024-04-01", 1.0)], columns=["customer_id", "at", "amount"]
    ).to_parquet(tmp_path / "more.parquet")
    append(chosen, "purchases", tmp_path / "more.parquet")
    assert HistoryStore(store.folder).block(0).customers.tolist() == ["b", "c"]


def test_erasing_a_stranger_is_said_and_changes_nothing(tmp_path: Path) -> None:
    store = little(tmp_path)
    with pytest.raises(MissingInput, match="nobody"):
        erase(store, "nobody")
    assert HistoryStore(store.folder).digest == store.digest


# -- one writer, and kills ---------------------------------------------------------------------------------------------


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    store = little(tmp_path)
    with writing(store.folder), pytest.raises(TryAgain) as refused:
        erase(store, "a")
    assert refused.value.exit_code == 75


def test_a_file_is_taken_in_once(tmp_path: Path) -> None:
    store = little(tmp_path)
    chosen = settings(tmp_path, {"purchases": pd.read_parquet(tmp_path / "purchases.parquet")})
    (tmp_path / "again.parquet").write_bytes((tmp_path / "purchases.parquet").read_bytes())
    with pytest.raises(UsageError, match="already"):
        append(chosen, "purchases", tmp_path / "again.parquet")
    assert HistoryStore(store.folder).digest == store.digest


WRITER = """
import sys
from pathlib import Path
from features import config
from features.ingest import append, compact, ingest, history_folder
from features.store import HistoryStore
folder = Path(sys.argv[1])
chosen = config.build({"tables": {"purchases": {"path": "purchases.parquet"}}}, folder / "holdfast.toml")
append(chosen, "purchases", folder / "more.parquet")
print("ready", flush=True)
while True:
    ingest(chosen)
    append(chosen, "purchases", folder / "more.parquet")
    compact(HistoryStore(history_folder(chosen)))
"""


def test_a_killed_writer_leaves_the_old_store_or_the_new_one(tmp_path: Path) -> None:
    """SIGKILL at random moments of ingest, append and compact: the store always opens, is whole, and is one of the two
    that can be true; the next writer carries on."""
    frames = tables(2, lines=400, customers=40)
    chosen = settings(tmp_path, {"purchases": frames["purchases"]})
    tables(4, lines=200)["purchases"].to_parquet(tmp_path / "more.parquet", index=False)
    ingest.ingest(chosen)
    folder = history_folder(chosen)
    old = all_said(HistoryStore(folder))
    append(chosen, "purchases", tmp_path / "more.parquet")
    new = all_said(HistoryStore(folder))
    assert old != new
    ingest.ingest(chosen)
    (tmp_path / "writer.py").write_text(WRITER, encoding="utf-8")
    g, seen = np.random.default_rng(0), set()
    for _ in range(5):
        ingest.ingest(chosen)
        writer = subprocess.Popen(
            [sys.executable, tmp_path / "writer.py", tmp_path],
            stdout=subprocess.PIPE,
            cwd=Path(ingest.__file__).parent.parent,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        for _ in range(3):
            time.sleep(float(g.uniform(0, 0.15)))
            writer.send_signal(signal.SIGSTOP)
            store = HistoryStore(folder)
            store.verify()
            said = all_said(store)
            assert said in (old, new)
            seen.add(said == new)
            writer.send_signal(signal.SIGCONT)
        time.sleep(float(g.uniform(0, 0.15)))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        store = HistoryStore(folder)
        store.verify()
        assert all_said(store) in (old, new)
    ingest.ingest(chosen)
    assert all_said(HistoryStore(folder)) == old
    assert not list(folder.rglob(".new-*"))
    assert seen == {True, False}, "both generations were met"


def test_arrow_words_come_back_in_their_order() -> None:
    """Codes follow the order of the words' bytes, and null is -1."""
    from features.rows import words_of

    words = words_of(pa.array(["b", None, "a", "é", "b"]))
    assert words.words.tolist() == ["a", "b", "é"]
    assert words.code.tolist() == [1, -1, 0, 2, 1]
