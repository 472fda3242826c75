"""Every feature's value for Ann, worked out by hand from her story: the arithmetic stands beside the name."""

from __future__ import annotations

from math import exp, log, nan, sqrt

import numpy as np
import pytest
from story import CUTOFF, SHOP, WINDOWS

from features import catalogue, laws

GAPS = (320, 28, 6, 3)
MEAN, STD = 357 / 4, sqrt(103229 / 4 - (357 / 4) ** 2)
EVERYBODY = (log(320) + log(28) + log(6) + log(3) + log(30) + log(350)) / 6
TYPICAL = exp((log(320) + log(28) + log(6) + log(3) + 2 * EVERYBODY) / 6)
R, ALPHA, A, B = (laws.PROCESS[name] for name in ("r", "alpha", "a", "b"))


def divergence(p: tuple[float, ...], q: tuple[float, ...]) -> float:
    """Jensen-Shannon, term by term."""
    both = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return sum(a * log(a / m) / 2 for a, m in zip(p + q, both + both, strict=True) if a > 0)


def hypergeometric(a: float, b: float, c: float, z: float) -> float:
    """Gauss's series, summed up."""
    term, total = 1.0, 1.0
    for n in range(500):
        term *= (a + n) * (b + n) / (c + n) / (n + 1) * z
        total += term
    return total


ALIVE = 1 / (1 + A / (B + 3) * ((ALPHA + 360) / (ALPHA + 357)) ** (R + 4))
SHRINK = ((ALPHA + 360) / (ALPHA + 368)) ** (R + 4) * hypergeometric(R + 4, B + 4, A + B + 3, 8 / (ALPHA + 368))

