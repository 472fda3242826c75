"""The catalogue: what a feature must declare, how a shop's own file is let in, and the page made of it all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from story import CUTOFF, SHOP, WINDOWS

from features import catalogue, snapshot
from features.errors import BadConfiguration, UsageError
from features.history import History

EVERY = catalogue.catalogue()

OWN = '''
from features.catalogue import ONE, feature
from features.history import Floats, History, ratio

@feature(
    unit="share",
    absence="nothing was bought in the window",
    phrase={"en": "{value} of the last {days} days' spend was online", "zh-CN": "最近{days}天线上消费占{value}"},
    over=(ONE,),
)
def online_share(h: History, last: int) -> Floats:
    """Share of the window's spend that came through the web."""
    online = h.derive_word("online", "channel", lambda w: [k >= 0 and w.words[k] == "web" for k in w.code])
    h.derive("online amount", lambda m: m["amount"] * m[online])
    return ratio(h.total("online amount", last), h.total("amount", last))
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "shop_features.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_there_are_many_features_in_ten_families() -> None:
    assert len(EVERY) >= 150
    assert {made.family for made in EVERY.values()} == set(catalogue.FAMILIES)


@pytest.mark.parametrize("made", EVERY.values(), ids=lambda made: made.name)
def test_every_feature_can_be_said_in_both_languages(made: catalogue.Feature) -> None:
    for language in ("en", "zh-CN"):
        said = made.say(0.5, language, WINDOWS, "EUR")
        assert "{" not in said
        assert made.show(0.5, language, "EUR") in said


def test_a_value_is_said_in_its_unit() -> None:
    assert EVERY["purchase_days_half_h"].say(3, "en", WINDOWS) == "3 purchase days in the last 4 days"
    assert EVERY["spend_1h"].say(1234.5, "zh-CN", WINDOWS, "CNY") == "最近8天消费1,234.50 CNY"
    assert EVERY["one_time_buyer"].say(1, "zh-CN", WINDOWS) == "仅购买过一次：是"
    assert EVERY["return_share"].say(0.125, "en", WINDOWS) == "returned 12% of all that was bought, by value"
    assert EVERY["gap_mean"].say(np.nan, "en", WINDOWS) == "usually buys every — days"


def test_only_features_whose_tables_are_kept_are_selected() -> None:
    chosen = catalogue.select(["purchases", "returns"])
    assert {table for made in chosen for table in made.tables} == {"purchases", "returns"}
    assert {made.family for made in catalogue.select(["purchases"], ["money", "life"])} == {"money", "life"}


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="moony"):
        catalogue.select(["purchases"], ["moony"])


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="recncy"):
        catalogue.named(["recency", "recncy"])


def test_a_shops_own_feature_joins_the_rest(own: Path) -> None:
    chosen = catalogue.select(SHOP.tables, modules=[own])
    assert [made.name for made in chosen][-1] == "online_share_1h"
    assert "online_share_1h" not in catalogue.catalogue()
    features = catalogue.named(["online_share_1h"], [own])
    made = snapshot.build(SHOP, [CUTOFF], WINDOWS, features=features, as_of=CUTOFF)
    np.testing.assert_allclose(made.column("online_share_1h"), [60 / 100])


def test_a_shops_own_feature_travels_to_other_processes(own: Path) -> None:
    features, shop = catalogue.load(own), replace(SHOP, buckets=2)
    made = snapshot.build(shop, [CUTOFF], WINDOWS, features=features, as_of=CUTOFF, jobs=2)
    np.testing.assert_allclose(made.column("online_share_1h"), [60 / 100])


def test_a_shops_own_feature_is_known_by_its_bytes(own: Path) -> None:
    before = catalogue.fingerprint(own)
    own.write_text(OWN.replace('"web"', '"app"'), encoding="utf-8")
    assert catalogue.fingerprint(own) != before
    (made,) = catalogue.load(own)
    assert made(History(SHOP.block(0), [CUTOFF], WINDOWS))[0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda code: "1 +", "cannot be run"),
        (lambda code: "x = 1", "defines none"),
        (lambda code: code.replace('unit="share"', 'unit="parsec"'), "unit or scope"),
        (lambda code: code.replace('"zh-CN": "最近', '"fr": "'), "zh-CN phrase"),
        (lambda code: code.replace("online_share", "spend"), "two features are called spend_1h"),
        (lambda code: code.replace('"""Share of the window\'s spend that came through the web."""', ""), "docstring"),
    ],
)
def test_a_bad_module_is_refused(own: Path, change: object, message: str) -> None:
    own.write_text(change(OWN), encoding="utf-8")  # type: ignore[operator]
    with pytest.raises(BadConfiguration, match=message):
        catalogue.load(own)


def test_a_module_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"gone\.py"):
        catalogue.load(tmp_path / "gone.py")


def test_a_feature_that_answers_another_number_of_rows_is_refused(own: Path) -> None:
    own.write_text(OWN.replace("return ratio(", "return 1.0 or ratio("), encoding="utf-8")
    (made,) = catalogue.load(own)
    with pytest.raises(UsageError, match="one number per row"):
        made(History(SHOP.block(0), [CUTOFF, CUTOFF + 1], WINDOWS))


def test_the_page_holds_every_feature() -> None:
    page = catalogue.markdown()
    assert all(f"`{name}`" in page for name in EVERY)
    assert page == catalogue.markdown()
