"""Dispositions come back row by row: bad rows are refused by number, the same file twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from corner_shop import AS_OF, Shop

from features.errors import BadData, MissingInput
from features.windows import to_date
from serving import dispositions
from serving.publish import Published


def row(published: Published, place: int = 0, **more: str) -> dict[str, str]:
    customer = published.rows("retention")["customer_id"].iloc[place]
    base = {
        "list_id": published.list_id("retention"),
        "customer_id": customer,
        "at": "2025-09-03T09:12",
        "what": "contacted",
    }
    return base | more


def test_a_file_is_taken_once(listed: tuple[Shop, Published], tmp_path: Path) -> None:
    shop, published = listed
    rows = [row(published, k, cost="2.5", by="Kim", follow_up_on="2025-10-01") for k in range(5)]
    path = tmp_path / "back.csv"
    pd.DataFrame(rows).to_csv(path, index=False, encoding="utf-8-sig")
    pd.DataFrame(rows).to_parquet(tmp_path / "back.parquet")
    with shop.ledger() as book:
        first = dispositions.take_file(book, path)
        again = dispositions.take_file(book, tmp_path / "back.parquet")
        assert (first.taken, first.there, first.refused) == (5, 0, ())
        assert (again.taken, again.there) == (0, 5)
        assert book.costs()["amount"].sum() == 12.5


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("list_id", "retention-1999-01-01-1", "the latest are"),
        ("customer_id", "nobody", "not on this list"),
        ("customer_id", "", "missing"),
        ("at", "yesterday", "no date"),
        ("at", "2025-08-31", "before the list"),
        ("what", "kissed", "none of"),
        ("cost", "-1", "0 or more"),
        ("cost", "nan", "0 or more"),
        ("cost", "ten", "0 or more"),
        ("follow_up_on", "2025-09-01", "on or after"),
    ],
)
def test_a_bad_row_is_refused_by_its_number_and_the_others_are_taken(
    listed: tuple[Shop, Published], column: str, value: str, why: str
) -> None:
    shop, published = listed
    with shop.ledger() as book:
        got = dispositions.take(book, [row(published), row(published, 1, **{column: value}), row(published, 2)])
        assert got.taken == 2
        assert [(one.row, one.column, one.value) for one in got.refused] == [(2, column, value)]
        assert why in got.refused[0].why
        assert len(book.dispositions()) == 2


def test_a_held_out_customer_who_was_contacted_is_taken_and_counted(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    held = published.held_out.loc[published.held_out["list"] == "retention", "customer_id"].iloc[0]
    with shop.ledger() as book:
        got = dispositions.take(book, [row(published, customer_id=held), row(published)])
        assert (got.taken, got.held_out) == (2, 1)


def test_a_file_that_is_none(listed: tuple[Shop, Published], tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        dispositions.read(tmp_path / "nowhere.csv")
    (tmp_path / "short.csv").write_text("customer_id,at\na,2025-09-03\n")
    with pytest.raises(BadData, match="no list_id, what"):
        dispositions.read(tmp_path / "short.csv")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BadData):
        dispositions.read(tmp_path / "broken.parquet")


def test_who_was_contacted_is_left_alone_and_comes_back_after_the_cool_off(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    done = row(published)
    with shop.ledger() as book:
        dispositions.take(
            book,
            [
                done,
                row(published, 1, what="do_not_contact"),
                row(published, 2),
                row(published, 2, what="undo", at="2025-09-04"),
            ],
        )
    week = shop.score(AS_OF + 7)
    listed_now = set(week.rows("retention")["customer_id"]) | set(week.held_out["customer_id"])
    assert done["customer_id"] not in listed_now
    left = week.left[week.left["list"] == "retention"].set_index("customer_id")["why"]
    assert left[done["customer_id"]] == "contacted"
    assert left[row(published, 1)["customer_id"]] == "do not contact"
    assert row(published, 2)["customer_id"] in listed_now
    warned = week.rows("early-warning").set_index("customer_id")
    barred = warned.loc[warned.index.isin([done["customer_id"]])]
    assert barred["action"].isna().all()
    assert set(barred["no_action_en"]) <= {"Contacted or refused a short while ago"}
    assert str(to_date(AS_OF + 7)) == warned["as_of"].iloc[0]
