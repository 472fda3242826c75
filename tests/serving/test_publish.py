"""A list is public as a whole or not at all, and never before its hold-out is in the ledger: whatever kills the
process."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.errors import BadData, CannotWrite, MissingInput, TryAgain
from features.windows import to_day
from serving import publish
from serving.ledger import Ledger
from serving.publish import Draft, Published

DAY = to_day("2026-11-15")


def draft(size: int = 30, as_of: int = DAY, inputs: str = "i", seed: int = 0) -> Draft:
    """Three lists of invented customers, a tenth of them held out."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"{i:06d}" for i in range(size)], object)
    arm = np.where(rng.uniform(size=size) < 0.1, "held out", "treated").astype(object)
    rows = pd.DataFrame({"customer_id": ids, "churn_probability": rng.uniform(size=size), "as_of": "2026-11-15"})
    shown, held = rows[arm == "treated"], rows[arm == "held out"]
    entries = pd.DataFrame({"customer_id": ids, "rank": 1, "arm": arm, "status": "new", "action": "reminder"})
    entries = entries.assign(owner="desk", channel="email", cost=0.5, expected_profit=1.0, churn_probability=0.5)
    entries["value_at_risk"] = 3.0
    drawn = pd.DataFrame(
        {"customer_id": ids, "quarter": f"{as_of}", "arm": arm, "population": "at risk", "stratum": "s"}
    )
    drawn = drawn.assign(share=0.1, exempt=False, wash_out=False, action="reminder", name="retention")
    drawn[["kept_forecast", "spend_forecast", "margin_forecast"]] = 0.5
    return Draft(
        as_of=as_of,
        horizon=91,
        bundle="b-1",
        skill=True,
        inputs=inputs,
        tables={
            **{name: shown.reset_index(drop=True) for name in publish.LISTS},
            publish.HELD: pd.concat([held.assign(list=name) for name in publish.LISTS], ignore_index=True),
            publish.LEFT: pd.DataFrame({"list": [], "customer_id": [], "why": []}, dtype=object),
            publish.FORECASTS: rows,
        },
        summary={"shop": "s", "held": len(held)},
        entries=pd.concat([entries.assign(name=name) for name in publish.LISTS], ignore_index=True),
        assignments=drawn,
        quarters=(),
    )


