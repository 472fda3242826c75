"""The lists say who, how sure, how much, why, what to do; nobody stands on them with two arms, and noise does not move
them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from corner_shop import AS_OF, Formula, Shop, tables

from models import economics, plan
from serving import dispositions, lists, plainly, publish, score
from serving.publish import Published

NAMES = ("early-warning", "retention", "win-back")

PROMISED = (
    *("rank", "customer_id", "risk_band", "churn_probability", "expected_spend", "spend_lower", "spend_upper", "clv"),
    *("value_at_risk", "last_order", "silence_days", "usual_gap_days", "stage", "action", "owner", "expected_profit"),
    *("held_out", "as_of", "bundle", "status", "why_en", "why_zh", *plainly.REASON_COLUMNS),
)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_what_a_list_promises(listed: tuple[Shop, Published], name: str) -> None:
    rows = listed[1].rows(name)
    assert set(PROMISED) <= set(rows.columns)
    assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
    assert rows["customer_id"].is_unique
    assert not rows["held_out"].any()
    assert set(rows["as_of"]) == {"2025-09-01"}
    assert set(rows["bundle"]) == {"b-1"}
    assert (rows["action"].notna() | rows["no_action_en"].notna()).all()
    assert (rows["action"].notna() == rows["action_zh"].notna()).all()


def test_a_list_is_as_long_as_asked_after_the_hold_out(listed: tuple[Shop, Published]) -> None:
    published = listed[1]
    about = published.summary["lists"]
    assert all(about[name]["shown"] <= 40 for name in NAMES)
    assert about["retention"]["shown"] >= 36
    whole = about["win-back"]["shown"] + about["win-back"]["held_out"]
    assert about["win-back"]["held_out"] / whole == pytest.approx(0.2, abs=0.04)


def test_nobody_has_two_arms(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    shown = pd.concat([published.rows(name)["customer_id"] for name in NAMES])
    assert not set(shown) & set(published.held_out["customer_id"])
    with shop.ledger() as book:
        arms = book.assignments().set_index("customer_id")["arm"]
    assert set(arms.index) == set(shown) | set(published.held_out["customer_id"])
    assert set(arms[list(set(shown))]) == {"treated"}


def test_the_warning_ranks_by_value_at_risk_but_not_those_who_are_gone(listed: tuple[Shop, Published]) -> None:
    rows = listed[1].rows("early-warning")
    main = rows[rows["section"] == "value at risk"]
    assert main["value_at_risk"].is_monotonic_decreasing
    assert (rows["value_at_risk"] - rows["churn_probability"] * rows["margin_if_active"]).abs().max() < 1e-9
    assert rows["days_to_lapse"].between(0, 120).all()


def test_those_as_good_as_gone_get_no_warning(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop({"windows": {"horizon": 60, "active": 300}})
    forecasts = Formula(shop.config.span).forecast(shop.store, AS_OF)
    warned = shop.score().rows("early-warning")
    assert (forecasts["churn_probability"] > lists.GONE).any()
    cut = max(lists.GONE, forecasts["churn_probability"].quantile(0.99))
    assert (warned.loc[warned["section"] == "value at risk", "churn_probability"] < cut).all()


def test_one_time_buyers_have_their_own_section(listed: tuple[Shop, Published]) -> None:
    rows = listed[1].rows("early-warning")
    once = rows["section"] == "one-time buyers"
    assert rows.loc[once, "second_purchase_probability"].notna().all()
    assert rows.loc[~once, "second_purchase_probability"].isna().all()
    assert np.allclose(rows.loc[once, "second_purchase_probability"], 1 - rows.loc[once, "churn_probability"])


def test_a_risk_that_rose_is_shown_apart(shop: Shop) -> None:
    first = shop.score()
    second = shop.score(AS_OF + 14)
    rows = second.rows("early-warning")
    before = first.forecasts.set_index("customer_id")["churn_probability"]
    assert np.allclose(rows["probability_before"].fillna(-1), before.reindex(rows["customer_id"]).fillna(-1))
    rising = rows[rows["section"] == "rising"]
    odds = rising["churn_probability"] / (1 - rising["churn_probability"])
    odds_before = rising["probability_before"] / (1 - rising["probability_before"])
    assert (odds >= lists.RISEN * odds_before - 1e-9).all()


def test_the_retention_list_is_a_plan_within_its_limits(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop({"economics": {"contact_cost": 0.5, "budget": 1.2, "capacity": 9}})
    published = shop.score()
    rows = published.rows("retention")
    assert len(rows) > 3
    assert rows["cost"].sum() <= 1.2 + 1e-9
    assert rows["owner"].value_counts().max() <= 9
    assert (rows["expected_profit"] > 0).all()
    p, value = rows["churn_probability"], rows["margin_if_active"]
    assert np.allclose(rows["expected_profit"], p * (1 - p) * value * plan.Theta().mean - rows["cost"])
    sums = published.summary["plan"]
    assert 0 <= sums["gap"] < 0.2
    assert set(sums["prices"]) >= {"budget", "length"}


def test_an_action_of_the_settings_with_its_capacity(new_shop: Callable[..., Shop]) -> None:
    """A shop's own action, free and better than all: everybody gets it, but no more than its capacity."""
    own = {"name": "x", "channel": "app", "cost": 0.001, "owner": "bot", "capacity": 5}
    shop = new_shop({"economics": {"contact_cost": 0.5, "actions": {}}})
    text = (
        shop.config.path.read_text()
        + '\n[economics.actions.push]\nchannel = "app"\ncost = 0.001\nowner = "bot"\ncapacity = 5\n'
    )
    shop.config.path.write_text(text)
    from features import config as settings

    rows = Shop(settings.load(shop.config.path), shop.store).score().rows("retention")
    assert own["capacity"] == (rows["action"] == "push").sum()
    assert set(rows.loc[rows["action"] == "push", "rule"]) == {"own"}


