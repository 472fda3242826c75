"""The simulated shop: repeatable to the byte whatever the chunks, exact in its truth, and like a real log."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import config
from features.errors import UsageError
from training import simulate
from training.shop import log
from training.shop.dice import draw, philox
from training.shop.parameters import SCENARIOS, Parameters, of, table
from training.simulate import ACTIONS, CAUSES, STAGES, World

TABLES = ("purchases", "returns", "complaints", "surveys", "events", "campaigns", "costs", "referrals", "customers")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> simulate.ShopReport:
    return simulate.shop(1500, 7, tmp_path_factory.mktemp("shop"))


def read(report: simulate.ShopReport, name: str) -> pd.DataFrame:
    return pd.read_parquet(report.out / f"{name}.parquet")


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.*"))
    }


# Dice


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_philox_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    """Known answers of Random123, the authors' own implementation (kat_vectors, philox4x32 10)."""
    words = philox(tuple(np.array([word], dtype=np.uint64) for word in counter), key)
    assert tuple(int(word[0]) for word in words) == expected


def test_dice_are_uniform_and_belong_to_their_customer() -> None:
    who = np.arange(40_000)
    dice = draw(3, 5, 8, who)
    assert dice.min() > 0
    assert dice.max() < 1
    assert np.abs(dice.mean(axis=1) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(np.vstack([dice, draw(3, 6, 8, who)])) - np.eye(8)).max() < 0.02
    assert (draw(3, 5, 8, who[7:9]) == dice[:, 7:9]).all()


def test_rows_may_have_dice_of_their_own_week_and_stream() -> None:
    weeks, streams, who = np.array([-3, 10]), np.array([8, 70]), np.array([5, 5])
    mixed = draw(1, weeks, streams, who)
    assert (mixed[:, 0] == draw(1, -3, 8, who[:1])[:, 0]).all()
    assert (mixed[:, 1] == draw(1, 10, 70, who[:1])[:, 0]).all()


# What is written


def test_same_seed_gives_the_same_bytes(written: simulate.ShopReport, tmp_path: Path) -> None:
    again = simulate.shop(1500, 7, tmp_path)
    assert hashes(again.out) == hashes(written.out)


def test_another_seed_gives_another_shop(written: simulate.ShopReport, tmp_path: Path) -> None:
    other = simulate.shop(1500, 8, tmp_path)
    assert hashes(other.out)["purchases.parquet"] != hashes(written.out)["purchases.parquet"]


def test_chunks_change_nothing_but_the_order_of_rows(written: simulate.ShopReport, tmp_path: Path) -> None:
    pieces = simulate.shop(1500, 7, tmp_path, chunk=401)
    for name in (*TABLES, "truth/traits", "truth/spells", "truth/outcomes"):
        one, other = (
            frame.sort_values(list(frame.columns), ignore_index=True)
            for frame in (read(written, name), read(pieces, name))
        )
        pd.testing.assert_frame_equal(one, other)


def test_report_counts_what_was_written(written: simulate.ShopReport) -> None:
    assert set(written.rows) == {*TABLES, "truth/traits", "truth/spells", "truth/outcomes"}
    for name, rows in written.rows.items():
        assert pq.read_metadata(written.out / f"{name}.parquet").num_rows == rows


def test_settings_are_ready_to_use_and_name_every_table(written: simulate.ShopReport) -> None:
    settings = config.load(written.out / "holdfast.toml")
    assert set(settings.tables) == set(TABLES)
    assert all(Path(settings.source_of(name)).exists() for name in TABLES)
    assert settings.span.horizon == 91


def test_no_row_lies_outside_the_log(written: simulate.ShopReport) -> None:
    first, last = (pd.Timestamp(day, unit="D") for day in (written.first_day, written.last_day))
    for name in TABLES[:-1]:
        at = pd.to_datetime(read(written, name)["at"]).dt.normalize()
        assert at.between(first, last).all(), name
    assert (read(written, "purchases")["at"].max().normalize() - last).days > -7


def test_every_row_belongs_to_a_customer(written: simulate.ShopReport) -> None:
    customers = read(written, "customers")
    assert customers["customer_id"].is_unique
    assert len(customers) == 1500
    for name in TABLES[:-1]:
        assert set(read(written, name)["customer_id"].dropna()) <= set(customers["customer_id"]), name
    assert set(read(written, "referrals")["referred_id"]) <= set(customers["customer_id"])