@pytest.fixture
def book(tmp_path: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{tmp_path / 'holdfast.db'}")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def consistent(var: Path, book: Ledger) -> Published | None:
    """What a reader sees, held against the ledger; None where nothing is public."""
    try:
        seen = publish.current(var)
    except MissingInput:
        return None
    there = book.publications().set_index("id")
    assert seen.id in there.index, "a list is public that the ledger does not know"
    arms = book.assignments().set_index("customer_id")["arm"]
    for name in publish.LISTS:
        entries = book.entries(seen.list_id(name)).set_index("customer_id")["arm"]
        held = set(seen.held_out.loc[seen.held_out["list"] == name, "customer_id"])
        assert held == set(entries.index[entries == "held out"])
        assert held == {one for one in entries.index if arms[one] == "held out"}
        assert set(seen.rows(name)["customer_id"]) == set(entries.index) - held
    return seen


def test_a_publication_is_what_was_drafted(tmp_path: Path, book: Ledger) -> None:
    made = draft()
    out = publish.publish(made, tmp_path, book)
    assert out.id == "2026-11-15-1"
    assert publish.current(tmp_path).folder.name == out.id
    pd.testing.assert_frame_equal(out.rows("retention"), made.tables["retention"], check_dtype=False)
    assert out.summary["held"] == len(out.held_out) // 3
    assert consistent(tmp_path, book) is not None


def test_the_same_inputs_are_published_once_and_give_the_same_bytes(tmp_path: Path, book: Ledger) -> None:
    first = publish.publish(draft(), tmp_path, book)
    before = bytes_of(first.folder)
    again = publish.publish(draft(), tmp_path, book)
    assert again.folder == first.folder
    assert bytes_of(again.folder) == before
    assert len(book.publications()) == 1
    elsewhere = tmp_path / "elsewhere"
    other = publish.publish(draft(), elsewhere, Ledger.open(f"sqlite:///{elsewhere / 'l.db'}"))
    assert bytes_of(other.folder) == before


def test_other_inputs_of_the_same_day_are_a_second_publication(tmp_path: Path, book: Ledger) -> None:
    publish.publish(draft(), tmp_path, book)
    second = publish.publish(replace(draft(), inputs="j", assignments=draft().assignments.head(0)), tmp_path, book)
    assert second.id == "2026-11-15-2"
    assert publish.current(tmp_path).folder == second.folder
    assert publish.at_day(tmp_path, book, date(2026, 11, 15)).folder == second.folder


def test_an_older_list_asked_for_again_is_shown_again(tmp_path: Path, book: Ledger) -> None:
    first = publish.publish(draft(), tmp_path, book)
    publish.publish(draft(as_of=DAY + 7, inputs="j"), tmp_path, book)
    publish.publish(draft(), tmp_path, book)
    assert publish.current(tmp_path, book).folder == first.folder


def test_what_was_never_published_is_missing(tmp_path: Path, book: Ledger) -> None:
    with pytest.raises(MissingInput, match="nothing has been published"):
        publish.current(tmp_path)
    publish.publish(draft(), tmp_path, book)
    with pytest.raises(MissingInput, match="2026-11-15"):
        publish.at_day(tmp_path, book, date(2026, 11, 8))
    with pytest.raises(MissingInput, match="no such list"):
        publish.current(tmp_path).rows("everybody")


def test_a_changed_file_is_not_read(tmp_path: Path, book: Ledger) -> None:
    out = publish.publish(draft(), tmp_path, book)
    (out.folder / "retention.parquet").write_bytes(b"something else")
    with pytest.raises(BadData, match="changed"):
        publish.current(tmp_path)


def test_two_publishers_at_once(tmp_path: Path, book: Ledger) -> None:
    publish.publish(draft(), tmp_path, book)
    with (tmp_path / "published" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TryAgain):
            publish.publish(draft(inputs="j"), tmp_path, book)
        assert publish.current(tmp_path, book).id == "2026-11-15-1"


def test_a_disk_that_refuses(tmp_path: Path, book: Ledger) -> None:
    (tmp_path / "published").write_text("in the way")
    with pytest.raises(CannotWrite):
        publish.publish(draft(), tmp_path, book)
    assert book.publications().empty


class Killed(Exception):
    """Stands for the end of the process."""


STEPS = ("write", "rename", "ledger", "point")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_end_at_each_step_leaves_the_old_list_or_the_new_one(
    tmp_path: Path, book: Ledger, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """The process ends right before or right after each of the four steps; then somebody looks, and scores again."""
    old = publish.publish(draft(), tmp_path, book)
    target, name = {
        "write": (publish, "write"),
        "rename": (os, "rename"),
        "ledger": (Ledger, "publish"),
        "point": (publish, "_point"),
    }[step]
    real = getattr(target, name)

    def end(*args: object, **more: object) -> None:
        if after:
            real(*args, **more)
        raise Killed

    new = draft(as_of=DAY + 7, inputs="j", seed=1)
    new = replace(new, assignments=new.assignments.assign(quarter="next"))
    with monkeypatch.context() as patch:
        patch.setattr(target, name, end)
        with pytest.raises(Killed):
            publish.publish(new, tmp_path, book)
    done = STEPS.index(step) + after
    recorded = len(book.publications()) == 2
    assert recorded == (done > 2)
    shown = publish.current(tmp_path).id
    assert shown == ("2026-11-22-1" if done > 3 else old.id)
    assert publish.current(tmp_path, book).id == ("2026-11-22-1" if recorded else old.id)
    assert publish.publish(new, tmp_path, book).id == "2026-11-22-1"
    assert {path.name for path in (tmp_path / "published").iterdir()} == {
        ".lock",
        "current",
        "2026-11-15-1",
        "2026-11-22-1",
    }


def publish_on(var: Path, week: int) -> None:
    """Publish week after week, until killed."""
    with Ledger.open(f"sqlite:///{var / 'holdfast.db'}") as book:
        while True:
            one = draft(300, DAY + 7 * week, f"week {week}", seed=week)
            publish.publish(replace(one, assignments=one.assignments.assign(quarter=str(week))), var, book)
            week += 1


def test_killed_at_any_moment_no_list_is_torn_and_no_hold_out_differs(tmp_path: Path) -> None:
    """A process that publishes week after week is killed fifteen times, at moments spread over two publications."""
    with Ledger.open(f"sqlite:///{tmp_path / 'holdfast.db'}") as book:
        began = time.perf_counter()
        publish.publish(draft(300, DAY, "week 0"), tmp_path, book)
        takes = time.perf_counter() - began
    weeks = [1]
    for attempt in range(15):
        child = multiprocessing.get_context("fork").Process(target=publish_on, args=(tmp_path, weeks[-1]))
        child.start()
        time.sleep(min(takes, 0.5) * (0.1 + 0.12 * attempt))
        child.kill()
        child.join()
        with Ledger.open(f"sqlite:///{tmp_path / 'holdfast.db'}") as book:
            before = of_week(publish_seen(tmp_path, book))
            weeks.append(of_week(publish_seen(tmp_path, book, finish=True)))
            assert before <= weeks[-1] == len(book.publications())
    assert weeks[-1] > 1, "the kills came too early to hit anything"


def publish_seen(var: Path, book: Ledger, *, finish: bool = False) -> Published | None:
    """What a reader sees, checked; with `finish` an interrupted publication is completed first."""
    if finish and len(book.publications()):
        publish.current(var, book)
    seen = consistent_of_quarter(var, book)
    if seen is not None:
        assert seen.summary["held"] * 3 == len(seen.held_out)
    return seen


def consistent_of_quarter(var: Path, book: Ledger) -> Published | None:
    try:
        seen = publish.current(var)
    except MissingInput:
        return None
    week = str((seen.as_of - DAY) // 7 or DAY)
    arms = book.assignments(week).set_index("customer_id")["arm"]
    entries = book.entries(seen.list_id("retention")).set_index("customer_id")["arm"]
    held = set(seen.held_out["customer_id"])
    assert held == set(arms.index[arms == "held out"]) == set(entries.index[entries == "held out"])
    assert set(seen.rows("retention")["customer_id"]) == set(arms.index) - held
    return seen


def of_week(seen: Published | None) -> int:
    """How many weeks have been published by then."""
    return 0 if seen is None else (seen.as_of - DAY) // 7 + 1


def test_a_person_is_taken_out_of_every_publication(tmp_path: Path, book: Ledger) -> None:
    publish.publish(draft(), tmp_path, book)
    late = draft(as_of=DAY + 7, inputs="j")
    publish.publish(replace(late, assignments=late.assignments.head(0)), tmp_path, book)
    gone = draft().tables["retention"]["customer_id"].iloc[3]
    assert publish.take_out(gone, tmp_path, book) == 2
    assert publish.take_out(gone, tmp_path, book) == 0
    for day in (date(2026, 11, 15), date(2026, 11, 22)):
        left = publish.at_day(tmp_path, book, day)
        assert gone not in set(left.rows("retention")["customer_id"]) | set(left.forecasts["customer_id"])
    assert publish.current(tmp_path).id == "2026-11-22-1"
    everything = b"".join(p.read_bytes() for p in (tmp_path / "published").rglob("*.json"))
    assert gone.encode() not in everything
    assert len([p for p in (tmp_path / "published").iterdir() if p.is_dir() and not p.is_symlink()]) == 2