RHYTHM = {
    "recency": 3,
    "purchase_days_eighth_h": 0,
    "purchase_days_quarter_h": 0,
    "purchase_days_half_h": 1,  # 3 days ago
    "purchase_days_1h": 2,  # 3 and 6
    "purchase_days_2h": 3,  # and 12
    "purchase_days_4h": 3,
    "fading_purchase_days_1h": 2 / 8 + 5 / 8,
    "fading_purchase_days_4h": 20 / 32 + 26 / 32 + 29 / 32,
    "purchase_days_change_quarter_h": 0 / 1,
    "purchase_days_change_half_h": 1 / 1,
    "purchase_days_change_1h": 2 / 1,
    "purchase_days_change_2h": nan,  # nothing 16 to 31 days ago
    "purchase_days_slope_1h": (-2.5 + 0.5) / 42,  # days 1 and 4 of 0 to 7, around 3.5
    "purchase_days_slope_4h": (3.5 + 9.5 + 12.5) / 2728,  # days 19, 25 and 28 of 0 to 31, around 15.5
    "active_parts_2h": 3 / 8,
    "active_parts_4h": 3 / 8,
    "gap_mean": MEAN,
    "gap_mean_recent_2h": (28 + 6 + 3) / 3,
    "gap_mean_recent_4h": (28 + 6 + 3) / 3,
    "gap_median": (6 + 28) / 2,
    "gap_long": 28 + 0.7 * (320 - 28),
    "gap_short": 3 + 0.3 * (6 - 3),
    "gap_longest": 320,
    "gap_last": 3,
    "gap_before_last": 6,
    "gap_std": STD,
    "gap_variation": STD / MEAN,
    "burstiness": (STD - MEAN) / (STD + MEAN),
    "gap_growth": 3 / 17,
    "gap_drift_1h": (6 + 3) / 2 / MEAN,
    "gap_drift_2h": (28 + 6 + 3) / 3 / MEAN,
    "overdue_ratio": 3 / MEAN,
    "overdue_ratio_median": 3 / 17,
    "overdue_z": (3 - MEAN) / STD,
    "overdue_against_longest": 3 / 320,
    "gaps_outlasted": 1 / 4,  # the gap of 3 is equalled
    "gap_hazard_quarter_h": 0 / 3,  # of 6, 28 and 320 none ended by day 5
    "gap_hazard_1h": 1 / 3,  # the 6 ended by day 11
    "quick_returns": 2 / 4,
    "favourite_weekday_share": 2 / 5,  # Fri, Wed, Wed, Tue, Fri
    "weekend_share": 0 / 5,
    "season_position": (31 + 28 + 31 + 30 + 18) / 365,
    "purchase_days_year_ago_half_h": 0,  # 361 to 364 days ago
    "purchase_days_year_ago_1h": 1,  # 357 to 364
    "coming_season_share_1h": 1 / 5,
    "typical_gap": TYPICAL,
    "overdue_against_typical": 3 / TYPICAL,
}
MONEY = {
    "spend_eighth_h": 0,
    "spend_quarter_h": 0,
    "spend_half_h": 60,
    "spend_1h": 60 + 40,
    "spend_2h": 60 + 40 + 30,
    "spend_4h": 60 + 40 + 30,
    "spend_total": 160,
    "fading_spend_1h": 40 * 2 / 8 + 60 * 5 / 8,
    "fading_spend_4h": 30 * 20 / 32 + 40 * 26 / 32 + 60 * 29 / 32,
    "spend_change_quarter_h": 0 / 60,
    "spend_change_half_h": 60 / 40,
    "spend_change_1h": 100 / 30,
    "spend_change_2h": nan,
    "spend_slope_1h": (40 * -2.5 + 60 * 0.5) / 42,
    "spend_slope_4h": (30 * 3.5 + 40 * 9.5 + 60 * 12.5) / 2728,
    "spend_rate": 160 / 361,
    "spend_year_ago_half_h": 0,
    "spend_year_ago_1h": 10,
    "ticket_last": 60,
    "ticket_first": 10,
    "ticket_mean": 160 / 5,
    "ticket_mean_recent_1h": 100 / 2,
    "ticket_mean_recent_4h": 130 / 3,
    "ticket_median": 30,
    "ticket_largest": 60,
    "ticket_smallest": 10,
    "ticket_variation": sqrt((22**2 + 12**2 + 2**2 + 8**2 + 28**2) / 5) / 32,
    "ticket_last_ratio": 60 / 32,
    "ticket_change_1h": 50 / (60 / 3),
    "ticket_change_2h": (130 / 3) / (30 / 2),
    "largest_ticket_share": 60 / 160,
    "orders_per_day": 6 / 5,
    "discount_share": 15 / (150 + 15),  # the first purchase's discount is not known
    "discount_share_recent_1h": 10 / (100 + 10),
    "discount_share_recent_4h": 10 / (130 + 10),
    "discounted_visits": 2 / 4,
    "days_since_full_price": 6,
    "margin_1h": 100 - 50,
    "margin_4h": 130 - 65,
    "margin_share": 80 / 160,
    "unit_price": 160 / 20,
    "unit_price_change_1h": (100 / 14) / (60 / 6),
    "unit_price_change_2h": (130 / 17) / (30 / 3),
}
BASKET = {
    "lines_per_visit": 10 / 5,
    "lines_last": 4,
    "basket_change_1h": (6 / 2) / (4 / 3),
    "basket_change_2h": (8 / 3) / (2 / 2),
    "pieces_per_visit": 20 / 5,
    "products": 4,
    "products_recent_1h": 4,
    "products_recent_4h": 4,
    "new_products_1h": 2 / 6,  # r and s
    "new_products_4h": 3 / 8,  # and q
    "repeated_products": 6 / 10,
    "categories": 3,
    "categories_recent_half_h": 3,
    "categories_recent_1h": 3,
    "categories_recent_4h": 3,
    "categories_change_1h": 3 / 2,
    "categories_change_2h": nan,
    "new_categories_1h": 1,  # z
    "new_categories_4h": 2,  # and y
    "days_since_new_category": 6,
    "dropped_categories_1h": 0,
    "kept_categories_1h": 2,
    "mix_shift_1h": divergence((1 / 2, 1 / 2, 0), (1 / 6, 2 / 6, 3 / 6)),
    "category_entropy": -(0.4 * log(0.4) + 2 * 0.3 * log(0.3)),
    "favourite_category_share": 4 / 10,
    "favourite_category_spend_share": (10 + 20 + 15 + 15) / 160,
    "category_concentration_4h": (2**2 + 3**2 + 3**2) / 8**2,
    "channels": 2,
    "favourite_channel_share": 3 / 5,
    "channel_changed": 1,
    "stores": 2,
    "favourite_store_share": 3 / 5,
    "store_changed": 0,
}
SERVICE = {
    "return_days": 2,
    "return_days_recent_1h": 1,
    "return_days_recent_4h": 2,
    "returned_1h": 15,
    "returned_4h": 15 + 5,
    "return_share": 20 / 160,
    "days_since_return": 2,
    "returns_since_purchase": 1,
    "complaints": 3,
    "complaints_recent_1h": 2,
    "complaints_recent_4h": 3,
    "complaint_rate": 3 / 5,
    "days_since_complaint": 2,
    "complaints_since_purchase": 1,
    "open_complaints": 3 - 1,
    "unanswered_complaints": 3 - 2,
    "open_complaint_days": (5 + 2) / 2,
    "answer_wait": (2 + 4) / 2,
    "settlement_wait": 10,
    "product_complaints": 1,
    "service_complaints": 1,
    "price_complaints": 0,
    "delivery_complaints": 1,
    "surveys_answered": 3,
    "score_last": 0.2,
    "score_mean": (0.8 + 0.5 + 0.2) / 3,
    "score_mean_recent_4h": (0.5 + 0.2) / 2,
    "score_trend": 0.2 - (0.8 + 0.5) / 2,
    "score_lowest": 0.2,
    "days_since_survey": 1,
    "survey_response": 3 / 4,
    "late_deliveries": 4 / 5,
    "delivery_wait_last": 2,
    "delivery_wait": (1 * 5 + 4 * 2) / 5,
    "delivery_delay_last": 1,
}
RESPONSE = {
    "contacts": 3,  # the one 14 days ago was held out
    "contacts_recent_eighth_h": 0,
    "contacts_recent_1h": 1,
    "contacts_recent_4h": 2,
    "days_since_contact": 1,
    "contacts_since_purchase": 1,
    "open_rate": 2 / 3,
    "click_rate": 1 / 3,
    "redemption_rate": 2 / 3,
    "redemptions_recent_1h": 1,
    "redemptions_recent_4h": 1,
    "days_since_redemption": 6,
    "days_since_open": 8,
    "contact_pressure_1h": 1 / 1,
    "response_drift_1h": (0 / 1) / (2 / 2),
    "contact_cost_4h": 0.2 + 0.1,
    "contact_channels": 2,
}
BROWSING = {
    "visit_days_eighth_h": 0,
    "visit_days_1h": 2,
    "visit_days_4h": 3,
    "days_since_visit": 1,
    "visit_days_change_1h": nan,  # no visit 8 to 15 days ago
    "views_1h": 2 + 4,
    "views_4h": 3 + 2 + 4,
    "searches_1h": 2,
    "searches_4h": 1 + 2,
    "carts_1h": 2 + 1,
    "carts_4h": 1 + 2 + 1,
    "carts_left": 1,
    "visit_days_since_purchase": 1,
    "days_since_cart": 1,
    "conversion_1h": 2 / 2,
    "conversion_4h": 3 / 3,
    "views_per_visit": 9 / 3,
    "checkout_rate": 2 / 4,
    "browsed_categories_1h": 2,
}
LIFE = {
    "tenure": 360,
    "frequency": 5,
    "orders_total": 6,
    "one_time_buyer": 0,
    "days_to_second": 320,
    "active_days": 357,
    "silent_share": 3 / 360,
    "centre_of_life": (360 + 40 + 12 + 6 + 3) / 5 / 360,
    "centre_of_spend": (10 * 360 + 20 * 40 + 30 * 12 + 40 * 6 + 60 * 3) / 160 / 360,
    "purchase_rate": 5 / 361,
    "early_purchase_days_1h": 1,
    "early_spend_1h": 10,
    "pace_since_start_1h": (4 / (361 - 8)) / (1 / 8),
    "reactivations": 2,  # after 320 and 28 days, both beyond A
    "days_since_reactivation": 12,
    "days_since_joined": 370,
    "days_from_joining_to_first": 10,
    "referrals_made": 2,
    "days_since_referral": 20,
    "days_on_record": 401,
}
MARKET = {
    "market_change_1h": 2 / 1,
    "market_season_1h": 1 / 1,  # Ann 360 days ago, Bob 370
    "market_year_on_year_1h": 2 / 1,
    "market_new_share_1h": 0 / 2,
    "market_ticket_change_1h": 50 / 30,
    "market_return_rate_1h": 1 / 2,  # 8 days ago both were at risk; Ann came back
    "change_against_market_1h": 2 / 2,
    "region_return_rate": (1 + 20 * 0.5) / 21,
}
# Twenty average customers (a return rate of 0.5, a spend of 50) are added to every group.
P, Q, UNSEEN = (1 + 10) / 22, (1 + 10) / 21, 0.5
P_SPEND, Q_SPEND, UNSEEN_SPEND = (100 + 1000) / 22, (100 + 1000) / 21, 50
NEIGHBOURS = {
    "product_return_rate": (2 * P + 3 * Q + 3 * UNSEEN) / 8,
    "product_next_spend": (2 * P_SPEND + 3 * Q_SPEND + 3 * UNSEEN_SPEND) / 8,
    "category_return_rate": (2 * P + 3 * Q + 3 * UNSEEN) / 8,
    "category_next_spend": (2 * P_SPEND + 3 * Q_SPEND + 3 * UNSEEN_SPEND) / 8,
    "last_basket_return_rate": (P + Q + 2 * UNSEEN) / 4,
    "store_return_rate": ((1 + 10) / 21 + 2 * (0 + 10) / 21) / 3,
    "store_next_spend": ((100 + 1000) / 21 + 2 * (0 + 1000) / 21) / 3,
    "first_channel_return_rate": (1 + 10) / 21,
    "first_channel_next_spend": (100 + 1000) / 21,
}
PROCESS = {
    "btyd_frequency": 4,
    "btyd_recency": 357,
    "btyd_age": 360,
    "btyd_amount": (20 + 30 + 40 + 60) / 4,
    "alive_probability": ALIVE,
    "expected_purchase_days": (A + B + 3) / (A - 1) * (1 - SHRINK) * ALIVE,
}
EXPECTED = RHYTHM | MONEY | BASKET | SERVICE | RESPONSE | BROWSING | LIFE | MARKET | NEIGHBOURS | PROCESS


@pytest.fixture(scope="module")
def ann() -> dict[str, float]:
    features = tuple(catalogue.catalogue().values())
    found = laws.answers(features, SHOP, [CUTOFF], WINDOWS)
    values = found.of([("ann", CUTOFF)])[0]
    return dict(zip((made.name for made in features), values, strict=True))


def test_every_feature_has_a_worked_example() -> None:
    assert set(EXPECTED) == set(catalogue.catalogue())


@pytest.mark.parametrize("name", EXPECTED)
def test_the_worked_example(name: str, ann: dict[str, float]) -> None:
    np.testing.assert_allclose(ann[name], EXPECTED[name], rtol=2e-6, atol=1e-12, equal_nan=True)
