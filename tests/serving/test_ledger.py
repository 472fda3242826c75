"""The ledger takes additions only, writes the same thing once, and says what kind of failure a failure is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from features.errors import BadConfiguration, BadData, CannotWrite, ServiceAway, TryAgain
from serving import ledger as module
from serving.ledger import Ledger

DAY = date(2026, 11, 15)


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server: HOLDFAST_TEST_POSTGRES, or one started for the session from Debian's binaries as
    a user who is not root."""
    if url := os.environ.get("HOLDFAST_TEST_POSTGRES"):
        yield url
        return
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL: neither HOLDFAST_TEST_POSTGRES nor /usr/lib/postgresql/*/bin")
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    home, bin_ = Path(tempfile.mkdtemp(prefix="holdfast-pg-")), found[-1].parent
    if user:
        shutil.chown(home, "nobody")
    options: dict[str, Any] = {
        "capture_output": True,
        "cwd": home,
        "env": {"LC_ALL": "C", "PATH": "/usr/bin"},
    }
    try:
        make = [bin_ / "initdb", "-D", home / "data", "-U", "holdfast", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(make, check=True, **options, **user)
        port = free_port()
        serve = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"
        subprocess.run(
            [bin_ / "pg_ctl", "-D", home / "data", "-w", "-l", home / "log", "-o", serve, "start"],
            check=True,
            **options,
            **user,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(home, ignore_errors=True)
        pytest.skip(f"PostgreSQL could not be started: {getattr(error, 'stderr', error)!r}")
    yield f"postgresql://holdfast@127.0.0.1:{port}/postgres"
    subprocess.run([bin_ / "pg_ctl", "-D", home / "data", "-m", "immediate", "stop"], check=True, **options, **user)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'holdfast.db'}"
    server = request.getfixturevalue("postgres")
    name = f"t{abs(hash(str(tmp_path))):x}"
    import psycopg

    with psycopg.connect(server, autocommit=True) as now:
        now.execute(f'CREATE DATABASE "{name}"')
    return server.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture
def book(url: str) -> Iterator[Ledger]:
    with Ledger.open(url) as opened:
        yield opened


def publication(n: int = 1, day: date = DAY) -> dict[str, Any]:
    return {
        "id": f"{day}-{n}",
        "as_of": day,
        "number": n,
        "bundle": "b-1",
        "skill": True,
        "horizon": 91,
        "inputs": f"in{n}{day}",
        "folder": f"{day}-{n}",
        "digest": "d",
        "summary": "{}",
    }


def put(book: Ledger, customers: list[str], n: int = 1, day: date = DAY, *, arms: bool = True) -> str:
    """Publish a retention list of these customers; the first is held out."""
    list_id = f"retention-{day}-{n}"
    one = {"id": list_id, "publication": f"{day}-{n}", "name": "retention", "as_of": day, "closes": day + timedelta(91)}
    entries = pd.DataFrame(
        {
            "list_id": list_id,
            "customer_id": customers,
            "rank": [None, *range(1, len(customers))],
            "arm": ["held out"] + ["treated"] * (len(customers) - 1),
            "status": "new",
            "action": "reminder",
            "owner": "desk",
            "channel": "email",
            "cost": 0.5,
            "expected_profit": float("nan"),
            "churn_probability": 0.4,
            "value_at_risk": 12.0,
        }
    )
    drawn = entries[["customer_id", "arm", "list_id", "action"]].assign(
        quarter="2026Q4",
        population="at risk",
        stratum="s",
        share=0.1,
        exempt=False,
        wash_out=False,
        entered=day,
        kept_forecast=0.6,
        spend_forecast=30.0,
        margin_forecast=float("nan"),
    )
    counts = {"shown": len(customers) - 1, "held_out": 1, "exempt": 0}
    book.publish(publication(n, day), [one | counts], entries, drawn if arms else drawn.head(0))
    return list_id


def did(list_id: str, customer: str, what: str = "contacted", at: str = "2026-11-16", **more: Any) -> dict[str, Any]:
    row = {"list_id": list_id, "customer_id": customer, "at": at, "day": date.fromisoformat(at[:10]), "what": what}
    rest = {"channel": None, "cost": None, "by": None, "note": None, "follow_up_on": None, "held_out": False}
    return row | rest | more


def test_what_was_published_reads_back_as_it_was(book: Ledger) -> None:
    list_id = put(book, ["00123", "NA", "=1+1", "客户甲"])
    rows = book.entries(list_id)
    assert set(rows["customer_id"]) == {"00123", "NA", "=1+1", "客户甲"}
    assert rows["expected_profit"].isna().all()
    assert book.lists().loc[0, ["shown", "held_out"]].tolist() == [3, 1]
    assert book.assignments("2026Q4").set_index("customer_id")["arm"]["00123"] == "held out"
    assert book.assignments("2027Q1").empty
    assert book.audit_trail()["what"].tolist() == ["published"]


def test_opening_again_changes_nothing(url: str) -> None:
    with Ledger.open(url) as first:
        put(first, ["a", "b"])
        salt = first.pseudonym("a")
    with Ledger.open(url) as again:
        assert len(again.publications()) == 1
        assert again.pseudonym("a") == salt


def test_the_migrations_make_what_the_models_say(book: Ledger) -> None:
    with book.engine.connect() as now:
        found = compare_metadata(MigrationContext.configure(now), module.Base.metadata)
    foreign = [one for one in found if "ledger_version" not in str(one)]
    assert foreign == []


def test_the_head_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(Path(module.__file__).parent / "migrations"))
    assert scripts.get_current_head() == module.HEAD


@pytest.mark.parametrize("table", [model.__tablename__ for model in module.APPEND_ONLY])
def test_nothing_can_be_changed_or_deleted(book: Ledger, table: str) -> None:
    list_id = put(book, ["a", "b"])
    book.dispose([did(list_id, "b", cost=2.0)])
    quarter = {"quarter": "2026Q4", "population": "at risk", "share": 0.1, "salt": "s"}
    cuts = dict.fromkeys(["risk_low", "risk_high", "value_low", "value_high"], 0.5)
    with book.writing() as now:
        now.execute(module.insert(module.Quarter).values(**quarter, **cuts))
    column = module.Base.metadata.tables[table].columns.keys()[-1]
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"):
        with pytest.raises(BadData, match="additions"), book.writing() as now:
            now.execute(text(statement))


def test_a_failed_publication_leaves_nothing(book: Ledger) -> None:
    """The second publication draws a customer who has an arm: all of it is refused."""
    put(book, ["a", "b"])
    with pytest.raises(TryAgain):
        put(book, ["c", "b"], 2)
    assert len(book.publications()) == 1
    assert set(book.assignments()["customer_id"]) == {"a", "b"}


def test_a_disposition_sent_twice_is_written_once(book: Ledger) -> None:
    list_id = put(book, ["a", "b", "c"])
    rows = [did(list_id, "b", cost=2.0), did(list_id, "c")]
    assert book.dispose(rows) == 2
    assert book.dispose([*rows, rows[0]]) == 0
    assert book.costs()["amount"].tolist() == [2.0]


def test_an_undo_takes_the_last_line_and_its_cost_back(book: Ledger) -> None:
    list_id = put(book, ["a", "b", "c"])
    book.dispose([did(list_id, "b", cost=2.0), did(list_id, "b", "refused", "2026-11-17", cost=1.0)])
    book.dispose([did(list_id, "b", "undo", "2026-11-18")])
    assert book.standing()["what"].tolist() == ["contacted"]
    book.dispose([did(list_id, "b", "undo", "2026-11-19"), did(list_id, "c", "undo", "2026-11-19")])
    assert book.standing().empty
    assert book.costs()["amount"].sum() == 0.0
    assert len(book.dispositions()) == 5


def test_dispositions_of_later_days_are_not_known_yet(book: Ledger) -> None:
    list_id = put(book, ["a", "b"])
    before = book.state(date(2026, 11, 22))
    book.dispose([did(list_id, "b", at="2026-11-23")])
    assert book.standing(date(2026, 11, 22)).empty
    assert book.state(date(2026, 11, 22)) == before
    assert book.state(date(2026, 11, 23)) != before


def test_only_the_last_publication_of_a_day_is_in_force(book: Ledger) -> None:
    put(book, ["a", "b"])
    put(book, ["a", "c"], 2, arms=False)
    there = book.in_force(date(2026, 11, 22))
    assert there["id"].tolist() == ["retention-2026-11-15-2"]
    assert set(book.listed_before("retention", date(2026, 11, 22))["customer_id"]) == {"a", "c"}
    assert book.in_force(DAY).empty


def test_who_was_treated_lately(book: Ledger) -> None:
    put(book, ["a", "b"])
    assert book.treated_since(date(2026, 11, 1), date(2026, 12, 1)) == {"b"}
    assert book.treated_since(date(2026, 11, 16), date(2026, 12, 1)) == set()


def test_an_erased_customer_stands_under_a_pseudonym(book: Ledger) -> None:
    list_id = put(book, ["a", "b"])
    book.dispose([did(list_id, "b", cost=2.0, note="Ms B, 5 Long Lane")])
    gone = book.erase("b")
    assert gone == {"ledger_assignment": 1, "ledger_entry": 1, "ledger_disposition": 1, "ledger_cost": 1}
    assert set(book.erase("b").values()) == {0}
    everything = pd.concat([book.entries(list_id), book.dispositions(), book.assignments(), book.costs()]).to_csv()
    assert "Long Lane" not in everything
    assert book.pseudonym("b") in everything
    assert "b" not in set(book.entries(list_id)["customer_id"])
    assert book.assignments()["arm"].tolist() == ["held out", "treated"]


def test_a_person_who_came_back_can_be_erased_again(book: Ledger) -> None:
    put(book, ["a", "b"])
    book.erase("b")
    put(book, ["c", "b"], 2)
    assert book.erase("b")["ledger_assignment"] == 1
    assert len(book.assignments()) == 4


def test_a_locked_database_says_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0)
    path = tmp_path / "holdfast.db"
    with Ledger.open(f"sqlite:///{path}") as book:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryAgain):
            put(book, ["a", "b"])
        assert book.publications().empty  # readers do not wait
        other.execute("ROLLBACK")
        put(book, ["a", "b"])


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.db"
    path.write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(BadData, match="damaged"):
        Ledger.open(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite):
        Ledger.open(f"sqlite:///{tmp_path / 'file' / 'holdfast.db'}")


def test_a_server_that_is_away_hides_the_password() -> None:
    with pytest.raises(ServiceAway) as failure:
        Ledger.open(f"postgresql://me:secret@127.0.0.1:{free_port()}/x?connect_timeout=2")
    assert "secret" not in failure.value.message()


@pytest.mark.parametrize("url", ["no url", "oracle9://x/y", "notadialect:///x"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(BadConfiguration):
        Ledger.open(url)