def test_the_worth_keeping_sum_can_be_read_off_each_row(listed: tuple[Shop, Published]) -> None:
    rows = listed[1].rows("win-back")
    assert set(rows["decision"]) == {economics.RECOVER}
    again = economics.worth_keeping(
        rows["return_probability"],
        rows["value_back"],
        theta=plan.Theta().mean,
        cost=rows["cost"],
        keeping=rows["keeping"],
        times_lost=np.ones(len(rows)),
    )
    for term in ("lift", "recover", "let_lapse"):
        assert np.allclose(rows[term], getattr(again, term))
    assert np.allclose(rows["expected_profit"], rows["recover"] - rows["let_lapse"].clip(lower=0))
    assert (rows["times_lost"] >= 1).all()


def test_who_stays_who_is_new_who_is_back_who_left(shop: Shop) -> None:
    weeks = [shop.score(AS_OF + 7 * k) for k in range(3)]
    for name in NAMES:
        shown = [set(one.rows(name)["customer_id"]) for one in weeks]
        held = [set(one.held_out.loc[one.held_out["list"] == name, "customer_id"]) for one in weeks]
        rows = weeks[2].rows(name).set_index("customer_id")["status"]
        assert set(rows.index[rows == "stays"]) == shown[2] & shown[1]
        assert set(rows.index[rows == "back"]) == (shown[2] - shown[1]) & shown[0]
        assert set(rows.index[rows == "new"]) == shown[2] - shown[1] - shown[0]
        left = weeks[2].left[weeks[2].left["list"] == name]
        assert set(left["customer_id"]) == shown[1] - shown[2] - held[2]
        assert weeks[2].summary["lists"][name]["stays"] == len(shown[2] & shown[1])
    assert set(weeks[0].rows("retention")["why_en"]) == {"first list"}
    assert "on the list 3 times in a row" in set(weeks[2].rows("retention")["why_en"])


def test_left_because_they_bought_again(shop: Shop) -> None:
    shop.score()
    week = shop.score(AS_OF + 7)
    left = week.left[(week.left["list"] == "early-warning") & (week.left["why"] == "bought again")]
    assert len(left)
    for customer in left["customer_id"]:
        days = shop.store.customer(customer).tables["purchases"].day
        assert ((days > AS_OF) & (days <= AS_OF + 7)).any()


def test_arms_last_from_week_to_week(shop: Shop) -> None:
    weeks = [shop.score(AS_OF + 7 * k) for k in range(4)]
    arms: dict[str, bool] = {}
    for one in weeks:
        for customer in one.held_out["customer_id"]:
            assert arms.setdefault(customer, True)
        for name in NAMES:
            assert not any(arms.setdefault(customer, False) for customer in one.rows(name)["customer_id"])


