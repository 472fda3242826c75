"""The stage schemes on a shop of eleven people whose stages were worked out with a calendar and a pencil.

H is 30 days, A is 60, today is 2024-06-30; the last H days are June, the 30 before are the 2nd to the 31st of May.

who    bought on                                   other                    in words
Pia    never                                       registered in January    a registered prospect
Vic    never                                       viewed in June           a visitor who looks
One    20 June                                     -                        bought once, 10 days ago
Old    10 May                                      -                        bought once, 51 days ago
Lou    1 Jan, 1 Feb, 1 Mar                         -                        silent for 121 days: lapsed
Reg    1st of each month, January to June          -                        every month for half a year
Ref    as Reg                                      referred One in May      the same, and recommends
Up     1 Feb, 5 May; 3, 8, 13, 18, 23, 28 June     -                        1 visit in May, 6 in June
Down   1 Feb; 4, 8, 12, 16, 20, 24, 28 May         -                        7 visits in May, none in June
Crt    20 May                                      filled a cart in June    bought once, left a cart
Rev    1 Apr, 20 June                              praised in a review      twice, and praises
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from little_shop import buys, shop

from features.errors import BadConfiguration, MissingInput
from features.lifecycle import standing, taxonomy
from features.windows import to_day

MONTHLY = tuple(f"2024-{month:02}-01" for month in range(1, 7))
PURCHASES = [
    *buys("One", "2024-06-20"),
    *buys("Old", "2024-05-10"),
    *buys("Lou", "2024-01-01", "2024-02-01", "2024-03-01"),
    *buys("Reg", *MONTHLY),
    *buys("Ref", *MONTHLY),
    *buys("Up", "2024-02-01", "2024-05-05", *(f"2024-06-{day:02}" for day in (3, 8, 13, 18, 23, 28))),
    *buys("Down", "2024-02-01", *(f"2024-05-{day:02}" for day in (4, 8, 12, 16, 20, 24, 28))),
    *buys("Crt", "2024-05-20"),
    *buys("Rev", "2024-04-01", "2024-06-20"),
    *buys("Last", "2024-06-30"),
]
TABLES = {
    "purchases": PURCHASES,
    "customers": [{"customer_id": "Pia", "joined_at": "2024-01-15"}],
    "events": [
        {"customer_id": "Reg", "at": "2024-01-01", "kind": "visit"},
        {"customer_id": "Vic", "at": "2024-06-05", "kind": "view"},
        {"customer_id": "Crt", "at": "2024-06-06", "kind": "cart"},
        {"customer_id": "Old", "at": "2024-06-07", "kind": "visit"},
    ],
    "referrals": [{"customer_id": "Ref", "at": "2024-05-01", "referred_id": "One"}],
    "surveys": [
        {"customer_id": "Rev", "at": "2024-06-25", "score": 5, "kind": "review"},
        {"customer_id": "Reg", "at": "2024-06-25", "score": 2, "kind": "review"},
    ],
}

EXPECTED = {
    "management": {
        "Pia": "acquisition", "Vic": "acquisition", "One": "conversion", "Old": "conversion", "Lou": "churn",
        "Reg": "retention", "Ref": "retention", "Up": "enhancement", "Down": "churn", "Crt": "conversion",
        "Rev": "retention",
    },
    "strategy": {
        "Pia": "acquire", "Vic": "acquire", "One": "activate", "Old": "activate", "Lou": "lapsed", "Reg": "retain",
        "Ref": "retain", "Up": "upgrade", "Down": "retain", "Crt": "activate", "Rev": "retain",
    },
    "funnel": {
        "Pia": "away", "Vic": "interest", "One": "conversion", "Old": "acquired", "Lou": "away", "Reg": "conversion",
        "Ref": "conversion", "Up": "conversion", "Down": "away", "Crt": "evaluation", "Rev": "conversion",
    },
    "relation": {
        "Pia": "acquired", "Vic": "potential", "One": "converted", "Old": "converted", "Lou": "lost",
        "Reg": "maintained", "Ref": "loyal", "Up": "maintained", "Down": "maintained", "Crt": "converted",
        "Rev": "maintained",
    },
    "journey": {
        "Pia": "awareness", "Vic": "consideration", "One": "purchase", "Old": "purchase", "Lou": "lapsed",
        "Reg": "loyalty", "Ref": "advocacy", "Up": "loyalty", "Down": "loyalty", "Crt": "purchase", "Rev": "advocacy",
    },
    "simple": {
        "Pia": "prospect", "Vic": "prospect", "One": "new", "Old": "new", "Lou": "lost", "Reg": "loyal", "Ref": "loyal",
        "Up": "loyal", "Down": "loyal", "Crt": "new", "Rev": "loyal",
    },
    "life": {
        "Pia": "prospect", "Vic": "prospect", "One": "exploration", "Old": "decline", "Lou": "lapsed", "Reg": "stable",
        "Ref": "stable", "Up": "growth", "Down": "decline", "Crt": "decline", "Rev": "stable",
    },
}  # fmt: skip
"""Worked out by hand. Growth of Up: (6 - 1)**2 / 7 = 3.6 > 2.7. Decline of Down: (0 - 7)**2 / 7 = 7 > 2.7. Upgrade:
the values of the last 60 days are One 10, Old 10, Reg 10 (1 June; 1 May is 60 days ago), Ref 10, Up 70, Down 70,
Crt 10, Rev 10, Last 10: the 50 % and 80 % quantiles are 10 and 34 (between the 7th, 10, and the 8th, 70: 10 + .4 x
60). Up had 10 in May, 20 a window, and has 70: from mid to high. Down had 70 in May already. Down's usual gap is
117 days over 7, so 33 days of silence are 1.97 times it: not yet overdue."""


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> standing.Standing:
    config, store = shop(tmp_path_factory.mktemp("stages"), TABLES, windows={"horizon": 30, "active": 60})
    return standing.look(store, store.last_day, config.span, taxonomy.load(), currency="EUR")


@pytest.mark.parametrize("scheme", EXPECTED)
def test_every_customer_stands_where_a_pencil_puts_him(today: standing.Standing, scheme: str) -> None:
    stages = dict(zip(today.customer_id, today.stages(scheme), strict=True))
    assert {who: stages[who] for who in EXPECTED[scheme]} == EXPECTED[scheme]


def test_value_tiers_are_quantiles_of_those_who_bought(today: standing.Standing) -> None:
    assert today.edges == (10.0, pytest.approx(34.0))
    tier = {who: standing.TIERS[code] for who, code in zip(today.customer_id, today.tier, strict=True)}
    assert (tier["Up"], tier["Reg"], tier["Lou"], tier["Pia"]) == ("high", "mid", "none", "none")


def test_evidence_says_the_figures_in_both_languages(today: standing.Standing) -> None:
    row = today.row("Down")
    assert row is not None
    assert today.say("life", row, "en") == (
        "silent for 33 days (1.97 times the usual gap); 0 purchase days in the last 30 days after 7 in the 30 before"
    )
    assert "最近30天购买0次，此前30天7次" in today.say("life", row, "zh-CN")


def test_a_scheme_whose_table_is_missing_is_not_applied_and_says_so(tmp_path: Path) -> None:
    config, store = shop(tmp_path, {"purchases": PURCHASES}, windows={"horizon": 30, "active": 60})
    found = standing.look(store, store.last_day, config.span, taxonomy.load())
    assert found.missing == {"funnel": ("events",)}
    assert "funnel" not in found.codes
    assert standing.unread(found.schemes, store.tables)["referrals_made"] == ("referrals",)
    assert dict(zip(found.customer_id, found.stages("life"), strict=True))["Up"] == "growth"


def test_the_stage_of_a_past_day_does_not_know_what_came_after(tmp_path: Path) -> None:
    """On 31 May Up had one visit in May and Down seven in the last 30 days after none: growth."""
    config, store = shop(tmp_path, {"purchases": PURCHASES}, windows={"horizon": 30, "active": 60})
    found = standing.look(store, to_day("2024-05-31"), config.span, taxonomy.load())
    stages = dict(zip(found.customer_id, found.stages("life"), strict=True))
    assert stages["Down"] == "growth"
    assert "One" not in stages, "One came in June"


def test_shares_stand_in_the_order_of_life(today: standing.Standing) -> None:
    told = taxonomy.shares(today.schemes["simple"], today.codes["simple"])
    assert [stage.name for stage, _, _ in told] == ["prospect", "new", "loyal", "lost"]
    assert [count for _, count, _ in told] == [2, 4, 5, 1], "Last and One, Old, Crt are new"
    assert sum(share for _, _, share in told) == pytest.approx(1.0)


# -- the file ----------------------------------------------------------------------------------------------------------

SMALL = """
[value]
by = "spend_2h"
mid = 0.5
high = 0.8
[measures]
twice = "frequency * 2"
[taxonomies.mine]
source = "the shop"
title = { en = "Mine", zh-CN = "我的" }
[[taxonomies.mine.stages]]
name = "many"
label = { en = "many", zh-CN = "多" }
when = "twice >= 6"
because = { en = "{frequency} days", zh-CN = "{frequency}天" }
goal = { en = "g", zh-CN = "g" }
kpi = { en = "k", zh-CN = "k" }
actions = ["a"]
owner = "o"
[[taxonomies.mine.stages]]
name = "few"
label = { en = "few", zh-CN = "少" }
because = { en = "{frequency} days", zh-CN = "{frequency}天" }
goal = { en = "g", zh-CN = "g" }
kpi = { en = "k", zh-CN = "k" }
actions = []
owner = "o"
"""


def test_a_shop_writes_its_own_schemes_beside_its_settings(tmp_path: Path) -> None:
    config, store = shop(tmp_path, {"purchases": PURCHASES}, windows={"horizon": 30, "active": 60})
    (tmp_path / "stages.toml").write_text(SMALL, encoding="utf-8")
    found = standing.look(store, store.last_day, config.span, taxonomy.beside(config.root))
    stages = dict(zip(found.customer_id, found.stages("mine"), strict=True))
    assert (stages["Lou"], stages["Rev"]) == ("many", "few")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("twice >= 6", "thrice >= 6", "thrice"),
        ('"frequency * 2"', '"frequency ** 2"', "frequency ** 2"),
        ('en = "{frequency} days"', 'en = "{frequenzy} days"', "frequenzy"),
        ('when = "twice >= 6"\n', "", "the last stage"),
        ('name = "few"', 'name = "many"', "one name"),
        ("mid = 0.5", "mid = 0.9", "not in order"),
        ('zh-CN = "少"', 'zh-CN = ""', "zh-CN"),
        ('owner = "o"', 'chief = "o"', "owner"),
        ("[value]", "[value", "not TOML"),
    ],
)
def test_a_slip_in_the_file_is_one_readable_message(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "stages.toml"
    path.write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(BadConfiguration) as refused:
        taxonomy.load(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_no_file_and_no_scheme_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        taxonomy.load(tmp_path / "none.toml")
    with pytest.raises(BadConfiguration, match="allowed"):
        taxonomy.load()["lifes"]


def test_every_packaged_stage_has_a_card_in_both_languages() -> None:
    for scheme in taxonomy.load().taxonomies:
        for stage in scheme.stages:
            for texts in (stage.label, stage.because, stage.goal, stage.kpi):
                assert set(texts) == {"en", "zh-CN"}
            assert stage.actions
            assert stage.owner


def test_nobody_is_left_without_a_stage(today: standing.Standing) -> None:
    for scheme, code in today.codes.items():
        assert ((code >= 0) & (code < len(today.schemes[scheme].stages))).all()
        assert code.dtype == np.int8
