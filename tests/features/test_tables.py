"""Contracts: what a value may be, what it becomes, and how a row that cannot be used is named."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.config import TABLES
from features.tables import CONTRACTS, Contract, Unit, conform, exponent_of
from features.windows import to_day

PURCHASES = CONTRACTS["purchases"]


def read(
    contract: Contract = PURCHASES, unit: Unit | None = None, **columns: Any
) -> tuple[pa.Table, list[tuple[Any, ...]]]:
    """Typed rows and the bad ones as (row, column, value, reason); `at` and a customer are filled in."""
    n = len(next(iter(columns.values())))
    usual = {"customer_id": ["c"] * n, "at": ["2024-01-01"] * n, "amount": [1.0] * n}
    given_columns = {**(usual if contract is PURCHASES else {}), **columns}
    rows = pa.table(
        {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in given_columns.items()}
    )
    typed, bad = conform(contract, rows, unit or Unit())
    return typed, list(zip(bad.row.tolist(), bad.column, bad.value, bad.reason, strict=True))


def days(*texts: str, unit: Unit | None = None) -> list[int | None]:
    """The day of each text, None where it is refused."""
    typed, bad = read(unit=unit, at=list(texts), amount=[float(i) for i in range(len(texts))])
    refused = {row for row, *_ in bad}
    good = iter(typed["at"].to_pylist())
    return [None if i in refused else next(good) for i in range(len(texts))]


def test_every_table_of_the_settings_has_a_contract_that_explains_itself() -> None:
    assert set(CONTRACTS) == set(TABLES)
    for contract in CONTRACTS.values():
        assert contract.meaning
        assert len(set(contract.names)) == len(contract.names)
        for column in contract.columns:
            assert column.meaning
            assert column.allowed


# -- ids and words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["00123", "NA", "null", "nan", " leading", "客户", "9007199254740993", "1e5", "'quoted'"]
)
def test_text_ids_stay_exactly_as_given(text: str) -> None:
    typed, bad = read(customer_id=[text])
    assert (typed["customer_id"].to_pylist(), bad) == ([text], [])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([2**53 + 1, 7]), ["9007199254740993", "7"]),
        (pa.array([17850.0, None]), ["17850", None]),
        (pa.array([17850.0, float("nan")]), ["17850", None]),
        (pa.array([Decimal("123456789012345678901")]), ["123456789012345678901"]),
        (pa.array([b"ab", b"\xc3\xa9"]), ["ab", "é"]),
        (pa.array(["x", "", None]), ["x", None, None]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
    ],
)
def test_ids_of_other_types_become_their_own_digits(values: pa.Array, expected: list[str | None]) -> None:
    typed, bad = read(customer_id=values)
    assert (typed["customer_id"].to_pylist(), bad) == (expected, [])


def test_a_fraction_is_no_id() -> None:
    assert read(customer_id=[1.5, 2.0])[1] == [
        (0, "customer_id", "1.5", "is not what customer_id may be: text, exactly as given")
    ]


def test_words_keep_blanks_and_the_empty_word_is_absent() -> None:
    for values in (["web", "", None, " web"], pa.array(["web", "", None, " web"]).dictionary_encode()):
        assert read(channel=values)[0]["channel"].to_pylist() == ["web", None, None, " web"]


# -- money -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        (19.99, "USD", 1999),  # int(19.99 * 100) is 1998
        ("19.99", "EUR", 1999),
        (" 7.5 ", "EUR", 750),
        ("1e3", "USD", 100_000),
        (980, "JPY", 980),
        (1.234, "KWD", 1234),
        (Decimal("0.07"), "USD", 7),
        (-3, "USD", -300),
        (pa.scalar(29.9, pa.float32()).as_py(), "USD", 2990),
    ],
)
def test_money_is_whole_minor_units(amount: Any, currency: str, minor: int) -> None:
    typed, bad = read(unit=Unit(exponent=exponent_of(currency)), amount=[amount])
    assert (typed["amount"].to_pylist(), bad) == ([minor], [])


@given(st.lists(st.integers(-(10**11), 10**11), min_size=1, max_size=30), st.sampled_from([0, 2, 3]))
def test_money_comes_back_to_the_cent(minor: list[int], exponent: int) -> None:
    """Written as text or as a float of the major unit, every amount is what it was."""
    exact = [str(Decimal(m).scaleb(-exponent)) for m in minor]
    for written in (exact, [float(text) for text in exact]):
        assert read(unit=Unit(exponent=exponent), amount=written)[0]["amount"].to_pylist() == minor


@pytest.mark.parametrize("amount", ["twelve", "1,234.50", "12€", "0x10", "--1", "inf", "nan", "1e300", "", None])
def test_what_is_no_amount_is_a_bad_row(amount: str | None) -> None:
    typed, bad = read(amount=["1", amount, "2"])
    assert typed["amount"].to_pylist() == [100, 200]
    assert [(row, column, value) for row, column, value, _ in bad] == [(1, "amount", amount or "")]


def test_infinite_and_missing_floats_are_bad_rows() -> None:
    _, bad = read(amount=[float("inf"), float("nan"), 1.0, None])
    assert [row for row, *_ in bad] == [0, 1, 3]


def test_a_unit_price_stands_in_where_there_is_an_amount_of_neither() -> None:
    _, bad = read(amount=[None, None, 1.0], unit_price=[2.0, None, None], quantity=[3, 3, None])
    assert [(row, column) for row, column, *_ in bad] == [(1, "amount")]


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2019-03-04", "2019-03-04 23:59:59", "2019-03-04T00:00:00.123", "20190304", "2019/3/4", "2019.03.04",
        "2019年3月4日", "2019-3-4 7:05", "2019-03-04T12:00:00Z", "2019-03-04 12:00:00+00:00", " 2019-03-04 ",
    ],
)  # fmt: skip
def test_dates_that_say_the_year_first_are_read(text: str) -> None:
    assert days(text) == [to_day("2019-03-04")]


@pytest.mark.parametrize(
    "text", ["yesterday", "2019-02-30", "2019-13-01", "03/04/2019", "2019-03-04 25:00", "20193", "1.5e9"]
)
def test_what_is_no_date_is_a_bad_row(text: str) -> None:
    assert days("2019-03-04", text) == [to_day("2019-03-04"), None]


@pytest.mark.parametrize(("order", "day"), [("dmy", "2019-04-03"), ("mdy", "2019-03-04")])
def test_day_or_month_first_is_read_where_the_table_tells(order: Any, day: str) -> None:
    assert days("03/04/2019", "3.4.2019 11:30 PM", unit=Unit(order=order)) == [to_day(day)] * 2


def test_days_outside_1970_to_2100_are_bad_rows() -> None:
    assert days("1969-12-31", "1970-01-01", "2100-12-31", "2101-01-01") == [None, 0, to_day("2100-12-31"), None]
    typed, bad = read(at=[dt.datetime(1969, 12, 31), dt.datetime(2019, 1, 1)])
    assert (typed.num_rows, bad[0][:2]) == (1, (0, "at"))


def test_times_with_a_zone_move_to_the_shop_first() -> None:
    """23:30 in New York is that day's sale in New York and the next day's in London."""
    text = "2024-01-31T23:30:00-05:00"
    assert days(text, unit=Unit(zone="America/New_York")) == [to_day("2024-01-31")]
    assert days(text, unit=Unit(zone="Europe/London")) == [to_day("2024-02-01")]
    when = dt.datetime(2024, 1, 31, 23, 30, tzinfo=ZoneInfo("America/New_York"))
    typed, _ = read(unit=Unit(zone="America/New_York"), at=[when])
    assert typed["at"].to_pylist() == [to_day("2024-01-31")]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-03-31T21:59:59Z", "2024-03-31"),  # Berlin is two hours ahead after the clocks went forward that morning
        ("2024-03-31T22:00:00Z", "2024-04-01"),
        ("2024-10-27T22:59:59Z", "2024-10-27"),  # and one hour after they went back
        ("2024-10-27T23:00:00Z", "2024-10-28"),
    ],
)
def test_summer_time_is_known(text: str, day: str) -> None:
    assert days(text, unit=Unit(zone="Europe/Berlin")) == [to_day(day)]


@given(
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2099, 1, 1)),
    st.sampled_from(["Asia/Kolkata", "America/Sao_Paulo", "UTC"]),
)
def test_text_and_timestamp_of_one_moment_are_one_day(moment: dt.datetime, zone: str) -> None:
    aware = moment.replace(tzinfo=dt.UTC)
    expected = to_day(aware.astimezone(ZoneInfo(zone)).date())
    assert days(aware.isoformat(timespec="seconds"), unit=Unit(zone=zone)) == [expected]
    assert read(unit=Unit(zone=zone), at=[aware])[0]["at"].to_pylist() == [expected]


def test_times_without_a_zone_stand_as_they_are() -> None:
    assert days("2024-01-31 23:30:00", unit=Unit(zone="Pacific/Auckland")) == [to_day("2024-01-31")]


def test_among_times_with_a_zone_one_without_is_not_understood() -> None:
    assert days("2024-01-01T10:00Z", "2024-01-01T10:00", "2024-01-02T10:00+08:00") == [
        to_day("2024-01-01"),
        None,
        to_day("2024-01-02"),
    ]


# -- other kinds, and checks across columns ----------------------------------------------------------------------------


def test_flags_are_read_in_words_digits_and_chinese() -> None:
    values = ["true", "No", "1", "0", "是", "否", "", None, "maybe"]
    typed, bad = read(
        CONTRACTS["campaigns"],
        customer_id=["c"] * 9, at=["2024-01-01"] * 9, campaign_id=["k"] * 9, control=values,
    )  # fmt: skip
    assert typed["control"].to_pylist() == [1, 0, 1, 0, 1, 0, None, None]
    assert bad == [(8, "control", "maybe", "is not what control may be: true or false")]


def test_a_word_outside_a_closed_list_names_the_list() -> None:
    _, bad = read(CONTRACTS["events"], customer_id=["c"], at=["2024-01-01"], kind=["wish"])
    assert bad[0][3].endswith("visit, view, search, cart, checkout")


def test_negative_costs_of_goods_are_bad_rows() -> None:
    assert read(cost=[-1.0, 2.0])[1][0][:2] == (0, "cost")


def test_a_score_lies_between_low_and_high() -> None:
    columns = {
        "customer_id": ["c"] * 5, "at": ["2024-01-01"] * 5, "score": [5, 10, 6, 3, 3],
        "kind": ["csat", "nps", "csat", "csat", "csat"],
        "low": [None, None, None, 1, 5], "high": [None, None, None, 3, 1],
    }  # fmt: skip
    assert [(row, column) for row, column, *_ in read(CONTRACTS["surveys"], **columns)[1]] == [(2, "score"), (4, "low")]


def test_only_an_exit_interview_may_lack_a_score_and_only_an_invitation_a_time() -> None:
    columns = {
        "customer_id": ["c"] * 4, "at": ["2024-01-01", "2024-01-01", None, None], "score": [None, None, None, 3],
        "kind": ["exit", "csat", "csat", "csat"], "invited_at": [None, None, "2024-01-01", None],
    }  # fmt: skip
    assert [(row, column) for row, column, *_ in read(CONTRACTS["surveys"], **columns)[1]] == [(1, "score"), (3, "at")]


def test_nobody_refers_themselves() -> None:
    _, bad = read(CONTRACTS["referrals"], customer_id=["a", "b"], at=["2024-01-01"] * 2, referred_id=["a", "c"])
    assert bad == [(0, "referred_id", "a", "is the customer")]


def test_each_bad_row_is_named_once() -> None:
    assert len(read(at=["never", "2024-01-01"], amount=["x", "1"])[1]) == 1
