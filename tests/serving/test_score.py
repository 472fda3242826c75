"""From the champion to the published lists, where a row comes from, and how a person is taken out again."""

from __future__ import annotations

import json
import os

import pandas as pd
import pytest
from corner_shop import AS_OF, Shop

from features.errors import MissingInput, UsageError
from serving import dispositions, erase, explain, export, publish, score
from serving.publish import Published

NAMES = publish.LISTS


def test_without_a_champion_there_is_nothing_to_score_with(shop: Shop) -> None:
    with pytest.raises(MissingInput, match="no champion"):
        score.run(shop.config)


def test_a_day_before_the_log_is_refused_and_a_quiet_day_after_it_is_not(shop: Shop) -> None:
    with pytest.raises(UsageError):
        score.last_day(shop.store, shop.store.first_day - 1)
    assert score.last_day(shop.store, None) == shop.store.last_day
    assert score.last_day(shop.store, shop.store.last_day + 3) == shop.store.last_day + 3


def test_scoring_again_answers_with_the_same_lists(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    before = {path.name: path.read_bytes() for path in published.folder.iterdir()}
    said: list[str] = []
    with shop.ledger() as book:
        score.publish_day(
            shop.config, shop.store, book, AS_OF, oracle=None, bundle="b-1", explain=shop.explain, progress=said.append
        )  # type: ignore[arg-type]
        assert len(book.publications()) == 1
    assert said == ["nothing has changed since these lists were published"]
    assert {path.name: path.read_bytes() for path in published.folder.iterdir()} == before


@pytest.mark.parametrize("what", ["bundle", "disposition"])
def test_whatever_went_in_changes_the_publication(listed: tuple[Shop, Published], what: str) -> None:
    """Another bundle, or a disposition of the day itself, is another publication of the day; arms stay as they are."""
    shop, published = listed
    if what == "disposition":
        row = {"list_id": published.list_id("retention"), "at": "2025-09-01", "what": "contacted"}
        with shop.ledger() as book:
            row["customer_id"] = published.rows("retention")["customer_id"].iloc[0]
            dispositions.take(book, [row])
    second = shop.score(bundle="b-2" if what == "bundle" else "b-1")
    assert second.id == "2025-09-01-2"
    held = set(published.held_out["customer_id"])
    shown = {one for name in NAMES for one in second.rows(name)["customer_id"]}
    assert not held & shown


def test_a_disposition_of_a_later_day_changes_nothing(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    customer = published.rows("retention")["customer_id"].iloc[0]
    row = {"list_id": published.list_id("retention"), "customer_id": customer, "at": "2025-09-02", "what": "contacted"}
    with shop.ledger() as book:
        dispositions.take(book, [row])
    assert shop.score().id == published.id


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_where_a_row_comes_from(listed: tuple[Shop, Published], language: str) -> None:
    shop, published = listed
    row = published.rows("retention").iloc[2]
    done = {
        "list_id": published.list_id("retention"),
        "customer_id": row["customer_id"],
        "at": "2025-09-03",
        "what": "offered",
    }
    with shop.ledger() as book:
        dispositions.take(book, [done])
    lineage = explain.run(shop.config, row["customer_id"], AS_OF)
    told = " ".join(lineage.lines(language))
    for part in (
        row["last_order"],
        f"{row['churn_probability']:.1%}",
        "b-1",
        "2025Q3",
        published.id,
        "2025-09-03: offered",
    ):
        assert part in told
    assert {"en": "Place 3 on retention", "zh-CN": "在retention名单上列第3位"}[language] in told
    assert lineage.lines(language)[-1].endswith("holdfast score --as-of 2025-09-01")
    assert lineage.rows["retention"]["rank"] == 3


def test_a_held_out_customer_can_be_explained_too(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    held = published.held_out["customer_id"].iloc[0]
    lineage = explain.run(shop.config, held)
    assert "held out" in " ".join(lineage.lines("en"))
    assert "对照组" in " ".join(lineage.lines("zh-CN"))


def test_who_was_not_there_cannot_be_explained(listed: tuple[Shop, Published]) -> None:
    with pytest.raises(MissingInput):
        explain.run(listed[0].config, "nobody")
    with pytest.raises(MissingInput, match="2025-09-01"):
        explain.run(listed[0].config, "00001", AS_OF + 1)


def test_a_person_is_erased_from_lists_exports_and_ledger(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    gone = published.rows("retention")["customer_id"].iloc[0]
    out = shop.config.root / "out"
    for kind in export.FORMATS:
        export.to(published, "retention", kind, out / f"mine.{kind}")
    export.to(published, "retention", "csv", out / "edited.csv")
    (out / "edited.csv").write_bytes((out / "edited.csv").read_bytes() + b"more\r\n")
    receipt = erase.erase(shop.config, gone)
    assert receipt.publications == 1
    assert {os.path.basename(path) for path in receipt.exports} == {f"mine.{kind}" for kind in export.FORMATS}
    assert [os.path.basename(path) for path in receipt.beyond_reach] == ["edited.csv"]
    assert receipt.ledger["ledger_assignment"] == 1
    now = publish.current(shop.config.var)
    for name in NAMES:
        assert gone not in set(now.rows(name)["customer_id"])
    assert gone not in set(pd.read_csv(out / "mine.csv", dtype=str)["customer_id"])
    assert gone not in {row["customer_id"] for row in json.loads((out / "mine.json").read_bytes())["rows"]}
    with shop.ledger() as book:
        assert gone not in set(book.assignments()["customer_id"]) | set(
            book.entries(now.list_id("retention"))["customer_id"]
        )
        assert (
            len(book.entries(now.list_id("retention")))
            == len(now.rows("retention")) + 1 + (now.held_out["list"] == "retention").sum()
        )
    again = erase.erase(shop.config, gone)
    assert again.publications == 0
    assert set(again.ledger.values()) == {0}


def test_what_was_published_is_said_in_the_shops_language(listed: tuple[Shop, Published]) -> None:
    told = score.lines(listed[1])
    assert told[0].startswith(listed[1].id)
    assert sum("held out" in line for line in told) == 3