def test_purchases_add_up(written: simulate.ShopReport) -> None:
    lines = read(written, "purchases")
    assert (lines["amount"] > 0).all()
    cents = lines[["amount", "discount", "cost"]].to_numpy() * 100
    np.testing.assert_allclose(cents, np.rint(cents), atol=1e-6)
    share = lines["discount"] / (lines["amount"] + lines["discount"])
    assert share.max() < 0.33, "a promotion and a coupon: 1 - .8 x .85 = .32"
    assert 0.3 < lines["cost"].sum() / lines["amount"].sum() < 0.8
    assert lines.groupby("order_id")["customer_id"].nunique().max() == 1


def test_returns_come_after_their_purchase_and_never_exceed_it(written: simulate.ShopReport) -> None:
    lines, returns = read(written, "purchases"), read(written, "returns")
    assert len(returns) > 50
    bought = lines.groupby("order_id").agg(at=("at", "min"), amount=("amount", "sum"))
    back = returns.groupby("order_id").agg(at=("at", "min"), amount=("amount", "sum")).join(bought, rsuffix="_bought")
    back = back.dropna(subset="amount_bought")  # bought before the log begins
    assert len(back) > 40
    assert (back["amount"] <= back["amount_bought"] + 1e-9).all()
    assert (pd.to_datetime(back["at"]) > back["at_bought"]).all()


def test_complaints_are_answered_before_they_are_resolved(written: simulate.ShopReport) -> None:
    complaints = read(written, "complaints")
    opened, answered, resolved = (pd.to_datetime(complaints[name]) for name in ("at", "answered_at", "resolved_at"))
    assert (answered.dropna() >= opened[answered.notna()]).all()
    both = answered.notna() & resolved.notna()
    assert (answered[both] <= resolved[both]).all()
    assert resolved.isna().any(), "some are still open on the last day"
    assert complaints["satisfied"].isna().equals(resolved.isna())


def test_bad_service_makes_people_wait(tmp_path: Path) -> None:
    report = simulate.shop(20_000, 3, tmp_path, weeks=60)
    complaints = read(report, "complaints")
    grave = complaints[complaints["kind"].isin(["product", "service", "delivery"])]
    opened = pd.to_datetime(grave["at"])
    soon = pd.to_datetime(grave["resolved_at"]) - opened <= pd.Timedelta(days=21)
    week = (opened - pd.Timestamp("2024-01-01")).dt.days // 7
    assert soon[week.between(30, 36)].mean() < 0.7 * soon[week < 25].mean()


def test_control_rows_are_a_random_part_of_each_mailing(written: simulate.ShopReport) -> None:
    contacts = read(written, "campaigns")
    assert contacts["control"].mean() == pytest.approx(Parameters().campaign_control, abs=0.02)
    held = contacts[contacts["control"]]
    assert held[["opened_at", "clicked_at", "redeemed_at"]].isna().all(axis=None)
    assert (held["cost"] == 0).all()
    used = contacts["redeemed_at"].notna()
    assert used.any()
    assert (contacts.loc[used, "action"] == "discount").all()


def test_targeted_mailings_leave_no_control_group(tmp_path: Path) -> None:
    report = simulate.shop(800, 5, tmp_path, scenario="targeted")
    contacts = read(report, "campaigns")
    mailed = contacts[contacts["campaign_id"].str.startswith("mailing")]
    assert len(mailed)
    assert not mailed["control"].any()


def test_the_angry_and_the_delighted_answer_surveys_more_often(tmp_path: Path) -> None:
    """Response bias: among those asked, middling opinions are under-represented in the answers."""
    everyone = replace(Parameters(), surveyed=1.0, answers=1.0, answers_extreme=1.0)
    biased = replace(Parameters(), surveyed=1.0)
    told = [simulate.shop(1200, 4, tmp_path / name, parameters=p) for name, p in (("all", everyone), ("some", biased))]
    middling = []
    for report in told:
        surveys = read(report, "surveys")
        scores = surveys[surveys["kind"] != "exit"]
        scaled = (scores["score"] - scores["low"]) / (scores["high"] - scores["low"])
        middling.append(scaled.between(0.4, 0.6).mean())
    assert middling[1] < 0.8 * middling[0]


# The truth


def test_truth_is_apart_and_whole(written: simulate.ShopReport) -> None:
    spells, traits, outcomes = (read(written, f"truth/{name}") for name in ("spells", "traits", "outcomes"))
    assert set(spells["stage"]) <= set(STAGES)
    assert set(spells["cause"].dropna()) <= set(CAUSES)
    assert len(traits) == 1500
    assert (spells["state"] == "gone").any()
    assert spells.loc[spells["state"] == "gone", "cause"].notna().all()
    assert {f"{what}_{action}" for what in ("retention", "spend", "margin") for action in ACTIONS} <= set(outcomes)
    gone = outcomes[outcomes["state"] == "gone"]
    assert (gone.filter(like="retention") == 0).all(axis=None)


