"""Reasons: the strongest distinct ideas, in words a person would use; causes only where something speaks for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import Feature, catalogue, named
from features.errors import UsageError
from features.snapshot import Snapshot
from features.windows import Windows
from models import reasons
from models.contributions import PROCESS, Contributions
from models.reasons import CAUSES, EVIDENCE, human

WINDOWS = Windows(91, 182)
NAMES = ("recency", "overdue_ratio", "gap_median", "frequency", "purchase_days_1h", "purchase_rate", "ticket_last",
         "ticket_mean", "return_share", "days_since_visit")  # fmt: skip
VALUES = {
    "recency": 62, "overdue_ratio": 2.9, "gap_median": 21, "frequency": 8, "purchase_days_1h": 1,
    "purchase_rate": 0.04, "ticket_last": 12.5, "ticket_mean": 34.0, "return_share": np.nan, "days_since_visit": 40,
}  # fmt: skip
USUAL = dict.fromkeys(NAMES, 1.0) | {"recency": 30.0, "days_since_visit": 20.0, "return_share": 0.02}


def features(names: Sequence[str] = NAMES) -> tuple[Feature, ...]:
    return named(names)


def rows(*people: Mapping[str, float], names: Sequence[str] = NAMES) -> Snapshot:
    """A snapshot of hand-made rows; a feature that is not said has the value of VALUES, else NaN."""
    X = np.array([[{**VALUES, **one}.get(name, np.nan) for name in names] for one in people], dtype=np.float32)
    ids = np.array([f"c{at}" for at in range(len(people))], dtype=object)
    return Snapshot(ids, np.zeros(len(people), np.int64), tuple(names), X)


def explain(person: Mapping[str, float], pushes: Mapping[str, float], **more: Any) -> tuple[reasons.Reason, ...]:
    values = np.array([[pushes.get(name, 0.0) for name in NAMES]])
    return reasons.explain(features(), rows(person), values, USUAL, WINDOWS, **more)[0]


# Which


def test_strongest_ideas_come_first_and_each_once() -> None:
    told = explain({}, {"recency": 0.3, "overdue_ratio": 0.3, "purchase_days_1h": 0.4, "ticket_last": 0.2})
    assert [one.idea for one in told] == ["silence", "frequency", "ticket"]
    assert told[0].contribution == pytest.approx(0.6), "the idea's members add up"


def test_no_more_than_asked_for() -> None:
    pushes = {"recency": 0.3, "purchase_days_1h": 0.4, "ticket_last": 0.2}
    assert len(explain({}, pushes, count=2)) == 2


def test_what_lowers_the_risk_is_no_reason_to_warn() -> None:
    told = explain({}, {"recency": -0.5, "purchase_days_1h": 0.4})
    assert [one.feature for one in told] == ["purchase_days_1h"]
    assert all(one.direction == "raises" and one.contribution > 0 for one in told)


def test_what_lowers_the_risk_is_told_when_asked_for() -> None:
    told = explain({"recency": 2}, {"recency": -0.5, "purchase_days_1h": 0.4}, direction="lowers")
    assert [(one.feature, one.direction) for one in told] == [("recency", "lowers")]
    assert told[0].contribution == pytest.approx(-0.5)


def test_missing_values_are_never_quoted() -> None:
    told = explain({"return_share": np.nan}, {"return_share": 0.9, "recency": 0.3})
    assert [one.feature for one in told] == ["recency"]


def test_a_value_that_is_as_usual_or_better_is_no_reason() -> None:
    as_usual = explain({"recency": 21, "overdue_ratio": 1.0}, {"recency": 0.5})
    better = explain({"recency": 3, "overdue_ratio": 0.1}, {"recency": 0.5})
    assert as_usual == better == ()


def test_of_twins_the_one_that_can_speak_speaks() -> None:
    """The push went to the twin that has nothing to say; the other says it."""
    (one,) = explain({"recency": 21}, {"recency": 0.5})
    assert (one.feature, one.idea) == ("overdue_ratio", "silence")


def test_days_without_a_visit_do_not_repeat_days_without_a_purchase() -> None:
    told = explain({"days_since_visit": 62}, {"recency": 0.3, "days_since_visit": 0.5})
    assert [one.feature for one in told] == ["recency"]


def test_trifles_beside_a_strong_reason_are_left_out() -> None:
    told = explain({}, {"recency": 1.0, "ticket_last": 0.01})
    assert [one.idea for one in told] == ["silence"]


def test_a_forecast_that_cannot_be_taken_apart_has_no_reasons() -> None:
    assert explain({}, {}) == ()


def test_contributions_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match="one number per row and feature"):
        reasons.explain(features(), rows({}), np.zeros((2, 3)), USUAL, WINDOWS)


@given(st.lists(st.floats(-1, 1), min_size=len(NAMES), max_size=len(NAMES)), st.integers(0, 5))
def test_reasons_do_not_depend_on_the_company_of_other_rows(pushes: list[float], others: int) -> None:
    alone = explain({}, dict(zip(NAMES, pushes, strict=True)))
    values = np.tile(np.array(pushes), (others + 1, 1))
    together = reasons.explain(features(), rows(*[{}] * (others + 1)), values, USUAL, WINDOWS)
    assert all(told == alone for told in together)
    ideas = [one.idea for one in alone]
    assert len(set(ideas)) == len(ideas) <= 3
    assert all(not np.isnan(one.value) for one in alone)


# What is usual


def test_the_customers_own_habit_is_the_usual_where_there_is_one() -> None:
    (one,) = explain({}, {"recency": 0.5})
    assert (one.usual, one.habit) == (21, "own")
    assert one.text["en"] == "the last purchase was 62 days ago (usually 21 days)"
    assert one.text["zh-CN"] == "距上次购买已62天（平时为21天）"


def test_who_has_bought_twice_has_no_habit_yet() -> None:
    (one,) = explain({"frequency": 2}, {"recency": 0.5})
    assert (one.usual, one.habit) == (30, "at risk")
    assert one.text["en"] == "the last purchase was 62 days ago (median at risk: 30 days)"
    assert one.text["zh-CN"] == "距上次购买已62天（活跃客户中位数为30天）"


def test_the_own_pace_is_scaled_to_the_window() -> None:
    (one,) = explain({}, {"purchase_days_1h": 0.5})
    assert one.usual == pytest.approx(0.04 * 91, rel=1e-6)
    assert one.text["en"] == "1 purchase day in the last 91 days (usually 3.6)"


def test_medians_ignore_the_absent_and_are_absent_where_all_is() -> None:
    some = rows({"recency": 10}, {"recency": 20, "ticket_last": np.nan}, {"recency": 60, "ticket_last": np.nan})
    middle = reasons.medians(some)
    assert middle["recency"] == 20
    assert middle["ticket_last"] == pytest.approx(12.5)
    assert np.isnan(middle["return_share"])


# Words


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (62.4, "days", "62"),
        (3.25, "days", "3.2"),
        (3.0, "days", "3"),
        (12345.678, "money", "12,346 EUR"),
        (99.5, "money", "99.50 EUR"),
        (0.0, "money", "0 EUR"),
        (-0.08, "money a day", "−0.08 EUR"),
        (0.31, "share", "31%"),
        (0.001, "share", "<1%"),
        (0.0, "share", "0%"),
        (1.0, "share", "100%"),
        (2.94, "ratio", "2.9"),
        (13.2, "ratio", "13"),
        (0.137, "ratio", "0.14"),
        (-1.5, "score", "−1.5"),
        (1.0, "flag", "yes"),
        (float("nan"), "days", "—"),
    ],
)
def test_numbers_are_said_as_one_says_them(value: float, unit: str, said: str) -> None:
    assert human(value, unit, "en", "EUR") == said


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_feature_makes_a_sentence_in_both_languages(name: str) -> None:
    """No brace is left over, Chinese has no half-width punctuation or space beside its own characters, and "1 days" is
    never said."""
    feature = catalogue()[name]
    for value in (0.0, 1.0, 37.5, -2.0):
        for usual in (1.0, 12.0, float("nan")):
            en, zh = (
                reasons.sentence(feature, value, usual, habit="own", language=language, windows=WINDOWS, currency="EUR")
                for language in reasons.LANGUAGES
            )
            assert not re.search(r"[{}]", en + zh)
            assert not re.search(r"(?<![\d.,])1 (days|times|orders|categories)\b", en)
            assert ("(" in zh) == (", " in zh) == False  # noqa: E712
            assert not re.search(r"[\u4e00-\u9fff] [\u4e00-\u9fff]", zh)
            assert ("usually" in en) == ("平时" in zh) or np.isnan(usual) or "usually" in feature.phrase["en"]


def test_every_built_in_feature_belongs_to_an_idea() -> None:
    ideas = {idea for _, idea in reasons.IDEAS}
    assert [name for name, feature in catalogue().items() if reasons.idea_of(feature) not in ideas] == []


# From a forecaster


def test_the_purchase_process_speaks_through_the_silence() -> None:
    parts = Contributions((*NAMES, PROCESS), np.array([[0.1] + [0.0] * 9 + [0.7]]), 0.0)
    forecaster: Any = SimpleNamespace(features=features, contributions=lambda _: parts, windows=WINDOWS)
    ((one,),) = reasons.of_forecast(forecaster, rows({}), USUAL)
    assert one.idea == "silence"
    assert one.contribution == pytest.approx(0.8)


# Causes

SERVICE_NAMES = tuple(
    dict.fromkeys([*(name for piece in EVIDENCE for name in piece.needs), "complaints", "recency", "overdue_ratio"])
)
NOTHING = dict.fromkeys(SERVICE_NAMES, 0.0) | {
    "score_last": np.nan, "days_since_survey": np.nan, "days_since_complaint": np.nan, "settlement_wait": np.nan,
    "market_change_1h": 1.0, "market_year_on_year_1h": 1.0, "change_against_market_1h": 0.2, "recency": 62,
    "overdue_ratio": 2.9, "unit_price_change_1h": 1.0,
}  # fmt: skip


def why(person: Mapping[str, float], names: Sequence[str] = SERVICE_NAMES, **more: Any) -> reasons.Why:
    return reasons.causes(features(names), rows({**NOTHING, **person}, names=names), WINDOWS, **more)[0]


@pytest.mark.parametrize(
    ("person", "cause"),
    [
        ({"product_complaints": 1, "days_since_complaint": 20}, "product"),
        ({"returns_since_purchase": 1, "return_share": 0.5}, "product"),
        ({"service_complaints": 1, "days_since_complaint": 20}, "service"),
        ({"delivery_complaints": 2, "days_since_complaint": 20, "unanswered_complaints": 1}, "service"),
        ({"delivery_delay_last": 4}, "service"),
        ({"price_complaints": 1, "days_since_complaint": 20, "discounted_visits": 0.8}, "price"),
        (
            {"dropped_categories_1h": 2, "kept_categories_1h": 1, "visit_days_since_purchase": 5},
            "competition",
        ),
        ({"market_change_1h": 0.6, "change_against_market_1h": 1.0}, "market"),
        ({}, "own life cycle"),
        ({"service_complaints": 1, "days_since_complaint": 400}, "own life cycle"),
        ({"market_change_1h": 0.6, "change_against_market_1h": 0.2}, "own life cycle"),
    ],
    ids=[
        "complaint",
        "return",
        "service",
        "delivery",
        "late",
        "price",
        "rival",
        "market",
        "nothing",
        "old",
        "personal",
    ],
)
def test_a_cause_is_named_where_enough_speaks_for_it(person: Mapping[str, float], cause: str) -> None:
    told = why(person)
    assert told.cause == cause
    assert told.text["en"].startswith(f"{CAUSES[told.cause]['en']}: ")
    assert told.text["zh-CN"].startswith(f"{CAUSES[told.cause]['zh-CN']}：")
    assert (told.strength >= reasons.ENOUGH) == (cause != "own life cycle")


def test_more_must_speak_for_a_cause_where_somebody_bought_only_once() -> None:
    names = (*SERVICE_NAMES, "frequency")
    complaint = {"service_complaints": 1, "days_since_complaint": 20}
    assert why({**complaint, "frequency": 2}, names=names).cause == "service"
    assert why({**complaint, "frequency": 1}, names=names).cause == "own life cycle"
    assert why({**complaint, "frequency": 1, "open_complaints": 1}, names=names).cause == "service"


def test_evidence_is_quoted_in_words() -> None:
    told = why({"service_complaints": 1, "days_since_complaint": 20})
    assert told.text == {"en": "service: complained 1 time about service", "zh-CN": "服务：投诉服务问题1次"}


def test_without_records_that_could_tell_the_cause_is_unknown_and_says_what_was_not_judged() -> None:
    told = why({}, names=("recency", "overdue_ratio"))
    assert told.cause == "unknown"
    assert told.text["en"].startswith("unknown: no record could tell")
    assert told.unjudged == ("product", "service", "price", "competition", "market")


def test_with_records_nothing_is_unjudged() -> None:
    assert why({}).unjudged == ()


def test_the_forecast_tips_the_scales_but_is_no_evidence_alone() -> None:
    push = np.array([[1.0 if name.startswith("return") else 0.0 for name in SERVICE_NAMES]])
    half = {"returns_since_purchase": 1}
    assert why(half).cause == "own life cycle"
    assert why(half, contributions=push).cause == "product"
    assert why({}, contributions=push).cause == "own life cycle"


def test_what_causes_reads_is_told() -> None:
    wanted = reasons.evidence_features(catalogue())
    assert set(wanted) <= set(catalogue())
    assert {piece.tells for piece in EVIDENCE} <= set(wanted), "a feature that evidence needs was renamed"
    assert reasons.evidence_features(("recency",)) == ("recency",)
