"""Who is champion, who was before, and what a kill may leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.errors import CannotWrite, TryAgain
from training.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    return Journal(tmp_path)


def _promote(journal: Journal, *names: str) -> None:
    for name in names:
        journal.note("promoted", name)
        journal.crown(name)


def _roll_back(journal: Journal) -> None:
    back = journal.before
    assert back is not None
    journal.note("rolled back", back)
    journal.crown(back)


def test_nobody_is_champion_at_first(journal: Journal) -> None:
    assert (journal.champion, journal.before, journal.latest, journal.events()) == (None, None, None, [])


def test_rolling_back_goes_back_one_champion_at_a_time(journal: Journal) -> None:
    _promote(journal, "a", "b", "c")
    assert (journal.champion, journal.before) == ("c", "b")
    _roll_back(journal)
    assert (journal.champion, journal.before) == ("b", "a")
    _roll_back(journal)
    assert (journal.champion, journal.before) == ("a", None)


def test_what_was_rolled_back_from_may_be_promoted_again(journal: Journal) -> None:
    _promote(journal, "a", "b")
    _roll_back(journal)
    _promote(journal, "c")
    assert (journal.champion, journal.before) == ("c", "a")
    _promote(journal, "b", "b")
    assert (journal.champion, journal.before) == ("b", "c")


def test_a_promotion_that_was_noted_but_killed_before_the_swap_does_not_count(journal: Journal) -> None:
    _promote(journal, "a", "b")
    journal.note("promoted", "c")
    assert (journal.champion, journal.before) == ("b", "a")


def test_a_bundle_that_was_thrown_away_is_not_gone_back_to(journal: Journal) -> None:
    _promote(journal, "a", "b", "c")
    (journal.bundles / "b").rmdir()
    assert journal.before == "a"


def test_the_latest_is_the_one_trained_last(journal: Journal) -> None:
    for name in ("b", "a", "gone"):
        journal.note("trained", name)
    assert journal.latest == "a"


def test_a_line_that_a_kill_left_unfinished_is_passed_over_and_ended(journal: Journal) -> None:
    journal.note("trained", "a")
    with open(journal.bundles / "journal.jsonl", "ab") as out:
        out.write(b'{"did": "trained", "bun')
    assert [event["bundle"] for event in journal.events()] == ["a"]
    journal.note("trained", "b")
    assert [event["bundle"] for event in journal.events()] == ["a", "b"]


def test_the_same_event_twice_in_a_row_is_one(journal: Journal) -> None:
    journal.note("trained", "a")
    journal.note("trained", "a")
    assert len(journal.events()) == 1


def test_the_champion_is_a_relative_link_so_that_the_folder_can_be_moved(journal: Journal, tmp_path: Path) -> None:
    journal.crown("a")
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert (moved / "champion").resolve() == (moved / "a").resolve()


def test_a_folder_in_the_champions_place_is_refused(journal: Journal) -> None:
    (journal.bundles / "champion" / "something").mkdir(parents=True)
    with pytest.raises(CannotWrite):
        journal.crown("a")
    assert [path.name for path in journal.bundles.glob(".champion*")] == []


def test_two_do_not_promote_at_once(journal: Journal) -> None:
    with journal.alone(), pytest.raises(TryAgain), Journal(journal.bundles).alone():
        pass
    with journal.alone():
        pass
