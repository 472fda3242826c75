"""The rules are data: they say for whom, what they need, and what may not be done to whom."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.config import Economics, Serving
from features.errors import BadConfiguration
from serving import actions, facts

PACKAGED = actions.PACKAGED.read_text(encoding="utf-8")
EVERYTHING = ("purchases", "lines", "returns", "complaints", "surveys", "events", "campaigns", "referrals", "customers")
CATALOGUE = actions.read(PACKAGED, Economics(contact_cost=2.0))


def person(**known: Any) -> pd.DataFrame:
    """One customer of whom nothing special is known."""
    base: dict[str, Any] = dict.fromkeys(facts.FACTS, np.nan) | {"customer_id": "a", "purchase_days": 9.0, "worth": 5.0}
    return pd.DataFrame(
        [base | {"stage": "stable", "value": "middle", "satisfaction": "unknown", "cause": "unknown"} | known]
    )


def first(people: pd.DataFrame, name: str = "retention", tables: tuple[str, ...] = EVERYTHING) -> tuple[str, str]:
    """The rule and action that come first for one customer."""
    names, place = CATALOGUE.fitting(people, name, tables)
    column = int(np.where(place[0] >= 0, place[0], 10**6).argmin())
    return CATALOGUE.rules[place[0, column]].id, names[column]


@pytest.mark.parametrize("number", range(1, 29))
def test_every_strategy_rule_is_in_the_catalogue(number: int) -> None:
    assert any(rule.id.rstrip("b") == f"6.{number}" for rule in CATALOGUE.rules)


def test_every_action_speaks_both_languages_and_is_asked_for() -> None:
    for action in CATALOGUE.actions.values():
        assert action.says["en"]
        assert any("\u4e00" <= letter <= "\u9fff" for letter in action.says["zh-CN"])
        assert any(rule.action == action.name for rule in CATALOGUE.rules)
        assert action.cost > 0
        assert action.channel in (*actions.CONSENT, "letter", "store", "app")


@pytest.mark.parametrize(
    ("known", "name", "rule"),
    [
        ({"open_complaints": 1.0, "value": "high", "satisfaction": "low"}, "retention", "6.22"),
        ({"value": "high", "satisfaction": "low"}, "retention", "6.3"),
        ({"value": "high", "satisfaction": "high"}, "early-warning", "6.1"),
        ({"cause": "product"}, "retention", "6.10"),
        ({"carts": 1.0}, "win-back", "6.14"),
        ({"searches": 3.0}, "retention", "6.28"),
        ({"days_to_birthday": 3.0}, "retention", "6.16"),
        ({"stage": "exploration", "purchase_days": 1.0}, "retention", "6.12"),
        ({"stage": "exploration", "purchase_days": 3.0}, "retention", "6.6"),
        ({"cause": "price"}, "retention", "6.24"),
        ({"points": 500.0}, "retention", "6.11"),
        ({"value": "low", "satisfaction": "high", "growth": 1.5}, "retention", "6.2"),
        ({"stage": "growth"}, "retention", "6.7"),
        ({"stage": "stable"}, "retention", "6.18"),
        ({"stage": "stable", "value": "high", "categories": 5.0}, "retention", "6.27"),
        ({"stage": "decline", "value": "high", "satisfaction": "middle"}, "retention", "6.21"),
        ({"stage": "decline", "value": "low", "satisfaction": "low"}, "retention", "6.4"),
        ({"stage": "decline", "value": "low"}, "retention", "6.5"),
        ({"stage": "lapsed", "value": "high"}, "win-back", "6.26"),
        ({"stage": "lapsed", "value": "low"}, "win-back", "6.10b"),
    ],
)
def test_which_rule_comes_first_for_whom(known: dict[str, Any], name: str, rule: str) -> None:
    assert first(person(**known), name)[0] == rule


def test_nothing_is_offered_before_a_complaint_is_settled() -> None:
    names, place = CATALOGUE.fitting(person(open_complaints=1.0, points=900.0), "retention", EVERYTHING)
    assert names == ("settle-complaint",)
    assert (place >= 0).all()


def test_an_absent_fact_fits_nothing() -> None:
    names, _ = CATALOGUE.fitting(person(), "retention", EVERYTHING)
    assert not {"cart-reminder", "birthday", "points-reminder", "settle-complaint"} & set(names)


def test_a_rule_without_its_table_is_off_and_says_so() -> None:
    assert CATALOGUE.off(EVERYTHING) == {}
    off = CATALOGUE.off(("purchases",))
    assert off["6.3"] == ("surveys or complaints",)
    assert off["6.14"] == ("events",)
    assert first(person(open_complaints=1.0), tables=("purchases",))[0] != "6.22"


def test_costs_are_counted_in_contacts() -> None:
    assert CATALOGUE.actions["settle-complaint"].cost == 10.0
    assert CATALOGUE.actions["reminder"].cost == pytest.approx(0.2)


def test_the_settings_change_and_add_actions() -> None:
    said = Economics.model_validate(
        {
            "contact_cost": 2.0,
            "actions": {
                "reminder": {"channel": "sms", "cost": 0.7, "owner": "ann"},
                "gift": {"capacity": 3, "owner": "bo"},
            },
        }
    )
    mine = actions.read(PACKAGED, said)
    assert (mine.actions["reminder"].cost, mine.actions["reminder"].owner) == (0.7, "ann")
    assert mine.actions["reminder"].says["en"] == "Friendly reminder"
    assert mine.actions["gift"].cost == 2.0
    assert mine.own == ("gift",)
    assert mine.digest != CATALOGUE.digest
    names, place = mine.fitting(person(), "win-back", EVERYTHING)
    assert place[0, names.index("gift")] == len(mine.rules)
    assert mine.rule_ids(np.array([len(mine.rules), -1, 0])).tolist() == ["own", None, "6.22"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("this is not TOML", "cannot be read"),
        ('[action.a]\nchannel = "email"', "cannot be read"),
        ('[[rule]]\nid = "1"\nname = "n"\naction = "nothing"', "action there is not"),
        ('[[rule]]\nid = "1"\nname = "n"', "lacks"),
        ('[[rule]]\nid = "1"\nname = "n"\naction = "a"\nwen = ["x > 1"]', "what no rule can"),
        ('[[rule]]\nid = "1"\nname = "n"\naction = "a"\nwhen = ["shoe_size > 40"]', "fact there is not"),
        ('[[rule]]\nid = "1"\nname = "n"\naction = "a"\nwhen = ["silence is long"]', "fact there is not"),
    ],
)
def test_a_catalogue_that_cannot_be_meant(text: str, what: str) -> None:
    with pytest.raises(BadConfiguration, match=what):
        actions.read(text, Economics())


def test_value_satisfaction_and_cause_in_words() -> None:
    """Ten customers worth 1 to 10: two high, three middle. Scores .9, .6, .2, none; a complaint, open or settled."""
    people = pd.concat([person(worth=float(k)) for k in range(1, 11)], ignore_index=True)
    people["satisfaction"] = [0.9, 0.6, 0.2, np.nan, 0.9, np.nan, 0.9, 0.9, 0.9, 0.9]
    people["open_complaints"], people["complaints_year"] = 0.0, 0.0
    people.loc[4, ["open_complaints", "complaints_year"]] = 1.0
    people.loc[5, "complaints_year"] = 1.0
    people["returned_share"], people["discount_share"] = (
        np.r_[np.full(8, np.nan), 0.4, 0.0],
        np.r_[np.full(9, 0.0), 0.3],
    )
    told = actions.describe(people)
    assert told["value"].tolist() == ["low"] * 5 + ["middle"] * 3 + ["high"] * 2
    assert told["satisfaction"].tolist() == ["high", "middle", "low", "unknown", "low", "low"] + ["high"] * 4
    assert told["cause"].tolist() == ["unknown"] * 4 + ["service"] * 2 + ["unknown"] * 2 + ["product", "price"]


def done(what: str, day: str, customer: str = "a") -> dict[str, Any]:
    return {"customer_id": customer, "what": what, "day": date.fromisoformat(day)}


AS_OF = date(2026, 11, 15)


@pytest.mark.parametrize(
    ("lines", "campaigns", "why"),
    [
        ([], np.nan, None),
        ([("contacted", "2026-11-01")], np.nan, "cool-off"),
        ([("refused", "2026-10-19")], np.nan, "cool-off"),
        ([("refused", "2026-10-18")], np.nan, None),
        ([("unreachable", "2026-11-14"), ("note", "2026-11-14")], np.nan, None),
        ([("do_not_contact", "2020-01-01")], np.nan, "do not contact"),
        ([], 3.0, "fatigue"),
        ([("contacted", "2026-09-01"), ("offered", "2026-09-20")], 1.0, "fatigue"),
        ([("contacted", "2026-08-01"), ("offered", "2026-09-20")], 1.0, None),
    ],
)
def test_who_is_left_alone(lines: list[tuple[str, str]], campaigns: float, why: str | None) -> None:
    """Cool-off 28 days after a contact or a refusal, three contacts in 91 days, and never who asked not to be."""
    table = pd.DataFrame([done(*line) for line in lines], columns=["customer_id", "what", "day"])
    open_to, got = actions.allowed(person(contacts=campaigns), ["email", "store"], table, AS_OF, Serving())
    assert got[0] == why
    assert open_to.all() == (why is None)


def test_consent_by_channel() -> None:
    people = pd.concat(
        [person(consent_email=1.0), person(consent_email=0.0), person(consent_email=np.nan)], ignore_index=True
    )
    none = pd.DataFrame(columns=["customer_id", "what", "day"])
    open_to, _ = actions.allowed(people, ["email", "sms", "letter"], none, AS_OF, Serving())
    assert open_to[:, 0].tolist() == [True, False, False]  # who was asked and is not on record has not consented
    assert open_to[:, 1].all()  # no column of consent to texts: there is nothing to ask
    assert open_to[:, 2].all()