def test_no_table_of_the_shop_tells_the_truth() -> None:
    secrets = {*simulate._FACTS, "state", "stage", "cause"}
    for name, schema in log.SCHEMAS.items():
        assert not set(schema.names) & secrets, name


def test_all_kinds_of_customers_are_there(written: simulate.ShopReport) -> None:
    kinds = read(written, "truth/outcomes")["kind"].value_counts(normalize=True)
    assert set(kinds.index) == set(simulate.KINDS)
    assert kinds["sleeping dog"] > 0.01
    assert kinds["persuadable"] > 0.03


def test_potential_outcomes_are_the_expectations_of_what_is_played() -> None:
    """Played 40 times with other dice, retention, takings and margin come out as the recursion says."""
    world = World(800, 3)
    world.play(80)
    expected = world.expected()
    here = np.flatnonzero(world.state >= 0)
    ids = [world.ids[at] for at in here]
    for action in ACTIONS:
        sums = {what: np.zeros(len(here)) for what in ("retention", "spend", "margin")}
        for seed in range(40):
            for what, values in _played(world, action, ids, seed).items():
                sums[what] += values[here] / 40
        for what, mean in sums.items():
            off = mean - expected[f"{what}_{action}"][here]
            assert abs(off.sum()) < 3.5 * off.std() * np.sqrt(len(off)), (action, what)


def _played(world: World, action: str, ids: list[str], seed: int) -> dict[str, np.ndarray]:
    """What 13 weeks brought from those who were there before, with dice of their own."""
    other = world.fork()
    other.seed = 10_000 + seed
    other.step(dict.fromkeys(ids, action))
    for _ in range(12):
        other.step()
    trips = other.happened.all("trips")
    trips = {name: values[other.who.joined[trips["pos"]] < 80] for name, values in trips.items()}
    lines = log._lines(other, trips)
    pos = trips["pos"][lines["trip"]]
    bad = (trips["bad"][lines["trip"]] == 0) & (lines["nth"] == 0)
    back = lines["u"][1] < np.where(bad, other.p.returned_bad, other.p.returned)
    n = len(other.ids)
    return {
        "retention": (np.bincount(trips["pos"], minlength=n) > 0).astype(float),
        "spend": np.bincount(pos, lines["amount"], n),
        "margin": np.bincount(pos, lines["amount"] * ~back - lines["cost"], n),
    }


def test_worlds_fall_apart_only_where_an_action_matters() -> None:
    """Same dice: who was not contacted lives the same life in both worlds."""
    world = World(3000, 9)
    world.play(60)
    simulate.tell(world)
    other = world.fork()
    some = [world.ids[at] for at in np.flatnonzero(world.state >= 0)[::3]]
    theirs = simulate.advance(other, 8, dict.fromkeys(some, "discount"))
    ours = simulate.advance(world, 8)
    for name in ("purchases", "returns", "events", "surveys"):
        one, two = (
            frame[~frame["customer_id"].isin(some)].sort_values(list(frame.columns), ignore_index=True)
            for frame in (ours[name].to_pandas(), theirs[name].to_pandas())
        )
        pd.testing.assert_frame_equal(one, two)
    assert not ours["purchases"].equals(theirs["purchases"])


def test_a_world_played_on_continues_the_written_log(written: simulate.ShopReport) -> None:
    """The rows of two worlds, played in one go and week by week, are the same; no row is told twice."""
    world = World(1500, 7)
    world.play(90)
    before = simulate.tell(world)["purchases"]
    pieces = [simulate.advance(world, 1, own_contacts=True)["purchases"] for _ in range(14)]
    told = pa.concat_tables([before, *pieces]).to_pandas()
    whole = read(written, "purchases")
    order = list(whole.columns)
    pd.testing.assert_frame_equal(
        told.sort_values(order, ignore_index=True), whole.sort_values(order, ignore_index=True)
    )


def test_unknown_customers_and_actions_are_refused() -> None:
    world = World(50, 1)
    world.play(10)
    with pytest.raises(UsageError, match="no such customer"):
        world.step({"nobody": "discount"})
    with pytest.raises(UsageError, match="no such action"):
        world.step({world.ids[0]: "flowers"})


