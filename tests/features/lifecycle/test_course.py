"""Stage history, transitions and durations against tables small enough to count on paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from little_shop import buys, shop

from features.errors import UsageError
from features.lifecycle import course, taxonomy
from features.lifecycle.course import Course, spells_of, steps, survival

SIMPLE = taxonomy.load()["simple"]
PROSPECT, LOST, LOYAL, NEW = range(4)
CODES = np.array(
    [
        [NEW, NEW, LOYAL, LOYAL, LOYAL],
        [NEW, LOYAL, LOST, LOST, LOYAL],
        [-1, -1, NEW, NEW, NEW],
    ],
    np.int8,
)
"""Three customers at five cutoffs, 28 days apart; the third came after the second cutoff."""


@pytest.fixture
def walked() -> Course:
    made = Course.empty(SIMPLE, [0, 28, 56, 84, 112])
    made.add(CODES[:1])
    made.add(CODES[1:])
    return made


def test_counts_by_cutoff_leave_out_who_was_not_known(walked: Course) -> None:
    assert walked.counts[:, NEW].tolist() == [2, 1, 1, 1, 1]
    assert walked.counts.sum(axis=1).tolist() == [2, 2, 3, 3, 3]


def test_transition_shares_and_their_intervals(walked: Course) -> None:
    """From new: first customer new-new, new-loyal; second new-loyal; third new-new twice: 5 steps, 3 stay: 3/5.

    Over the customers (stays, steps) = (1, 2), (0, 1), (2, 2), the residuals n_ij - .6 n_i are -.2, -.6, .8: their
    squares sum to .04 + .36 + .64 = 1.04, so the standard error is sqrt(1.04) / 5 = .204 and the 90 % interval .6
    +- .335."""
    table = walked.matrix().set_index(["from", "to"])
    stay = table.loc[("new", "new")]
    assert stay["steps"] == 3
    assert stay["share"] == pytest.approx(0.6)
    assert stay["low"] == pytest.approx(0.6 - 1.645 * np.sqrt(1.04) / 5, abs=1e-3)
    assert stay["high"] == pytest.approx(0.6 + 1.645 * np.sqrt(1.04) / 5, abs=1e-3)
    assert table.loc[("lost", "loyal")]["share"] == pytest.approx(0.5)
    assert table.groupby("from").share.sum().to_numpy() == pytest.approx(1.0)


def test_spells_are_runs_and_know_whether_both_ends_were_seen() -> None:
    who, start, length, stage, closed = spells_of(CODES)
    told = list(zip(who.tolist(), start.tolist(), length.tolist(), stage.tolist(), closed.tolist(), strict=True))
    assert told == [
        (0, 0, 2, NEW, True), (0, 2, 3, LOYAL, False),
        (1, 0, 1, NEW, True), (1, 1, 1, LOYAL, True), (1, 2, 2, LOST, True), (1, 4, 1, LOYAL, False),
        (2, 2, 3, NEW, False),
    ]  # fmt: skip


def test_time_in_a_stage_leaves_out_spells_whose_beginning_was_not_seen(walked: Course) -> None:
    """Loyal: three spells seen to begin; one ended after one step, two are open after 3 and 1. S(1) = 1 - 1/3 and
    no more ends: the median is not reached. Lost: one spell of two steps that ended: median 56 days."""
    table = walked.durations().set_index("stage")
    assert (table.loc["loyal", "spells"], table.loc["loyal", "ended"]) == (3, 1)
    assert np.isnan(table.loc["loyal", "median"])
    assert table.loc["lost", "median"] == 56
    assert table.loc["new", "spells"] == 1, "the third customer's; the others' began before the first cutoff"


def test_survival_is_kaplan_meier_with_greenwood() -> None:
    """Ended after 1, 2 and 3 steps: 2, 1, 1; cut off after 2: 1. S = 3/5, then 3/5 x 2/3 = 2/5, then 0. Greenwood's
    sum up to step 2 is 2/(5 x 3) + 1/(3 x 2) = .3; on the log-log scale the spread is 1.645 sqrt(.3) / |log .4|."""
    curve, low, high = survival(np.array([0, 2, 1, 1]), np.array([0, 0, 1, 0]))
    assert curve == pytest.approx([1.0, 0.6, 0.4, 0.0])
    spread = 1.6448536 * np.sqrt(0.3) / abs(np.log(0.4))
    assert low[2] == pytest.approx(0.4 ** np.exp(spread))
    assert high[2] == pytest.approx(0.4 ** np.exp(-spread))


def test_cutoffs_end_today_and_stay_on_the_log() -> None:
    assert steps(100, 40, 28, 13) == [44, 72, 100]
    assert steps(100, 0, 28, 2) == [72, 100]


def test_history_of_a_real_store_is_one_row_a_spell_with_evidence(tmp_path) -> None:
    """Ann buys on 1 and 20 January, Bob on 1 January only, Cat on 31 March. Active window 40 days; cutoffs 1 and 31
    January, 1 and 31 March (30 days apart)."""
    rows = [*buys("Ann", "2024-01-01", "2024-01-20"), *buys("Bob", "2024-01-01"), *buys("Cat", "2024-03-31")]
    config, store = shop(tmp_path, {"purchases": rows}, windows={"horizon": 20, "active": 40})
    told: list[pd.DataFrame] = []
    cutoffs = steps(store.last_day, store.first_day, 30, 13)
    found = course.follow(
        store,
        cutoffs,
        config.span,
        taxonomy.load(),
        ["simple"],
        edges=(1.0, 2.0),
        spells=lambda _, frame: told.append(frame),
    )
    history = pd.concat(told).sort_values(["customer_id", "since"])
    history = history.assign(since=history.since.dt.date.map(str), until=history.until.dt.date.map(str, na_action=None))
    assert history[["customer_id", "stage", "since", "until"]].to_numpy().tolist() == [
        ["Ann", "new", "2024-01-01", "2024-01-31"],
        ["Ann", "loyal", "2024-01-31", "2024-03-01"],
        ["Ann", "lost", "2024-03-01", "NaT"],
        ["Bob", "new", "2024-01-01", "2024-03-01"],
        ["Bob", "lost", "2024-03-01", "NaT"],
        ["Cat", "new", "2024-03-31", "NaT"],
    ]
    assert history.evidence.tolist()[1] == "bought on 2 days, last 11 days ago"
    assert found["simple"].pairs.sum() == 6


def test_a_course_needs_two_cutoffs(tmp_path) -> None:
    config, store = shop(tmp_path, {"purchases": buys("Ann", "2024-01-01")})
    with pytest.raises(UsageError):
        course.follow(store, [store.last_day], config.span, taxonomy.load(), ["simple"], edges=(1.0, 2.0))