def test_noise_does_not_reshuffle_the_list(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """With incumbents favoured, at least as many stay as without."""

    def kept(factor: float, day: int) -> int:
        monkeypatch.setattr(lists, "INCUMBENT", factor)
        return shop.score(day).summary["lists"]["retention"]["stays"]

    shop.score()
    favoured = kept(1.25, AS_OF + 7)
    with shop.ledger() as book:
        assert len(book.publications()) == 2
    monkeypatch.setattr(score, "VERSION", 99)
    assert kept(1.0, AS_OF + 7) <= favoured


def test_consent_and_the_fatigue_cap_are_kept(new_shop: Callable[..., Shop]) -> None:
    data = tables()
    people = data["customers"].set_index("customer_id")
    often = data["customers"]["customer_id"].iloc[::3]
    data["campaigns"] = pd.DataFrame(
        {
            "customer_id": np.repeat(often, 3),
            "at": "2025-08-20",
            "campaign_id": "c",
            "channel": "email",
            "control": False,
        }
    )
    published = new_shop(data=data).score()
    for name in ("retention", "win-back"):
        rows = published.rows(name)
        assert not set(rows["customer_id"]) & set(often)
        for channel in ("email", "phone", "sms"):
            asked = rows.loc[rows["channel"] == channel, "customer_id"]
            assert people.loc[asked, f"consent_{channel}"].all()


def test_vips_may_be_exempt_from_the_hold_out(new_shop: Callable[..., Shop]) -> None:
    data = tables()
    data["customers"]["vip"] = np.arange(len(data["customers"])) % 2 == 0
    vips = set(data["customers"].loc[data["customers"]["vip"], "customer_id"])
    published = new_shop({"serving": {"list_length": 40, "hold_out": 0.5, "exempt_vip": True}}, data).score()
    assert not vips & set(published.held_out["customer_id"])
    for name in NAMES:
        about = published.summary["lists"][name]
        assert about["exempt"] == len(vips & set(published.rows(name)["customer_id"]))
        assert about["held_out"] > 0


def test_a_bare_log_gives_lists_that_say_what_they_lack(new_shop: Callable[..., Shop]) -> None:
    published = new_shop(data={"purchases": tables()["purchases"][["customer_id", "at", "amount"]]}).score()
    assert {"6.22", "6.3", "6.1"} <= set(published.summary["rules_off"])
    assert published.summary["rules_off"]["6.3"] == ["surveys or complaints"]
    said = " ".join(one["en"] for one in published.summary["lists"]["retention"]["says"])
    assert "complaints" in said, "which tables would bring more"
    assert "6.22" not in said, "a rule's number means nothing to whoever reads the list"
    assert len(published.rows("retention"))


def test_a_customer_due_for_a_follow_up_says_when(listed: tuple[Shop, Published]) -> None:
    shop, published = listed
    rows = published.rows("early-warning")
    row = {
        "list_id": published.list_id("early-warning"),
        "customer_id": rows["customer_id"].iloc[0],
        "at": "2025-09-02",
        "what": "unreachable",
        "follow_up_on": "2025-09-10",
    }
    with shop.ledger() as book:
        assert dispositions.take(book, [row]).taken == 1
    week = shop.score(AS_OF + 7).rows("early-warning").set_index("customer_id")["follow_up_on"]
    assert week.get(row["customer_id"], "2025-09-10") == "2025-09-10"
    assert week.drop(row["customer_id"], errors="ignore").isna().all()


@pytest.mark.parametrize(
    ("p", "base", "band"),
    [
        (0.34, 0.34, "usual"),
        (0.42, 0.34, "raised"),
        (0.6, 0.34, "high"),
        (0.75, 0.34, "very high"),
        (0.97, 0.8, "very high"),
    ],
)
def test_risk_bands_are_relative_to_the_base_rate(p: float, base: float, band: str) -> None:
    assert lists.band(p, base) == band


def test_the_same_day_in_two_places_gives_the_same_bytes(new_shop: Callable[..., Shop]) -> None:
    one, two = new_shop().score(), new_shop().score()
    for path in sorted(one.folder.iterdir()):
        assert path.read_bytes() == (two.folder / path.name).read_bytes(), path.name


def test_rules_of_ones_own(new_shop: Callable[..., Shop]) -> None:
    shop = new_shop()
    (shop.config.root / "actions.toml").write_text(
        '[action.gift]\nchannel = "letter"\ncost = 0.01\nowner = "ann"\nen = "A gift"\n"zh-CN" = "礼物"\n'
        '[[rule]]\nid = "1"\nname = "all"\naction = "gift"\n'
    )
    published = shop.score()
    assert {one for name in NAMES for one in published.rows(name)["action"]} == {"gift"}
    assert publish.current(shop.config.var).id == published.id


@pytest.mark.parametrize(("rule", "word"), [("RFM logistic", "how recently"), ("a new one", "a new one")])
def test_a_rule_in_the_models_place_is_named_and_not_called_a_base_rate(
    listed: tuple[Shop, Published], rule: str, word: str
) -> None:
    inputs = SimpleNamespace(skill=False, rule=rule)
    said = lists._says_whose(inputs)  # type: ignore[arg-type]
    assert word in said[0]["en"]
    assert "base rate" not in said[0]["en"]
    assert lists._says_whose(SimpleNamespace(skill=True, rule=None)) == []  # type: ignore[arg-type]
