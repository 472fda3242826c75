"""The churn definition workbench against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from little_shop import buys, shop

from features import define
from features.define import Silence
from features.windows import Windows


def test_life_table_counts_the_silent_as_censored() -> None:
    """Silences ended after 2, 2 and 5 days; one was still open after 3. At risk on day 2: four, of whom two end:
    S(2) = 1/2. On day 3 two are at risk and none ends. On day 5 one is at risk and it ends: S(5) = 0."""
    silence = Silence(np.bincount([2, 2, 5], minlength=6), np.bincount([3], minlength=6))
    assert silence.at_risk.tolist() == [4, 4, 4, 2, 1, 1]
    assert silence.silent.tolist() == [1.0, 1.0, 0.5, 0.5, 0.5, 0.0]
    assert silence.returns(0, 2) == 0.5
    assert silence.returns(2, 3) == 1.0
    assert np.isnan(silence.returns(9, 3)), "nobody was observed silent for nine days"
    assert silence.by(0.5) == 2
    assert silence.by(0.9) == 5


def test_second_purchase_fades_where_its_chance_falls_below_the_mark() -> None:
    """100 first silences: 60 end on day 1, 40 are open for 20 days. Within the next 5 days: from day 0 60 %, from day 1
    on nobody comes back."""
    silence = Silence(np.bincount([1] * 60, minlength=21), np.bincount([20] * 40, minlength=21))
    assert silence.returns(0, 5) == pytest.approx(0.6)
    assert silence.less_likely_than(0.05, 5) == 1


@pytest.fixture
def two_customers(tmp_path):
    """Ann buys on days 1, 11, 21, 31, 41 of 2024 and is then silent; Bob on 1, 31, 61, 91. The log ends on day 91, the
    31st of March."""
    days = {"Ann": (1, 11, 21, 31, 41), "Bob": (1, 31, 61, 91)}
    at = np.datetime64("2023-12-31")
    rows = [row for who, ones in days.items() for row in buys(who, *(str(at + n) for n in ones))]
    return shop(tmp_path, {"purchases": rows}, windows={"horizon": 10, "active": 20})


def test_candidate_labels_are_those_of_a_calendar_and_a_pencil(two_customers) -> None:
    """H 10, A 20, closed cutoffs half a horizon apart: days 81, 76, 71, 66, 61, 56.

    At risk (bought in the 20 days up to then): 81 nobody (Bob's last was 61: 20 days ago); 76, 71, 66, 61: Bob; 56:
    Ann (41, 15 days ago). Of these Bob buys on 91, in (81, 91] only, so he churns at 76, 71, 66 and 61; Ann churns
    at 56. So every cutoff with anybody has churn rate 1. The cutoffs whose second horizon is closed by day 91 are
    71, 66, 61 and 56; who then churned buys in (t+10, t+20] at 71 alone: (81, 91] holds 91. One of four churned is
    too early: 1/4. Money in the horizon: Bob's 91 is in (81, 91] of cutoff 81, where he is not at risk, and his 61
    in (56, 66] of cutoff 56, where he is not either (his 31 was 25 days ago); so those at risk bring 0 of 20."""
    config, store = two_customers
    found = define.run(store, config)
    one = next(c for c in found.candidates if (c.horizon, c.active) == (10, 20))
    assert one.cutoffs == 6
    assert one.at_risk == pytest.approx(5 / 6)
    assert one.churn_rate == 1.0
    assert one.too_early == pytest.approx(1 / 4)
    assert one.seen == 0.0
    assert one.at_stake == pytest.approx((10 + 10) / 6), "Bob, whose 61 lies in the 10 days up to 66 and up to 61"


def test_page_names_span_one_timers_and_an_argument(two_customers) -> None:
    config, store = two_customers
    page = "\n".join(define.run(store, config).lines)
    assert "2 customers, purchases from 2024-01-01 to 2024-03-31" in page
    assert "One-time buyers: 0.0%" in page
    assert "Argued for: horizon" in page


def test_rows_after_the_as_of_day_do_not_exist(two_customers) -> None:
    config, store = two_customers
    day = store.last_day - 30  # 1 March: Bob's last purchase is unknown
    found = define.run(store, config, as_of=day)
    assert found.span[1] == day
    assert int(found.silence.ended.sum()) == 4 + 2, "Ann's four gaps and two of Bob's"


def test_a_log_too_short_for_any_window_says_so(tmp_path) -> None:
    config, store = shop(tmp_path, {"purchases": buys("Ann", "2024-01-01", "2024-01-02")})
    found = define.run(store, config)
    assert found.chosen is None
    assert "too short" in found.lines[-1]


def test_pairs_that_miss_their_marks_say_by_what() -> None:
    nothing = dict.fromkeys(
        ("at_risk", "swing", "partial", "own_cadence", "agreement", "at_stake", "at_stake_share"), 0.0
    )
    bad = define.Candidate(28, 56, 2, churn_rate=0.95, lowest=0.9, highest=1.0, too_early=0.3, seen=0.8, **nothing)
    assert len(bad.faults()) == 4
    assert bad.misses == pytest.approx(1.0 + (0.95 / 0.9 - 1) + 1.0 + 1 / 3)
    good = define.Candidate(91, 182, 6, churn_rate=0.5, lowest=0.4, highest=0.6, too_early=0.1, seen=0.95, **nothing)
    assert good.faults() == []
    assert define._argue([bad, good]) is good


def test_real_log_argues_for_a_pair_with_little_wrong(real_log, tmp_path) -> None:
    """CDNOW: half bought once (51.0 % of the customers have one purchase day), and silence of half a year mostly
    lasts.
    """
    import pandas as pd

    log = pd.read_parquet(real_log("cdnow") / "transactions.parquet").rename(columns={"ordered_at": "at"})
    config, store = shop(tmp_path, {"purchases": log[["customer_id", "at", "amount"]]})
    found = define.run(store, config)
    assert found.one_time_share == pytest.approx(0.510, abs=0.001)
    assert found.silence.returns(182, 91) < 0.13
    assert found.chosen is not None
    assert found.configured == Windows(91, 182)
