"""Bad input gets one clear message and the documented exit code; nothing is half-written and nothing is lost."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

import holdfast

HEADER = "customer_id,at,amount"


def log(*lines: str, header: str = HEADER) -> str:
    return "\n".join([header, *lines]) + "\n"


GOOD = log(*(f"c{n % 7},2024-{1 + n % 12:02d}-{1 + n % 28:02d},{10 + n}.50" for n in range(60)))
SETTINGS = '[tables.purchases]\npath = "log.csv"\n[windows]\nhorizon = 30\nactive = 60\n'


@dataclass(frozen=True)
class Case:
    """What lies in the folder, what is typed, and what must come back."""

    name: str
    code: int
    says: tuple[str, ...]
    table: str | bytes | None = GOOD
    settings: str | None = SETTINGS
    command: tuple[str, ...] = ("ingest",)
    file: str = "log.csv"
    before: tuple[tuple[str, ...], ...] = field(default=())
    prepare: Callable[[Path], None] | None = None


def truncated(folder: Path) -> None:
    frame = pd.DataFrame({"customer_id": ["a"] * 500, "at": ["2024-01-01"] * 500, "amount": [1.0] * 500})
    frame.to_parquet(folder / "whole.parquet")
    (folder / "log.parquet").write_bytes((folder / "whole.parquet").read_bytes()[:-200])
    (folder / "whole.parquet").unlink()


def half_a_gzip(folder: Path) -> None:
    (folder / "log.csv.gz").write_bytes(gzip.compress(GOOD.encode())[:-20])


def a_folder(folder: Path) -> None:
    (folder / "log.csv").unlink()
    (folder / "log.csv").mkdir()


PARQUET = SETTINGS.replace("log.csv", "log.parquet")
CASES = [
    # the file
    Case("no such file", 66, ("log.csv",), table=None),
    Case("a folder instead of a file", 66, ("log.csv",), prepare=a_folder),
    Case(
        "a glob that matches nothing", 66, ("*.csv",), table=None, settings=SETTINGS.replace("log.csv", "parts/*.csv")
    ),
    Case("an empty file", 65, ("log.csv",), table=""),
    Case("a header and no rows", 65, ("no rows",), table=log()),
    Case("a truncated Parquet file", 65, ("log.parquet",), table=None, settings=PARQUET, prepare=truncated),
    Case("text that calls itself Parquet", 65, ("log.parquet",), file="log.parquet", table="hello", settings=PARQUET),
    Case(
        "a gzip that breaks off",
        65,
        ("log.csv.gz",),
        table=None,
        settings=SETTINGS.replace("log.csv", "log.csv.gz"),
        prepare=half_a_gzip,
    ),
    Case("bytes that are no text", 65, ("log.csv",), table=b"customer_id,at,amount\n\xff\xfe\x00a,2024-01-01,1\n"),
    Case("lines of unequal length", 65, ("log.csv",), table=log("a,2024-01-01,1", "b,2024-01-02")),
    # the columns
    Case("a wrong column name", 65, ("customer_id", "custmer_id"), table=GOOD.replace("customer_id", "custmer_id")),
    Case("no time column", 65, ("at",), table=log("a,1", header="customer_id,amount")),
    Case(
        "a mapping to a column that is not there",
        65,
        ("paid",),
        settings=SETTINGS.replace("[windows]", 'columns = { amount = "paid" }\n[windows]'),
    ),
    Case(
        "a mapping of a column we do not know",
        78,
        ("customer", "customer_id"),
        settings=SETTINGS.replace("[windows]", 'columns = { customer = "id" }\n[windows]'),
    ),
    Case("a header twice", 65, ("amount",), table=log("a,2024-01-01,1,2", header=HEADER + ",amount")),
    # the values
    Case("text in amount", 65, ("amount", "line 3"), table=log("a,2024-01-01,1", "b,2024-01-02,twelve")),
    Case("a time that is none", 65, ("at", "line 2"), table=log("a,yesterday,1", "b,2024-01-02,1")),
    Case("a day before 1970", 65, ("1970",), table=log("a,1969-12-31,1", "b,2024-01-02,1")),
    Case("a day after 2100", 65, ("2100",), table=log("a,2101-01-01,1", "b,2024-01-02,1")),
    Case("a day that no month has", 65, ("line 2",), table=log("a,2024-02-30,1", "b,2024-01-02,1")),
    Case(
        "times with and without a zone",
        65,
        ("zone",),
        table=log("a,2024-01-01T10:00:00+02:00,1", "b,2024-01-02T10:00:00,1"),
    ),
    Case("infinite amounts", 65, ("amount",), table=log("a,2024-01-01,inf", "b,2024-01-02,1")),
    Case("returns only", 65, ("positive",), table=log("a,2024-01-01,-5", "b,2024-01-02,-1")),
    Case("guests only", 65, ("customer",), table=log(",2024-01-01,5", ",2024-01-02,1")),
    # the settings
    Case("no settings", 66, ("holdfast init",), settings=None),
    Case("settings that are not TOML", 78, ("TOML",), settings="[shop\n"),
    Case("an unknown key", 78, ("horizn", "horizon"), settings=SETTINGS.replace("horizon", "horizn")),
    Case("a horizon of no days", 78, ("horizon",), settings=SETTINGS.replace("30", "0")),
    Case("an unknown time zone", 78, ("timezone",), settings='[shop]\ntimezone = "Shangai"\n' + SETTINGS),
    Case("no purchases table", 78, ("purchases",), settings="[windows]\nhorizon = 30\n"),
    Case(
        "a database that does not answer",
        69,
        ("database",),
        settings=SETTINGS.replace('"log.csv"', '"postgresql+psycopg://127.0.0.1:1/shop"\ntable = "orders"'),
    ),
    # the order of things
    Case("training before ingest", 66, ("holdfast ingest",), command=("train",)),
    Case("scoring without a champion", 66, ("holdfast promote",), command=("score",), before=(("ingest",),)),
    Case("a list before any was published", 66, ("holdfast score",), command=("list", "retention")),
    Case("promoting nothing", 66, ("holdfast train",), command=("promote",), before=(("ingest",),)),
    Case("an as-of that is no day", 2, ("YYYY-MM-DD",), command=("train", "--as-of", "soon"), before=(("ingest",),)),
    Case(
        "an as-of before the first day",
        66,
        ("2024-01-01",),
        command=("train", "--as-of", "1999-01-01"),
        before=(("ingest",),),
    ),
    Case(
        "a history too short for the horizon",
        66,
        ("horizon",),
        table=log("a,2024-01-01,1", "b,2024-01-09,2", "a,2024-01-12,2"),
        command=("train",),
        before=(("ingest",),),
    ),
    Case("an unknown command", 2, ("--help",), command=("inject",)),
    Case("an unknown list", 2, ("--help",), command=("list", "everybody")),
    Case(
        "a delta that is not there",
        66,
        ("more.csv",),
        command=("ingest", "--append", "more.csv"),
        before=(("ingest",),),
    ),
    Case("a customer nobody knows", 66, ("nobody",), command=("erase", "nobody"), before=(("ingest",),)),
    Case("init on nothing", 66, ("none.csv",), command=("init", "none.csv"), settings=None),
]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but the locks and the quarantine, which is written to be read after a refusal."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "quarantine" not in str(path) and not path.name.endswith("lock")
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_one_message_the_documented_code_and_nothing_half_written(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if case.table is not None:
        content = case.table if isinstance(case.table, bytes) else case.table.encode()
        (tmp_path / case.file).write_bytes(content)
    if case.settings is not None:
        (tmp_path / "holdfast.toml").write_text(case.settings, encoding="utf-8")
    if case.prepare:
        case.prepare(tmp_path)
    for command in case.before:
        assert holdfast.run(list(command)) == 0, capfd.readouterr().err
    before = tree(tmp_path)
    capfd.readouterr()

    code = holdfast.run(list(case.command))

    said = capfd.readouterr().err
    messages = [line for line in said.splitlines() if line.startswith("holdfast: ")]
    assert (code, len(messages)) == (case.code, 1), said
    assert "Traceback" not in said
    for fragment in case.says:
        assert fragment in said
    assert tree(tmp_path) == before


def test_one_customer_is_told_plainly_that_nothing_can_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One customer is no mistake of the shop's: the road goes on, without a model and without a pretty number."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(log(*(f"a,2024-{1 + n % 12:02d}-{1 + n},2" for n in range(24))))
    (tmp_path / "holdfast.toml").write_text(SETTINGS)
    for command in (["ingest"], ["train", "--promote"], ["score"], ["list", "early-warning"]):
        assert holdfast.run(command) == 0, capfd.readouterr().err
    said = capfd.readouterr().out.lower()
    assert "no skill" in said