# Does it look real?


def test_a_cohort_looks_like_cdnow(tmp_path: Path) -> None:
    """CDNOW, customers of the first twelve weeks, 78 weeks: .51 buy once, the best fifth bring .68, gaps 12, 34, 94."""
    report = simulate.shop(12_000, 11, tmp_path, weeks=78, scenario="cohort")
    looks = simulate.realism(read(report, "purchases"))
    assert looks.one_time_share == pytest.approx(0.51, abs=0.03)
    assert looks.top_fifth_share == pytest.approx(0.68, abs=0.05)
    assert looks.gap_quartiles == pytest.approx((12, 34, 94), rel=0.2)
    assert looks.recency_auc == pytest.approx(0.64, abs=0.05)


def test_realism_measures_a_real_log_as_published(real_log) -> None:  # type: ignore[no-untyped-def]
    log_ = pd.read_parquet(real_log("cdnow") / "transactions.parquet").rename(columns={"ordered_at": "at"})
    looks = simulate.realism(log_[log_["amount"] > 0])
    assert (round(looks.one_time_share, 2), round(looks.top_fifth_share, 2)) == (0.51, 0.68)
    assert looks.gap_quartiles == (12, 34, 94)


def test_realism_of_a_log_worked_out_by_hand() -> None:
    purchases = pd.DataFrame(
        {
            "customer_id": ["a", "a", "a", "b", "c", "c", "d", "e", "late"],
            "at": pd.to_datetime([f"2024-01-{day:02d}" for day in (1, 11, 31, 5, 2, 27, 3, 4)] + ["2024-12-01"]),
            "amount": [10, 10, 10, 5, 20, 40, 5, 10, 1000.0],
        }
    )
    looks = simulate.realism(purchases)
    assert looks.customers == 5
    assert looks.one_time_share == pytest.approx(3 / 5)
    assert looks.top_fifth_share == pytest.approx(60 / 110)
    assert looks.gap_quartiles == (15, 20, 22.5)


# Other shops


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_makes_a_shop(scenario: str, tmp_path: Path) -> None:
    report = simulate.shop(300, 2, tmp_path, weeks=40, scenario=scenario)
    assert report.rows["purchases"] > 100
    config.load(report.out / "holdfast.toml")


def test_purchases_at_random_hold_nothing_to_forecast(tmp_path: Path) -> None:
    """Equal customers buying at random: how lately they bought says nothing about whether they will."""
    report = simulate.shop(6000, 1, tmp_path, scenario="random")
    assert simulate.realism(read(report, "purchases")).recency_auc == pytest.approx(0.5, abs=0.03)
    assert read(report, "truth/traits")["rate"].nunique() == 1


def test_one_product_is_one_product(tmp_path: Path) -> None:
    lines = read(simulate.shop(300, 2, tmp_path, scenario="one_product"), "purchases")
    assert lines["product_id"].nunique() == 1
    assert lines["category"].nunique() == 1


def test_christmas_shows_in_december(tmp_path: Path) -> None:
    lines = read(simulate.shop(4000, 2, tmp_path, scenario="christmas"), "purchases")
    by_month = lines.groupby(lines["at"].dt.to_period("M")).size()
    assert by_month["2024-12"] > 2 * by_month["2024-09"]


def test_prices_jump_in_a_price_shock(tmp_path: Path) -> None:
    lines = read(simulate.shop(4000, 2, tmp_path, scenario="price_shock"), "purchases")
    list_price = (lines["amount"] + lines["discount"]) / lines["quantity"]
    shock = pd.Timestamp("2024-01-01") + pd.Timedelta(weeks=round(0.6 * 104))
    ratio = list_price[lines["at"] >= shock].mean() / list_price[lines["at"] < shock].mean()
    assert 1.2 < ratio < 1.4


def test_unknown_scenario_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="no scenario") as error:
        of("halloween")
    assert "christmas" in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [{"customers": 0}, {"seed": -1}, {"weeks": 1}, {"start": "yesterday"}, {"truth_every": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_numbers_that_make_no_shop_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    asked = {"customers": 10, "seed": 1, "weeks": 20, "start": "2024-01-01", "truth_every": 26} | wrong
    customers, seed = asked.pop("customers"), asked.pop("seed")
    with pytest.raises(UsageError):
        simulate.shop(customers, seed, tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_every_parameter_is_documented() -> None:
    rows = list(table())
    assert len(rows) == len(Parameters.__dataclass_fields__)
    assert all(meaning for _, _, meaning in rows)
